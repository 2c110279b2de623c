# SPDX-License-Identifier: Apache-2.0
"""What the log takes and gives: entries and receipts a second, inclusion proofs and an audit at a million entries.

    python -m benchmarks.tlog [--rounds N] [--entries N] [--large N] [--postgres]

Every figure is the median of the rounds (the spread beside it) and stands below a calibration of the machine: how often
it syncs a file, hashes and signs a second. Appends go through the sequencer, in groups of 256 as threads that wait for
one another form them, to a database that syncs every commit. Evidence entries are 323 bytes, as small verdicts are, and
made before the clock starts; receipts are 33 bytes. The audit reads every stored entry, hashes it and the tree over it
anew, and compares root and tiles, holding one page at a time.
"""

import argparse
import hashlib
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.tlog import merkle, tiled
from attestation.tlog.entry import Entry, admin_change
from attestation.tlog.evidence_log import EvidenceFormat, new_entry
from attestation.tlog.groups import GROUP
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sequencer import Sequencer
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogStore, NewEntry, StoredTile
from attestation.tlog.tiled import TILE_BYTES, StoredTree
from tests.support.log import NOW, ORIGIN, genesis, log_signer
from tests.support.postgres import postgres_server

ENTRY_BYTES = 323
RECEIPT_BYTES = 33
PAGE = 4096


class AnyBytes:
    """A log that takes whatever it is given, as benchmarks do."""

    def read(self, data: bytes) -> NewEntry:
        """The bytes."""
        return NewEntry(data=data)

    def place(self, index: int, entry: NewEntry) -> None:
        """Anywhere."""


class Growing:
    """The right edge of a tree that is hashed anew: of each level its last tile."""

    def __init__(self) -> None:
        self._edge: dict[int, StoredTile] = {}

    def tile(self, level: int, index: int) -> bytes:
        """The last tile of a level, if it is the one that is asked for."""
        edge = self._edge.get(level)
        return edge.data if edge is not None and edge.index == index else b""

    def put(self, tiles: Sequence[StoredTile]) -> None:
        """Moves the edge."""
        self._edge.update({tile.level: tile for tile in tiles})


def evidence(count: int) -> list[Entry]:
    """Entries of 323 bytes."""
    made = []
    for number in range(count):
        target = f"row-{number:09d}"
        short = admin_change(by="ops-1", action="settings.change", target=target, detail="x", at=NOW)
        detail = "x" * (1 + ENTRY_BYTES - len(short.encoded))
        made.append(admin_change(by="ops-1", action="settings.change", target=target, detail=detail, at=NOW))
    return made


def receipts(count: int) -> list[NewEntry]:
    """Commitments as a receipt shard holds them."""
    chance = random.Random(7)
    return [NewEntry(data=b"\x01" + chance.randbytes(RECEIPT_BYTES - 1)) for _ in range(count)]


def opened(folder: Path, url: str | None, *, plain: bool) -> tuple[SQLLogs, LogStore, Sequencer]:
    """A new log at its inception."""
    logs = SQLLogs.postgres(url) if url else SQLLogs.sqlite(folder / "log.sqlite")
    signer = log_signer(f"{ORIGIN}-{os.urandom(4).hex()}")
    store = logs.store(signer.name)
    form = AnyBytes() if plain else EvidenceFormat(origin=signer.name, log_key=signer.verifier)
    heads = FileHeadStore(folder / signer.name.rpartition("/")[2])
    log = Sequencer(origin=signer.name, signer=signer, store=store, heads=heads, format=form, inception=True)
    if not plain:
        log.append([new_entry(genesis(signer=signer))])
    return logs, store, log


def appended(entries: Sequence[Entry] | Sequence[NewEntry], url: str | None) -> tuple[float, float]:
    """Entries a second, and milliseconds of the publication that covers them all."""
    plain = not isinstance(entries[0], Entry)
    with tempfile.TemporaryDirectory() as folder:
        logs, _, log = opened(Path(folder), url, plain=plain)
        begin = time.perf_counter()
        for start in range(0, len(entries), GROUP):
            group = entries[start : start + GROUP]
            log.append([new_entry(entry) if isinstance(entry, Entry) else entry for entry in group])
        rate = len(entries) / (time.perf_counter() - begin)
        begin = time.perf_counter()
        log.publish(NOW)
        published = (time.perf_counter() - begin) * 1e3
        logs.close()
    return rate, published


