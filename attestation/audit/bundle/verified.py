# SPDX-License-Identifier: Apache-2.0
"""A whole log verified out of a bundle, trusting only the auditor's own file (docs/spec.md, 10.2 to 10.4).

 1 every byte of the bundle agrees with its sums (`reader`)
 2 the checkpoint is signed by the trusted log key and, unless told otherwise, meets the trusted witness policy
 3 the manifest says the same size and root, and the tiles are exactly those of a tree of that size
 4 every hash of every tile leads to the root, and every entry hashes to its place
 5 every entry parses, the first alone is a genesis, of this log and its keys
 6 every earlier checkpoint is of this log and a prefix of it
 7 every archived file is what its name says

The policy in the bundle is read for nothing. What this does not check: the evidence behind a verdict (`reverify`), and
what never was logged. Evidence that entries name and the bundle lacks is counted and named, not refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from attestation.audit.bundle.faults import BundleFault, MalformedBundle
from attestation.audit.bundle.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    EVIDENCE,
    LOG,
    MANIFEST,
    POLICY,
    Manifest,
    noted_size,
    tile_of,
    tiles_of,
)
from attestation.audit.bundle.log_view import Logged, LogView
from attestation.audit.bundle.reader import BundleReader, Progress, no_progress
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_signed_checkpoint
from attestation.tlog.entry import JSON, Entry, Kind, parse_entry
from attestation.tlog.entry_tile import check_entries, decode_entries
from attestation.tlog.merkle import tree_root
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.tile import WIDTH, EntryTile, Tile, new_entry_tiles, new_tiles
from attestation.tlog.tile_tree import TileTree
from attestation.trust import TrustRoot

ARCHIVED: Final = ("bundle", "findings")
"""The types of evidence that are kept by themselves; all others are pieces of the `bundle` beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A file that an entry names and the bundle does not have."""

    index: int
    type: str
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A log of which every byte was checked, with what came beside it."""

    files: BundleReader
    trust: TrustRoot
    note: bytes
    checkpoint: SignedCheckpoint
    view: LogView
    earlier: tuple[Checkpoint, ...]
    """Earlier heads of the same log, smallest first; their notes are `checkpoints/<size>.note`."""

    @property
    def head(self) -> Checkpoint:
        """The log's head."""
        return self.checkpoint.head

    def evidence(self, sha256: bytes) -> bytes | None:
        """An archived file, or None if the bundle does not have it."""
        name = EVIDENCE + sha256.hex()
        return self.files.read(name) if name in self.files else None

    def missing(self) -> Iterator[Missing]:
        """What entries name and the bundle does not have, oldest entry first."""
        for logged in self.view.of(Kind.ATTEST_VERDICT):
            for type, sha256 in archived_by(logged.entry):
                if EVIDENCE + sha256.hex() not in self.files:
                    yield Missing(index=logged.index, type=type, sha256=sha256)

    def root_at(self, size: int) -> bytes:
        """The root that the log had at an earlier size, which is not 0. Raises `ValueError` for a larger one."""
        if not 0 < size <= self.head.size:
            raise ValueError(f"size is {size}, want 1 to {self.head.size}")
        return tree_root(size, TileTree(self.head, _Tiles(self.files)))


