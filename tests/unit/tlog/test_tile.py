# SPDX-License-Identifier: Apache-2.0
"""Tiles: paths with one spelling, which tiles a tree has, entry bundles, and their limits."""

from itertools import pairwise

import pytest

from attestation.errors import NotGenuine, Reason
from attestation.tlog.entry_tile import MAX_LEAF_BYTES, check_entries, decode_entries, encode_entries
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.merkle import MAX_SIZE
from attestation.tlog.tile import EntryTile, Tile, new_entry_tiles, new_tiles, parse_path, split_hashes
from tests.support.tiles import leaf, tiles_of
from tests.support.vectors import vector_json

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000]


class TestPublishedTiles:
    def test_paths(self) -> None:
        """The specification's index has the specification's path."""
        case = vector_json("log", "transcribed", "c2sp-examples.json")["tiles"]
        for index, spelled in case["index_path"].items():
            for tile, path in (
                (Tile(level=3, index=int(index)), f"tile/3/{spelled}"),
                (Tile(level=3, index=int(index), width=8), f"tile/3/{spelled}.p/8"),
                (EntryTile(index=int(index)), f"tile/entries/{spelled}"),
            ):
                assert tile.path == path
                assert parse_path(path) == tile

    def test_counts(self) -> None:
        """Trees of the specification's sizes have the tiles that it says."""
        case = vector_json("log", "transcribed", "c2sp-examples.json")["tiles"]
        for size, want in ((case["size"], case), (256, case["size256"])):
            found: dict[str, int] = {}
            for tile in new_tiles(0, size):
                full = f"full_L{tile.level}"
                if tile.width == 256:
                    found[full] = found.get(full, 0) + 1
                else:
                    found[f"partial_L{tile.level}"] = tile.width
            assert found == {name: count for name, count in want.items() if name.startswith(("full", "partial"))}


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "fault"),
        [
            ("", Fault.TILE_PATH),
            ("/tile/0/000", Fault.TILE_PATH),
            ("tile/0/000/", Fault.TILE_PATH),
            ("tile/0", Fault.TILE_PATH),
            ("tile/00/000", Fault.TILE_PATH),
            ("tile/-1/000", Fault.TILE_PATH),
            ("tile/data/000", Fault.TILE_PATH),
            ("tile/0/0", Fault.TILE_PATH),
            ("tile/0/1234", Fault.TILE_PATH),
            ("tile/0/x000/001", Fault.TILE_PATH),
            ("tile/0/001/001", Fault.TILE_PATH),
            ("tile/0/x001", Fault.TILE_PATH),
            ("tile/0/000.p", Fault.TILE_PATH),
            ("tile/0/000.p/", Fault.TILE_PATH),
            ("tile/0/000.p/0", Fault.TILE_PATH),
            ("tile/0/000.p/01", Fault.TILE_PATH),
            ("tile/0/000.p/1\n", Fault.TILE_PATH),
            ("tile/0/\u0660\u0660\u0660", Fault.TILE_PATH),
            ("tile/0/../000", Fault.TILE_PATH),
            ("tile/0/" + "x001/" * 20 + "000", Fault.TILE_PATH),
            ("tile/0/000.p/256", Fault.TILE_WIDTH),
            ("tile/0/000.p/999", Fault.TILE_WIDTH),
            ("tile/64/000", Fault.TILE_LEVEL),
            ("tile/0/x999/x999/x999/x999/x999/x999/999", Fault.TILE_INDEX),
        ],
    )
    def test_refused(self, path: str, fault: Fault) -> None:
        """A path that is not the one spelling of a tile is refused."""
        with pytest.raises(MalformedLog) as caught:
            parse_path(path)
        assert caught.value.fault == fault

    @pytest.mark.parametrize(("index", "width"), [(-1, 1), (1 << 55, 1), (0, 0), (0, 257), (0, -1)])
    def test_no_such_tile(self, index: int, width: int) -> None:
        """There is no tile outside every tree."""
        for make in (lambda: Tile(level=0, index=index, width=width), lambda: EntryTile(index=index, width=width)):
            with pytest.raises(MalformedLog):
                make()

    @pytest.mark.parametrize("index", [0, 999, 1000, 999_999, 1_000_000, (1 << 55) - 1])
    def test_round_trip(self, index: int) -> None:
        """A tile of any index has a path that is read back as it."""
        for width in (1, 255, 256):
            for tile in (Tile(level=0, index=index, width=width), EntryTile(index=index, width=width)):
                assert parse_path(tile.path) == tile
                assert tile.full == parse_path(tile.full.path)

    def test_in_tree(self) -> None:
        """A tile is in a tree whose leaves fill it, and a partial one in every larger tree too."""
        assert Tile(level=1, index=0, width=1).in_tree(256)
        assert not Tile(level=1, index=0, width=1).in_tree(255)
        assert not Tile(level=0, index=0).in_tree(255)
        assert EntryTile(index=1, width=1).in_tree(257)
        assert not EntryTile(index=1, width=1).in_tree(256)
        assert not Tile(level=63, index=0, width=1).in_tree(MAX_SIZE)


