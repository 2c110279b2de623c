# SPDX-License-Identifier: Apache-2.0
"""What may stand in an audit bundle, by name, and how long each may be.

    manifest.json                      canonical JSON: format, origin, size and root of the log
    policy.txt                         the operator's witness policy, for reading only: it is never trusted
    log/checkpoint   log/tile/...      the log as C2SP tlog-tiles has it: exactly the tiles of its size
    checkpoints/<size>.note            earlier checkpoints that somebody kept
    evidence/<sha256>                  archived evidence and findings
    receipts/<id>.json                 receipts
    SHA256SUMS                         every other file, in the form of `sha256sum`

Files stand in ascending order of their names, SHA256SUMS last. Refused: every other name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from attestation.audit.bundle.faults import BundleFault, MalformedBundle
from attestation.bundle import MAX_BUNDLE_BYTES
from attestation.errors import MalformedEvidence
from attestation.receipt_file import MAX_FILE_BYTES
from attestation.tlog import jcs
from attestation.tlog.checkpoint import Checkpoint, parse_size
from attestation.tlog.entry import MAX_ENTRY_BYTES
from attestation.tlog.note import MAX_NOTE_BYTES
from attestation.tlog.policy import MAX_POLICY_BYTES
from attestation.tlog.tile import TILE_BYTES, WIDTH, AnyTile, EntryTile, new_entry_tiles, new_tiles, parse_path

FORMAT: Final = "sealbid/audit-bundle/1"
MANIFEST: Final = "manifest.json"
POLICY: Final = "policy.txt"
SUMS: Final = "SHA256SUMS"
CHECKPOINT: Final = "log/checkpoint"
LOG: Final = "log/"
EVIDENCE: Final = "evidence/"
CHECKPOINTS: Final = "checkpoints/"
RECEIPTS: Final = "receipts/"

MAX_FILES: Final = 1 << 20
MAX_NAME_CHARS: Final = 128
MAX_MANIFEST_BYTES: Final = 16 << 10
MAX_SUMS_BYTES: Final = MAX_FILES * 128
MAX_EVIDENCE_BYTES: Final = MAX_BUNDLE_BYTES + (1 << 20)
"""A bundle of evidence in its encoding, which is a little longer than its parts."""
_ENTRIES_BYTES: Final = WIDTH * (2 + MAX_ENTRY_BYTES)
_EVIDENCE: Final = re.compile(r"evidence/[0-9a-f]{64}")
_RECEIPT: Final = re.compile(r"receipts/[0-9a-z][0-9a-z_-]{0,63}\.json")
_NOTE: Final = re.compile(r"checkpoints/([1-9][0-9]{0,18})\.note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says it is of. Everything in it is checked against the log itself."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def of(cls, head: Checkpoint) -> "Manifest":
        """The manifest of a log's head."""
        return cls(origin=head.origin, size=head.size, root=head.root)

    def encode(self) -> bytes:
        """The file."""
        return jcs.encode({"format": FORMAT, "origin": self.origin, "size": self.size, "root": self.root.hex()})

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """The manifest of a file. Raises `MalformedBundle`."""
        try:
            fields = jcs.decode(data, MAX_MANIFEST_BYTES)
            manifest = cls(
                origin=str(fields["origin"]),
                size=int(str(fields["size"])),
                root=bytes.fromhex(str(fields["root"])),
            )
        except (MalformedEvidence, KeyError, ValueError):
            raise MalformedBundle(BundleFault.MANIFEST_FORM, MANIFEST, "is no manifest in canonical json") from None
        if manifest.encode() != data:
            message = f"has other fields than format {FORMAT}, origin, size and root"
            raise MalformedBundle(BundleFault.MANIFEST_FORM, MANIFEST, message)
        return manifest


def limit_of(name: str) -> int:
    """The most bytes a file of this name may have. Raises `MalformedBundle` for a name that no bundle has."""
    fixed = {MANIFEST: MAX_MANIFEST_BYTES, POLICY: MAX_POLICY_BYTES, SUMS: MAX_SUMS_BYTES, CHECKPOINT: MAX_NOTE_BYTES}
    if name in fixed:
        return fixed[name]
    if name.startswith(LOG):
        return _ENTRIES_BYTES if isinstance(tile_of(name), EntryTile) else TILE_BYTES
    if _EVIDENCE.fullmatch(name):
        return MAX_EVIDENCE_BYTES
    if _RECEIPT.fullmatch(name):
        return MAX_FILE_BYTES
    if _NOTE.fullmatch(name):
        return MAX_NOTE_BYTES
    raise MalformedBundle(BundleFault.NAME_UNKNOWN, name, "is no name that a bundle has")


def tile_of(name: str) -> AnyTile:
    """The tile that a file under `log/` is. Raises `MalformedBundle`."""
    try:
        return parse_path(name.removeprefix(LOG))
    except MalformedEvidence as error:
        raise MalformedBundle(BundleFault.NAME_UNKNOWN, name, error.message) from None


def tiles_of(size: int) -> Iterator[AnyTile]:
    """All tiles of a log of `size`: of hashes, then of entries."""
    yield from new_tiles(0, size)
    yield from new_entry_tiles(0, size)


def noted_size(name: str) -> int:
    """The size that the name of an earlier checkpoint says. Raises `MalformedBundle`."""
    found = _NOTE.fullmatch(name)
    try:
        return parse_size(found[1] if found else "", "size")
    except MalformedEvidence:
        raise MalformedBundle(BundleFault.CHECKPOINT_NAME, name, "is not named by its size") from None
