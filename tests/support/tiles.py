# SPDX-License-Identifier: Apache-2.0
"""Logs as a folder of tiles in memory, made by hashing ranges of leaves and nothing of the product's tile code."""

import hashlib
from collections.abc import Sequence

from attestation.tlog.tile import Tile


def leaf(data: bytes) -> bytes:
    """RFC 6962's leaf hash, by hand."""
    return hashlib.sha256(b"\x00" + data).digest()


def subtree(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962's root over leaf hashes, by its recursive definition."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + subtree(leaves[:split]) + subtree(leaves[split:])).digest()


def tiles_of(leaves: Sequence[bytes]) -> dict[str, bytes]:
    """Every hash tile of a tree, by path as a file name has it: full ones, and the partial ones of this size."""
    found: dict[str, bytes] = {}
    level, hashes = 0, list(leaves)
    while hashes:
        for start in range(0, len(hashes), 256):
            part = hashes[start : start + 256]
            groups = f"{start // 256:03}" if start < 256_000 else f"x{start // 256_000:03}/{start // 256 % 1000:03}"
            suffix = "" if len(part) == 256 else f".p/{len(part)}"
            found[f"tile/{level}/{groups}{suffix}"] = b"".join(part)
        whole = len(hashes) // 256
        hashes = [subtree(hashes[index * 256 : index * 256 + 256]) for index in range(whole)]
        level += 1
    return found


class MemoryTiles:
    """A `tile_tree.TileReader` over files by path, which counts what was read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.read_paths: list[str] = []

    def read(self, tile: Tile) -> bytes:
        self.read_paths.append(tile.path)
        return self.files[tile.path]
