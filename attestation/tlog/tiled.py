# SPDX-License-Identifier: Apache-2.0
"""Trees as stored: the hashes of complete subtrees in tiles of 256, as C2SP tlog-tiles cuts them.

    tile(L, n) = hash(8 * L, 256 * n) .. hash(8 * L, 256 * n + w - 1)     w <= 256 hashes of 32 bytes

`hash(l, i)` is the root over leaves `i << l` up to `(i + 1) << l`. A tile with w = 256 is full and never changes again;
a partial one only grows at its end. Hashes at other levels than multiples of 8 are not stored: each lies within one
tile and is made from at most 255 hashes of it.

Refused: a tile shorter than the tree needs it to be (LOG_FORK), since the store promised never to lose one.
"""

import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

from attestation.errors import Reason
from attestation.tlog.merkle import HASH_BYTES
from attestation.tlog.store import LogError, StoredTile

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
REMEMBERED_TILES: Final = 1024
"""How many full tiles a reader keeps: 8 MiB."""


class TileReader(Protocol):
    """Reads stored tiles: what is there of it, empty for none. What was read once may only become longer."""

    def tile(self, level: int, index: int) -> bytes: ...


class FullTiles:
    """Full tiles already read, the oldest forgotten first. They never change, so any number of readers share them."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._lock = threading.Lock()

    def get(self, level: int, index: int) -> bytes | None:
        """The tile, if it is remembered."""
        return self._tiles.get((level, index))

    def put(self, level: int, index: int, data: bytes) -> None:
        """Remembers a full tile."""
        with self._lock:
            while len(self._tiles) >= REMEMBERED_TILES:
                del self._tiles[next(iter(self._tiles))]
            self._tiles[level, index] = data


class StoredTree:
    """`merkle.HashReader` over stored tiles, for one question: each tile is read once. One thread."""

    def __init__(self, tiles: TileReader, full: FullTiles | None = None) -> None:
        self._tiles = tiles
        self._full = full or FullTiles()
        self._partial: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree. Raises `LogError`, LOG_FORK, if it is not there."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        tile = self._tile(tile_level, first // TILE_WIDTH)
        start = first % TILE_WIDTH * HASH_BYTES
        found = tile[start : start + (HASH_BYTES << height)]
        if len(found) != HASH_BYTES << height:
            raise LogError(Reason.LOG_FORK, f"log store has no hash at level {level}, index {index}: it is damaged")
        return _fold(found)

    def _tile(self, level: int, index: int) -> bytes:
        found = self._full.get(level, index) or self._partial.get((level, index))
        if found is None:
            found = self._tiles.tile(level, index)
            if len(found) == TILE_BYTES:
                self._full.put(level, index, found)
            else:
                self._partial[level, index] = found
        return found


def extend(size: int, leaf_hashes: Sequence[bytes], tiles: TileReader) -> list[StoredTile]:
    """The tiles that change when these leaves follow a tree of `size`, each whole as it then is, lowest level first.

    What `tiles` has beyond `size` is not read.
    """
    changed: list[StoredTile] = []
    level, start, hashes = 0, size, b"".join(leaf_hashes)
    while hashes:
        complete: list[bytes] = []
        first = start // TILE_WIDTH
        offset = start % TILE_WIDTH * HASH_BYTES
        whole = _prefix(tiles, level, first, offset) + hashes
        for place in range(0, len(whole), TILE_BYTES):
            data = whole[place : place + TILE_BYTES]
            changed.append(StoredTile(level=level, index=first + place // TILE_BYTES, data=data))
            if len(data) == TILE_BYTES:
                complete.append(_fold(data))
        # A tile that was full before has nothing new in it, so every complete one here adds a hash one level up.
        level, start, hashes = level + 1, first, b"".join(complete)
    return changed


def _prefix(tiles: TileReader, level: int, index: int, length: int) -> bytes:
    if length == 0:
        return b""
    found = tiles.tile(level, index)[:length]
    if len(found) != length:
        raise LogError(Reason.LOG_FORK, f"log store has no tile {index} at level {level}: it is damaged")
    return found


def _fold(hashes: bytes) -> bytes:
    """The root over a power of two of hashes."""
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), 2 * HASH_BYTES)
        hashes = b"".join([sha256(b"\x01" + hashes[at : at + 2 * HASH_BYTES]).digest() for at in pairs])
    return hashes
