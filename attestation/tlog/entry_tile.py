# SPDX-License-Identifier: Apache-2.0
"""Entry bundles (C2SP tlog-tiles 0.1): up to 256 entries as one resource, the tile of entries of `tile.EntryTile`.

    tile = 1*256( u16 length || entry )        big-endian; each entry hashes to its place in the hash tile of level 0

Refused: an entry cut short, bytes left over, and more or fewer entries than the path's width says.
"""

from collections.abc import Sequence
from typing import Final

from attestation.errors import NotGenuine, Reason
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.merkle import leaf_hash
from attestation.tlog.tile import WIDTH, EntryTile, split_hashes

MAX_LEAF_BYTES: Final = (1 << 16) - 1


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """The bundle of 1 to 256 entries.

    Raises:
        ValueError: more or fewer, or one above 65,535 bytes.
    """
    if not 1 <= len(entries) <= WIDTH or any(len(entry) > MAX_LEAF_BYTES for entry in entries):
        raise ValueError(f"entry tile has {len(entries)} entries, want 1 to {WIDTH} of at most {MAX_LEAF_BYTES} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_entries(tile: EntryTile, data: bytes) -> list[bytes]:
    """The entries of a bundle, as many as `tile` is wide. Does not check what they hash to. Raises `MalformedLog`."""
    entries: list[bytes] = []
    start = 0
    for number in range(tile.width):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or end > len(data):
            message = f"entry tile ends within entry {number}, want {tile.width} entries"
            raise MalformedLog(Fault.ENTRY_TILE_SHORT, message)
        entries.append(data[start + 2 : end])
        start = end
    if start != len(data):
        message = f"entry tile has {len(data) - start} bytes after {tile.width} entries, want none"
        raise MalformedLog(Fault.ENTRY_TILE_LONG, message)
    return entries


def check_entries(tile: EntryTile, data: bytes, hashes: bytes) -> list[bytes]:
    """The entries of a bundle, each of which hashes to its place in `hashes`, the tile of level 0 beside it.

    Does not check `hashes`: take them from a `tile_tree.TileTree`.

    Raises:
        MalformedEvidence: either is no tile of this width.
        NotGenuine: PROOF_INVALID, naming the first entry that is not what was hashed.
    """
    entries = decode_entries(tile, data)
    for offset, (entry, want) in enumerate(zip(entries, split_hashes(tile.hashes, hashes), strict=True)):
        if leaf_hash(entry) != want:
            index = tile.index * WIDTH + offset
            raise NotGenuine(Reason.PROOF_INVALID, f"entry {index} does not hash to what the tree has")
    return entries
