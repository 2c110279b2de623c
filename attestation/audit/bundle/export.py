# SPDX-License-Identifier: Apache-2.0
"""Makes a bundle out of a log's store: entries under the published checkpoint, and what they name in the archive.

Tiles are made from the entries and not copied, so a store with damaged hashes still exports, and one with damaged
entries is refused (LOG_FORK). Holds 32 bytes of memory for each entry and for each archived file, and one file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

from attestation.audit.bundle.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    EVIDENCE,
    LOG,
    MANIFEST,
    POLICY,
    RECEIPTS,
    Manifest,
    tiles_of,
)
from attestation.audit.bundle.verified import archived_by
from attestation.audit.bundle.writer import BundleWriter
from attestation.codec.labels import sha256
from attestation.errors import NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.entry import Kind, parse_entry
from attestation.tlog.entry_tile import encode_entries
from attestation.tlog.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, root_of, tree_root
from attestation.tlog.note import parse_note
from attestation.tlog.policy import WitnessPolicy
from attestation.tlog.quorum import NONE
from attestation.tlog.tile import HEIGHT, WIDTH, EntryTile, new_entry_tiles, tile_bytes
from attestation.trust import TrustRoot


class LogSource(Protocol):
    """The entries of one log. What it returns for an index never changes."""

    def entries(self, start: int, limit: int) -> Sequence[bytes]: ...


class Archive(Protocol):
    """Archived files by digest."""

    def archived(self, sha256: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What went into a bundle."""

    head: Checkpoint
    evidence: int
    missing: tuple[bytes, ...]
    """Digests of files that entries name and the archive does not have."""


def export_bundle(
    stream: IO[bytes],
    *,
    trust: TrustRoot,
    note: bytes,
    log: LogSource,
    archive: Archive | None,
    checkpoints: Iterable[bytes] = (),
    receipts: Mapping[str, bytes] | None = None,
) -> Exported:
    """Writes the log under the checkpoint `note`, with all evidence that `archive` has (none without one).

    `receipts` are named without their ending. Does not verify the note's signatures: whoever opens the bundle does.

    Raises:
        MalformedEvidence: the note is none, an entry does not parse, or a file is longer than a bundle takes.
        NotGenuine: LOG_FORK; the entries do not hash to the note's root.
    """
    head = Checkpoint.parse(parse_note(note)[0])
    leaves, named = _read(log, head.size)
    hashes = _Hashes(leaves)
    if (tree_root(head.size, hashes) if head.size else EMPTY_ROOT) != head.root:
        raise NotGenuine(Reason.LOG_FORK, f"entries of the store do not hash to the checkpoint of size {head.size}")
    writer = BundleWriter(stream)
    for name, data in sorted(_notes(checkpoints).items()):
        writer.add(name, data)
    missing = []
    for digest in sorted(named) if archive is not None else ():
        blob = archive.archived(digest) if archive is not None else None
        if blob is None or sha256(blob) != digest:
            missing.append(digest)
        else:
            writer.add(EVIDENCE + digest.hex(), blob)
    writer.add(CHECKPOINT, note)
    for path, data in _tiles(log, head.size, hashes):
        writer.add(LOG + path, data)
    writer.add(MANIFEST, Manifest.of(head).encode())
    writer.add(POLICY, stated(trust))
    for name, data in sorted((receipts or {}).items()):
        writer.add(f"{RECEIPTS}{name}.json", data)
    writer.finish()
    if archive is None:
        missing = sorted(named)
    return Exported(head=head, evidence=len(named) - len(missing), missing=tuple(missing))


def stated(trust: TrustRoot) -> bytes:
    """The witness policy as a whole tlog-policy file that other readers of C2SP logs take."""
    policy: WitnessPolicy = trust.witness_policy
    text = f"quorum {NONE}\n" if policy.text == NONE else policy.text
    listed = "" if policy.logs else f"log {trust.log_key.vkey}\n"
    return (listed + text).encode("utf-8", "surrogateescape")


class _Hashes:
    """All hashes of a tree in memory (`merkle.HashReader`), level by level of tiles."""

    def __init__(self, leaves: bytearray) -> None:
        self._levels: list[bytearray | bytes] = [leaves]
        while len(self._levels[-1]) >= WIDTH * HASH_BYTES:
            below, step = self._levels[-1], WIDTH * HASH_BYTES
            whole = range(0, len(below) - step + 1, step)
            self._levels.append(b"".join(root_of(_split(below[start : start + step])) for start in whole))

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree."""
        tile_level, height = divmod(level, HEIGHT)
        start = (index << height) * HASH_BYTES
        return root_of(_split(self._levels[tile_level][start : start + (HASH_BYTES << height)]))


def _split(data: bytes | bytearray) -> list[bytes]:
    return [bytes(data[start : start + HASH_BYTES]) for start in range(0, len(data), HASH_BYTES)]


def _read(log: LogSource, size: int) -> tuple[bytearray, set[bytes]]:
    """The hash of every entry, and the digests of the files they name."""
    leaves, named = bytearray(), set[bytes]()
    for tile in new_entry_tiles(0, size):
        for data in _page(log, tile):
            leaves += leaf_hash(data)
            entry = parse_entry(data)
            if entry.kind is Kind.ATTEST_VERDICT:
                named.update(digest for _, digest in archived_by(entry))
    return leaves, named


def _page(log: LogSource, tile: EntryTile) -> Sequence[bytes]:
    found = log.entries(tile.index * WIDTH, tile.width)
    if len(found) != tile.width:
        message = f"store has {len(found)} entries from index {tile.index * WIDTH}, want {tile.width}"
        raise NotGenuine(Reason.LOG_FORK, message)
    return found


def _tiles(log: LogSource, size: int, hashes: _Hashes) -> Iterator[tuple[str, bytes]]:
    """Every tile with its path, in ascending order of paths."""
    tiles = {tile.path: tile for tile in tiles_of(size)}
    for path in sorted(tiles):
        tile = tiles[path]
        yield path, encode_entries(_page(log, tile)) if isinstance(tile, EntryTile) else tile_bytes(tile, hashes)


def _notes(checkpoints: Iterable[bytes]) -> dict[str, bytes]:
    return {f"{CHECKPOINTS}{Checkpoint.parse(parse_note(note)[0]).size}.note": note for note in checkpoints}