def archived_by(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """Type and digest of each file that a verdict names as archived."""
    for blob in _objects(entry.body.get("evidence")):
        if blob["type"] in ARCHIVED:
            yield str(blob["type"]), bytes.fromhex(str(blob["sha256"]))


def open_bundle(
    stream: IO[bytes], trust: TrustRoot, *, quorum: bool = True, progress: Progress = no_progress
) -> VerifiedBundle:
    """The log of a bundle. Without `quorum`, too few witnesses are no error: for asking who they are.

    Raises:
        MalformedBundle: it is no bundle, or holds what its log does not have.
        MalformedEvidence: a checkpoint or entry does not parse.
        NotGenuine: a signature, hash or root does not hold; the text names where.
    """
    files = BundleReader(stream, progress)
    note = files.read(CHECKPOINT)
    policy = trust.witness_policy if quorum else NO_WITNESSES
    signed = open_signed_checkpoint(note, origin=trust.origin, log_key=trust.log_key, policy=policy)
    head = signed.head
    if Manifest.decode(files.read(MANIFEST)) != Manifest.of(head):
        raise MalformedBundle(BundleFault.MANIFEST_WRONG, MANIFEST, "does not say what the checkpoint says")
    _check_tiles_there(files, head.size)
    tree = TileTree(head, _Tiles(files))
    for tile in new_tiles(0, head.size):
        tree.hashes(tile)
    return VerifiedBundle(
        files=_addressed(files),
        trust=trust,
        note=note,
        checkpoint=signed,
        view=_read_log(files, tree, trust, progress),
        earlier=_earlier(files, tree, trust),
    )


class _Tiles:
    """The hash tiles of a bundle (`tile_tree.TileReader`)."""

    def __init__(self, files: BundleReader) -> None:
        self._files = files

    def read(self, tile: Tile) -> bytes:
        return self._files.read(LOG + tile.path)


def _check_tiles_there(files: BundleReader, size: int) -> None:
    """Exactly the tiles of the tree, with partial ones only at its edge."""
    count = 0
    for tile in tiles_of(size):
        count += 1
        if LOG + tile.path not in files:
            raise MalformedBundle(BundleFault.MISSING, LOG + tile.path, f"is not there, and a log of {size} has it")
    if count == sum(1 for _ in files.names(LOG)) - 1:
        return
    wanted = {tile.path for tile in tiles_of(size)}
    extra = next(name for name in files.names(LOG) if name != CHECKPOINT and tile_of(name).path not in wanted)
    raise MalformedBundle(BundleFault.TILE_NOT_IN_TREE, extra, f"is no tile of a log of size {size}")


def _read_log(files: BundleReader, tree: TileTree, trust: TrustRoot, progress: Progress) -> LogView:
    size = tree.head.size

    def page(number: int) -> list[bytes]:
        tile = EntryTile(index=number, width=min(WIDTH, size - number * WIDTH))
        return decode_entries(tile, files.read(LOG + tile.path))

    view = LogView(page)
    for tile in new_entry_tiles(0, size):
        for data in check_entries(tile, files.read(LOG + tile.path), tree.hashes(tile.hashes)):
            view.note(_entry(data, view.size, trust))
        progress(view.size, size)
    return view


def _entry(data: bytes, index: int, trust: TrustRoot) -> Entry:
    try:
        entry = parse_entry(data)
    except MalformedEvidence as error:
        raise MalformedEvidence(error.reason, f"entry {index}: {error.message}") from None
    if (entry.kind is Kind.GENESIS) != (index == 0):
        raise MalformedEvidence(Reason.ENTRY_INVALID, f"entry {index} is {entry.kind}, want genesis first only")
    if index == 0:
        body = entry.body
        want = (trust.origin, trust.log_key.vkey, trust.lease_key.hex())
        if (body["origin"], body["log_key"], body["lease_key"]) != want:
            message = f"entry 0 is the genesis of {body['origin']} with other keys, want {trust.origin} and yours"
            raise NotGenuine(Reason.LOG_FORK, message)
    return entry


def _earlier(files: BundleReader, tree: TileTree, trust: TrustRoot) -> tuple[Checkpoint, ...]:
    found = []
    for name in files.names(CHECKPOINTS):
        opened = open_signed_checkpoint(
            files.read(name), origin=trust.origin, log_key=trust.log_key, policy=NO_WITNESSES
        )
        head = opened.head
        if head.size != noted_size(name):
            raise MalformedBundle(BundleFault.CHECKPOINT_NAME, name, f"is of size {head.size}")
        if head.size > tree.head.size:
            message = f"{name} is signed and larger than the log's {tree.head.size}: the log shrank"
            raise NotGenuine(Reason.LOG_ROLLBACK, message)
        if tree_root(head.size, tree) != head.root:
            raise NotGenuine(Reason.LOG_FORK, f"{name} is signed and not a prefix of the log: the log forked")
        found.append(head)
    return tuple(sorted(found, key=lambda head: head.size))


def _addressed(files: BundleReader) -> BundleReader:
    for name in files.names(EVIDENCE):
        if files.sha256(name).hex() != name.removeprefix(EVIDENCE):
            raise MalformedBundle(BundleFault.EVIDENCE_ADDRESS, name, "does not hash to its name")
    return files


def _objects(value: JSON) -> Iterator[dict[str, JSON]]:
    for item in value if isinstance(value, (list, tuple)) else ():
        if isinstance(item, dict):
            yield item


def stated_policy(files: BundleReader) -> bytes:
    """The witness policy that the bundle states, for showing beside the auditor's own. Never trusted."""
    return files.read(POLICY)


__all__ = ["Logged", "Missing", "VerifiedBundle", "archived_by", "open_bundle", "stated_policy"]
