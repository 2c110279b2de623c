# SPDX-License-Identifier: Apache-2.0
"""A log's tree read out of its tiles, each of which is authenticated by a checkpoint before a hash of it is used.

The partial tiles at the tree's right edge are read first: together they hold every subtree that the root is made of,
so hashing them to the root vouches for each of their hashes. Any other tile is full, and its root is one hash of the
tile above it. So a tile that was altered, swapped or made up is found when it is read, and named.

Refused: tiles of another length, and tiles that do not hash to what the level above says.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from attestation.errors import NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.merkle import EMPTY_ROOT, consistency_proof, inclusion_proof, root_of, tree_root
from attestation.tlog.tile import HEIGHT, WIDTH, Tile, split_hashes

MAX_KEPT_TILES: Final = 1024
"""Authenticated tiles kept for the next proof, 8 KiB each."""


class TileReader(Protocol):
    """Where tiles come from: HTTP, a folder, a bundle. Nothing it returns is believed."""

    def read(self, tile: Tile) -> bytes:
        """The tile's bytes, exactly as wide as asked. A partial tile that is gone is the beginning of the full one."""
        ...


class TileTree:
    """The tree of `head`, whose signature the caller has checked. A `merkle.HashReader`. One thread.

    Raises:
        MalformedEvidence: at construction and on reading, a tile of another length.
        NotGenuine: PROOF_INVALID; a tile is not of this tree.
    """

    def __init__(self, head: Checkpoint, tiles: TileReader) -> None:
        self._head = head
        self._tiles = tiles
        self._edge: dict[int, list[bytes]] = {}
        self._kept: OrderedDict[Tile, list[bytes]] = OrderedDict()
        self._read_edge()

    @property
    def head(self) -> Checkpoint:
        """The checkpoint it is the tree of."""
        return self._head

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree within the tree.

        Raises:
            ValueError: the tree does not have it.
        """
        if level < 0 or index < 0 or (index + 1) << level > self._head.size:
            raise ValueError(f"subtree {index} of level {level} is not complete at size {self._head.size}")
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        hashes = self._hashes(tile_level, first // WIDTH)
        start = first % WIDTH
        return root_of(hashes[start : start + (1 << height)])

    def hashes(self, tile: Tile) -> bytes:
        """An authenticated tile, whole or its beginning. Raises `ValueError` for one that the tree does not have."""
        if not tile.in_tree(self._head.size):
            raise ValueError(f"{tile.path} is not in a tree of size {self._head.size}")
        return b"".join(self._hashes(tile.level, tile.index)[: tile.width])

    def inclusion(self, index: int) -> list[bytes]:
        """The inclusion path of an entry. Raises `ValueError` for one outside the tree."""
        return inclusion_proof(index, self._head.size, self)

    def consistency(self, old_size: int) -> list[bytes]:
        """The proof that the tree of `old_size`, which is not 0, is a prefix. Raises `ValueError` for a larger one."""
        return consistency_proof(old_size, self._head.size, self)

    def _read_edge(self) -> None:
        level = 0
        while count := self._head.size >> (HEIGHT * level):
            if width := count % WIDTH:
                tile = Tile(level=level, index=count // WIDTH, width=width)
                self._edge[level] = split_hashes(tile, self._tiles.read(tile))
            level += 1
        root = tree_root(self._head.size, self) if self._head.size else EMPTY_ROOT
        if root != self._head.root:
            message = f"partial tiles do not hash to the root of size {self._head.size}"
            raise NotGenuine(Reason.PROOF_INVALID, message)

    def _hashes(self, level: int, index: int) -> Sequence[bytes]:
        if index == self._head.size >> (HEIGHT * (level + 1)):
            return self._edge[level]
        tile = Tile(level=level, index=index)
        if tile in self._kept:
            self._kept.move_to_end(tile)
            return self._kept[tile]
        hashes = split_hashes(tile, self._tiles.read(tile))
        if root_of(hashes) != self._hashes(level + 1, index // WIDTH)[index % WIDTH]:
            raise NotGenuine(Reason.PROOF_INVALID, f"{tile.path} does not hash to what the level above has")
        self._kept[tile] = hashes
        if len(self._kept) > MAX_KEPT_TILES:
            self._kept.popitem(last=False)
        return hashes