class TestGrowing:
    @pytest.mark.parametrize("size", SIZES)
    def test_all_tiles(self, size: int) -> None:
        """A tree's tiles are those that its hashes are cut into, level by level."""
        found = {tile.path: tile.width * 32 for tile in new_tiles(0, size)}
        assert found == {path: len(data) for path, data in tiles_of([leaf(b"")] * size).items()}
        assert [tile.hashes for tile in new_entry_tiles(0, size)] == [
            tile for tile in new_tiles(0, size) if tile.level == 0
        ]

    def test_growth(self) -> None:
        """Growing writes what the larger tree has and the smaller one had not, and nothing twice."""
        for old, size in pairwise(SIZES):
            want = set(new_tiles(0, size)) - set(new_tiles(0, old))
            assert sorted(tile.path for tile in new_tiles(old, size)) == sorted(tile.path for tile in want)
        assert (list(new_tiles(300, 300)), list(new_entry_tiles(300, 300))) == ([], [])


class TestEntryTiles:
    def test_form(self) -> None:
        """Each entry stands behind its length in two bytes."""
        assert encode_entries([b"ab", b"", b"c"]) == b"\x00\x02ab\x00\x00\x00\x01c"

    @pytest.mark.parametrize("count", [1, 255, 256])
    def test_round_trip(self, count: int) -> None:
        """Up to 256 entries of up to 65,535 bytes go through a bundle unchanged."""
        entries = [bytes([number % 256]) * (number * 7) for number in range(count - 1)] + [b"x" * MAX_LEAF_BYTES]
        assert decode_entries(EntryTile(index=9, width=count), encode_entries(entries)) == entries

    @pytest.mark.parametrize(
        "entries", [[], [b""] * 257, [b"x" * (MAX_LEAF_BYTES + 1)]], ids=["none", "too many", "too long"]
    )
    def test_no_such_bundle(self, entries: list[bytes]) -> None:
        """No bundle holds nothing, more than 256 entries, or one longer than its length field can say."""
        with pytest.raises(ValueError, match="want 1 to 256"):
            encode_entries(entries)

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"", Fault.ENTRY_TILE_SHORT),
            (b"\x00\x01a\x00", Fault.ENTRY_TILE_SHORT),
            (b"\x00\x01a\x00\x02b", Fault.ENTRY_TILE_SHORT),
            (b"\x00\x01a", Fault.ENTRY_TILE_SHORT),
            (b"\x00\x01a\x00\x01bc", Fault.ENTRY_TILE_LONG),
            (b"\x00\x01a\x00\x01b\x00\x00", Fault.ENTRY_TILE_LONG),
        ],
    )
    def test_refused(self, data: bytes, fault: Fault) -> None:
        """A bundle cut short, with bytes left over, or with another number of entries than its path is refused."""
        with pytest.raises(MalformedLog) as caught:
            decode_entries(EntryTile(index=0, width=2), data)
        assert caught.value.fault == fault

    def test_entries_are_what_was_hashed(self) -> None:
        """A bundle beside its hash tile: any flipped byte of either is found, and the entry is named."""
        entries = [b"one", b"two", b"three"]
        tile, data = EntryTile(index=2, width=3), encode_entries(entries)
        hashes = b"".join(map(leaf, entries))
        assert check_entries(tile, data, hashes) == entries
        with pytest.raises(NotGenuine, match="entry 513 does not hash") as caught:
            check_entries(tile, data.replace(b"two", b"twO"), hashes)
        assert caught.value.reason == Reason.PROOF_INVALID
        for place in range(len(hashes)):
            flipped = hashes[:place] + bytes([hashes[place] ^ 1]) + hashes[place + 1 :]
            with pytest.raises(NotGenuine, match=f"entry {512 + place // 32} "):
                check_entries(tile, data, flipped)
        with pytest.raises(MalformedLog):
            check_entries(tile, data, hashes[:-1])


@pytest.mark.parametrize("length", [0, 31, 63, 65, 96])
def test_hash_tiles_of_another_length(length: int) -> None:
    """A tile is exactly as many hashes as its path says."""
    with pytest.raises(MalformedLog) as caught:
        split_hashes(Tile(level=0, index=0, width=2), bytes(length))
    assert caught.value.fault == Fault.TILE_SIZE
