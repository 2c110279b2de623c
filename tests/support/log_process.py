# SPDX-License-Identifier: Apache-2.0
"""A process that sequences a log until it is killed, and the book of what it was told had happened.

    python -m tests.support.log_process FOLDER

It answers lines on its standard input, `DATABASE DIES SEED` (a PostgreSQL address or `sqlite`; a step of `Step` and
how often it goes well, like `signed/2`, or `never`), by a child that begins or continues the log in FOLDER, and says
its process id; then, when the child has ended, its exit status. A child is forked, so that 200 kills cost 200 forks and
not 200 imports; nothing is open when it is.

What the child is told by the log it writes down at once, one line each, which a kill cannot take back:

    accepted INDEX HEX          bytes the log said stand at INDEX
    handed TICKET HEX           bytes the log said were taken in to be logged
    shown HEX                   a checkpoint note
"""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.evidence_log import EvidenceLog, new_entry
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.merkle import leaf_hash, tree_root
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogStore, Step, StepHook, no_step
from attestation.tlog.tiled import StoredTree, extend
from tests.support.log import NOW, ORIGIN, change, genesis, head_of, log_signer, served_entries
from tests.support.tree import ROOT

NEVER = "never"
CYCLES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where one log lives: a folder with its head and its book, and a database there or at an address."""

    folder: Path
    database: str

    def logs(self, step: StepHook = no_step) -> SQLLogs:
        """The log's database, opened."""
        if self.database == "sqlite":
            return SQLLogs.sqlite(self.folder / "log.sqlite", step=step)
        return SQLLogs.postgres(self.database, step=step)

    def open(self, logs: SQLLogs, step: StepHook = no_step) -> tuple[LogStore, EvidenceLog]:
        """The log as a restarted process opens it."""
        store = logs.store(ORIGIN)
        heads = FileHeadStore(self.folder / "head", step=step)
        signer = log_signer()
        inception = not (self.folder / "head").exists()
        log = EvidenceLog(origin=ORIGIN, signer=signer, store=store, heads=heads, inception=inception, step=step)
        return store, log

    @property
    def book(self) -> Path:
        """What the log's processes were told."""
        return self.folder / "book"

    def told(self, what: str) -> list[list[str]]:
        """The lines of one kind, a torn last one left out."""
        lines = self.book.read_text().split("\n")[:-1] if self.book.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(what)]


def work(place: Place, dies: str, seed: int) -> None:
    """Logs in all ways there are, then waits to be killed: a machine that is fast must not make a log that is huge."""
    chance = random.Random(seed)
    step = _killed_at(dies)
    store, log = place.open(place.logs(step), step)
    book = os.open(place.book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*words: object) -> None:
        os.write(book, (" ".join(map(str, words)) + "\n").encode())

    if log.size() == 0:
        note("accepted", log.append([genesis()]).start, genesis().encoded.hex())
    for _ in range(CYCLES):
        ticket = chance.randbytes(16)
        handed = change(chance.getrandbits(60))
        store.submit(ticket, new_entry(handed))
        note("handed", ticket.hex(), handed.encoded.hex())
        batch = [change(chance.getrandbits(60)) for _ in range(chance.choice((1, 1, 2, 3, 40)))]
        for index, entry in zip(log.append(batch), batch, strict=True):
            note("accepted", index, entry.encoded.hex())
        log.sequencer.drain()
        note("shown", log.publish(NOW).hex())
    signal.pause()


def _killed_at(dies: str) -> StepHook:
    if dies == NEVER:
        return no_step
    name, _, often = dies.partition("/")
    left = [int(often)]

    def step(reached: Step) -> None:
        if reached == Step(name.replace("-", " ")):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return step


class Mother:
    """The process that forks the children, from the test's side."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.log_process"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
        )

    def start(self, place: Place, *, dies: str = NEVER, seed: int = 0) -> int:
        """The id of a process that now sequences the log."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{place.folder} {place.database} {dies} {seed}\n")
        return int(self._answer())

    def ended(self) -> int:
        """Waits for the process: the signal that ended it as a negative number, or its exit status."""
        return int(self._answer())

    def close(self) -> None:
        """Ends the mother."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def check_after_death(place: Place) -> Checkpoint:
    """Restarts the log in this process and holds it to everything its processes were told.

    Nothing accepted is lost or elsewhere, nothing handed in is lost or there twice, every checkpoint that was shown or
    signed is of a prefix of the one history, and the log goes on.
    """
    kept = (place.folder / "head").read_bytes() if (place.folder / "head").exists() else None
    logs = place.logs()
    try:
        store, log = place.open(logs)
        if log.size() == 0:
            log.append([genesis()])
        found = served_entries(log)
        for index, data in place.told("accepted"):
            assert found[int(index)].hex() == data, f"entry {index} is what was accepted"
        there = Counter([*found, *(pending.entry.data for pending in store.pending(10_000))])
        for _, data in place.told("handed"):
            assert there[bytes.fromhex(data)] == 1, "what was handed in is there once"
        log.sequencer.drain()
        log.append([change(-len(found))])
        newest = head_of(log.publish(NOW))
        notes = {bytes.fromhex(note) for (note,) in place.told("shown")} | {log.checkpoint()}
        one_history(notes | ({kept} if kept else set()), served_entries(log))
        return newest
    finally:
        logs.close()


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of a tree, hashed anew from its entries."""

    tiles: dict[tuple[int, int], bytes]

    def tile(self, level: int, index: int) -> bytes:
        """What there is of a tile."""
        return self.tiles.get((level, index), b"")


def one_history(notes: set[bytes], entries: list[bytes]) -> None:
    """Every note is of a prefix of these entries, and the longest of all of them."""
    tiles = {
        (tile.level, tile.index): tile.data for tile in extend(0, [leaf_hash(data) for data in entries], Tiles({}))
    }
    tree = StoredTree(Tiles(tiles))
    heads = {head_of(note) for note in notes}
    for head in heads:
        assert tree_root(head.size, tree) == head.root, f"the head of size {head.size} is of this history"
    assert max(head.size for head in heads) == len(entries)


def main() -> None:
    """Forks a child for each line."""
    for line in sys.stdin:
        folder, database, dies, seed = line.split()
        child = os.fork()
        if child == 0:
            work(Place(Path(folder), database), dies, int(seed))
        _say(child)
        _, status = os.waitpid(child, 0)
        _say(os.waitstatus_to_exitcode(status))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