def audited(store: LogStore, size: int) -> None:
    """Hashes all of a log anew, one page at a time, and compares what is stored."""
    edge = Growing()
    for start in range(0, size, PAGE):
        page = store.entries(start, min(PAGE, size - start))
        tiles = tiled.extend(start, [merkle.leaf_hash(entry.data) for entry in page], edge)
        edge.put(tiles)
        for tile in tiles:
            if len(tile.data) == TILE_BYTES and store.tile(tile.level, tile.index) != tile.data:
                raise AssertionError("stored tile is not that of the entries")
    if merkle.tree_root(size, StoredTree(store)) != merkle.tree_root(size, _edge_reader(store, edge)):
        raise AssertionError("stored root is not that of the entries")


def _edge_reader(store: LogStore, edge: Growing) -> StoredTree:
    class Both:
        """What was hashed anew where it is at hand, else the full tile that was compared with it."""

        def tile(self, level: int, index: int) -> bytes:
            return edge.tile(level, index) or store.tile(level, index)

    return StoredTree(Both())


def calibrate(seconds: float = 0.5) -> dict[str, float]:
    """What the machine does by itself."""
    block = bytes(1 << 20)
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryFile() as file:

        def sync() -> None:
            file.write(block[:4096])
            file.flush()
            os.fsync(file.fileno())

        return {
            "fsync/s": _rate(sync, seconds),
            "SHA-256 GB/s": _rate(lambda: hashlib.sha256(block).digest(), seconds) * len(block) / 1e9,
            "Ed25519 signatures/s": _rate(lambda: key.sign(block[:200]), seconds),
        }


def _rate(call: Callable[[], object], seconds: float) -> float:
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        call()
        count += 1
    return count / (time.perf_counter() - begin)


def rates(rounds: int, entries: int, url: str | None) -> None:
    """Prints what is appended a second."""
    name = "PostgreSQL" if url else "SQLite"
    for title, made in ((f"{ENTRY_BYTES}-byte entries", evidence(entries)), ("33-byte receipts", receipts(entries))):
        taken = [appended(made, url) for _ in range(rounds)]
        _line(f"{title}, {name}", [rate for rate, _ in taken], "/s")
        _line(f"first publication of {entries}, {name}", [published for _, published in taken], "ms")


def large(rounds: int, size: int) -> None:
    """Prints what is served from, and audited of, a large log of evidence entries."""
    with tempfile.TemporaryDirectory() as folder:
        logs, store, log = opened(Path(folder), None, plain=True)
        chance = random.Random(3)
        for start in range(0, size, PAGE):
            count = min(PAGE, size - start)
            log.append([NewEntry(data=chance.randbytes(ENTRY_BYTES)) for _ in range(count)])
        log.publish(NOW)
        _proofs(log, rounds, size)
        log.append([NewEntry(data=b"one more")])
        begin = time.perf_counter()
        log.publish(NOW)
        _line("root, consistency and signature of one more", [(time.perf_counter() - begin) * 1e3], "ms")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken = []
        for _ in range(rounds):
            begin = time.perf_counter()
            audited(store, size)
            taken.append(time.perf_counter() - begin)
        _line(f"audit of {size} entries", taken, "s")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        _line("memory that the audit added", [grown / 1024], "MiB")
        logs.close()
        _line("size of the database", [(Path(folder) / "log.sqlite").stat().st_size / 1e6], "MB")


def _proofs(log: Sequencer, rounds: int, size: int) -> None:
    chance = random.Random(5)
    middle, worst = [], []
    for _ in range(rounds):
        taken = []
        for _ in range(1000):
            begin = time.perf_counter()
            log.served.proof(chance.randrange(size))
            taken.append((time.perf_counter() - begin) * 1e3)
        middle.append(median(taken))
        worst.append(quantiles(taken, n=100)[98])
    _line(f"inclusion proof at {size}, p50", middle, "ms")
    _line(f"inclusion proof at {size}, p99", worst, "ms")


def _line(title: str, values: Sequence[float], unit: str) -> None:
    spread = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""
    print(f"| {title} | {median(values):.2f} {unit} | {spread} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tlog")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", type=int, default=25_600)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true", help="also on a server started for this")
    arguments = parser.parse_args()
    print("| what | median | spread |\n|---|---|---|")
    for title, value in calibrate().items():
        print(f"| {title} | {value:.2f} | |")
    rates(arguments.rounds, arguments.entries, None)
    if arguments.postgres:
        with postgres_server() as server:
            rates(arguments.rounds, arguments.entries, server.database())
    large(arguments.rounds, arguments.large)


if __name__ == "__main__":
    main()
