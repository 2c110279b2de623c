# SPDX-License-Identifier: Apache-2.0
"""A tree read from tiles: every proof right, every altered tile found when it is read, nothing read for nothing."""

import random
from functools import cache

import pytest

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog import merkle, tile_tree
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.tile import Tile, new_tiles, tile_bytes
from attestation.tlog.tile_tree import TileTree
from tests.support.log import ORIGIN
from tests.support.tiles import MemoryTiles, leaf, subtree, tiles_of

SIZES = [1, 2, 3, 255, 256, 257, 511, 65_535, 65_536, 65_537]


@cache
def leaves(size: int) -> list[bytes]:
    """The leaf hashes of a log of numbered entries."""
    return [leaf(b"%d" % number) for number in range(size)]


@cache
def stored(size: int) -> dict[str, bytes]:
    """Its tiles."""
    return tiles_of(leaves(size))


@cache
def head(size: int) -> Checkpoint:
    """Its head."""
    return Checkpoint(origin=ORIGIN, size=size, root=subtree(leaves(size)))


def tree(size: int, files: dict[str, bytes] | None = None) -> TileTree:
    """The tree of that log, read from its own or other files."""
    return TileTree(head(size), MemoryTiles(stored(size) if files is None else files))


@pytest.mark.parametrize("size", SIZES)
def test_proofs(size: int) -> None:
    """Inclusion and consistency proofs made from tiles verify, at every place where a tree changes shape."""
    made = tree(size)
    for index in {0, 1, 254, 255, 256, 257, 65_279, 65_280, 65_535, size - 2, size - 1} & set(range(size)):
        merkle.verify_inclusion(index, size, leaves(size)[index], made.inclusion(index), head(size).root)
    for old in {1, 2, 128, 255, 256, 257, 65_280, 65_535, 65_536, size - 1, size} & set(range(1, size + 1)):
        proof = made.consistency(old)
        merkle.verify_consistency(old, subtree(leaves(size)[:old]), size, head(size).root, proof)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_go_in_and_come_out(size: int) -> None:
    """Every tile, made from the tree's hashes, is the stored one; read back authenticated, it is too."""
    made = tree(size)
    some = list(new_tiles(0, size))
    for tile in some if len(some) < 20 else random.Random(size).sample(some, 20):
        assert tile_bytes(tile, made) == made.hashes(tile) == stored(size)[tile.path]


def test_an_empty_log() -> None:
    """The empty log has a tree without tiles, and no other root."""
    nothing = MemoryTiles({})
    assert TileTree(Checkpoint(origin=ORIGIN, size=0, root=merkle.EMPTY_ROOT), nothing).head.size == 0
    with pytest.raises(NotGenuine):
        TileTree(Checkpoint(origin=ORIGIN, size=0, root=bytes(32)), nothing)


@pytest.mark.parametrize("size", [3, 256, 257, 66_000])
def test_every_altered_tile_is_found(size: int) -> None:
    """One flipped bit in any tile is found before a hash of that tile is used."""
    chosen = random.Random(size)
    paths = sorted(stored(size))
    for path in paths if len(paths) < 10 else [*chosen.sample(paths, 8), *(p for p in paths if "/0/" not in p)]:
        data = bytearray(stored(size)[path])
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        tile = next(tile for tile in new_tiles(0, size) if tile.path == path)
        with pytest.raises(NotGenuine) as caught:
            tree(size, stored(size) | {path: bytes(data)}).hashes(tile)
        assert caught.value.reason == Reason.PROOF_INVALID


def test_every_flipped_byte_of_an_edge_tile() -> None:
    """No byte of a partial tile can change without the root saying so."""
    data = stored(257)["tile/0/001.p/1"]
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
        with pytest.raises(NotGenuine):
            tree(257, stored(257) | {"tile/0/001.p/1": flipped})


def test_swapped_tiles() -> None:
    """A genuine tile in another one's place is not of this tree there."""
    files = stored(600) | {"tile/0/000": stored(600)["tile/0/001"]}
    made = tree(600, files)
    assert made.read(0, 256) == leaves(600)[256]
    with pytest.raises(NotGenuine, match="tile/0/000 does not hash"):
        made.read(0, 0)


@pytest.mark.parametrize("path", ["tile/0/001.p/1", "tile/0/000"])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\x00", lambda _: b""])
def test_tiles_of_another_length(path: str, change: object) -> None:
    """A tile that is too short or too long is malformed."""
    assert callable(change)
    files = stored(257) | {path: change(stored(257)[path])}
    with pytest.raises(MalformedEvidence):
        tree(257, files).read(0, 0)


@pytest.mark.parametrize(("level", "index"), [(0, 257), (8, 1), (-1, 0), (0, -1), (9, 0), (60, 0)])
def test_outside_the_tree(level: int, index: int) -> None:
    """There is no hash of a subtree that is not complete."""
    with pytest.raises(ValueError, match="is not complete"):
        tree(257).read(level, index)


def test_tiles_outside_the_tree() -> None:
    """A tile that the tree does not have is not asked for."""
    tiles = MemoryTiles(stored(257))
    made = TileTree(head(257), tiles)
    before = list(tiles.read_paths)
    with pytest.raises(ValueError, match="is not in a tree"):
        made.hashes(Tile(level=0, index=1, width=2))
    assert tiles.read_paths == before == ["tile/0/001.p/1", "tile/1/000.p/1"]


def test_tiles_are_kept_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile is read once while it is kept; how many are kept is bounded."""
    monkeypatch.setattr(tile_tree, "MAX_KEPT_TILES", 2)
    tiles = MemoryTiles(stored(1100))
    made = TileTree(head(1100), tiles)
    edge = len(tiles.read_paths)
    for index in (0, 1, 300, 2, 600, 900, 0):
        assert made.read(0, index) == leaves(1100)[index]
    assert tiles.read_paths[edge:] == ["tile/0/000", "tile/0/001", "tile/0/002", "tile/0/003", "tile/0/000"]
