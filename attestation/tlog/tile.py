# SPDX-License-Identifier: Apache-2.0
"""Tiles of a log (C2SP tlog-tiles 0.1): 256 consecutive hashes of one height, or the entries under them, by path.

    path    = "tile/" (level | "entries") "/" index [".p/" width]
    level   = 0..63                            a tile's hashes are roots over 256^level leaves each
    index   = *("x" 3digit "/") 3digit         1234067 is x001/x234/067
    width   = 1..255                           hashes in a partial tile; a full one has 256 and no suffix

A tree of size s has at level l `floor(s / 256^l)` hashes in full tiles and at most one partial tile. Partial tiles are
never hashed into the level above. Refused: any path that does not print back the same, and tiles of another length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.merkle import HASH_BYTES, MAX_SIZE, HashReader

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
MAX_LEVEL: Final = 63
MAX_PATH_CHARS: Final = 64
TILE_BYTES: Final = WIDTH * HASH_BYTES
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """`width` hashes of `level`, from hash `index` * 256 on."""

    level: int
    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise MalformedLog(Fault.TILE_LEVEL, f"tile level is {self.level}, want 0 to {MAX_LEVEL}")
        _want(self.index, self.width)

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        return f"tile/{self.level}/{_spelled(self.index, self.width)}"

    @property
    def full(self) -> "Tile":
        """The tile that this one is the beginning of."""
        return Tile(level=self.level, index=self.index)

    def in_tree(self, size: int) -> bool:
        """Whether a tree of `size` has this tile, or had it as a partial one on the way there."""
        return self.index * WIDTH + self.width <= size >> (HEIGHT * self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryTile:
    """The `width` entries from entry `index` * 256 on: what the hashes of the tile of level 0 are of."""

    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        _want(self.index, self.width)

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        return f"tile/entries/{_spelled(self.index, self.width)}"

    @property
    def full(self) -> "EntryTile":
        """The tile that this one is the beginning of."""
        return EntryTile(index=self.index)

    @property
    def hashes(self) -> Tile:
        """The tile of its entries' hashes."""
        return Tile(level=0, index=self.index, width=self.width)

    def in_tree(self, size: int) -> bool:
        """Whether a tree of `size` has all of these entries."""
        return self.hashes.in_tree(size)


AnyTile: TypeAlias = Tile | EntryTile


def parse_path(path: str) -> AnyTile:
    """The tile that a path names, without a leading slash. Raises `MalformedLog`."""
    found = _PATH.fullmatch(path) if len(path) <= MAX_PATH_CHARS else None
    if found is None:
        raise MalformedLog(Fault.TILE_PATH, "tile path is not tile/level/index with an optional width")
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = int(found["width"] or WIDTH)
    if found["width"] and width >= WIDTH:
        raise MalformedLog(Fault.TILE_WIDTH, f"partial tile width is {width}, want 1 to {WIDTH - 1}")
    entries = found["level"] == "entries"
    tile = EntryTile(index=index, width=width) if entries else Tile(level=int(found["level"]), index=index, width=width)
    if tile.path != path:
        raise MalformedLog(Fault.TILE_PATH, f"tile path has another spelling than {tile.path}")
    return tile


def new_tiles(old_size: int, size: int) -> Iterator[Tile]:
    """The tiles that a tree of `size` has and one of `old_size` had not, lowest level first: what growing writes."""
    level = 0
    while size >> (HEIGHT * level):
        old, count = old_size >> (HEIGHT * level), size >> (HEIGHT * level)
        if count > old:
            for index, width in _ranges(old, count):
                yield Tile(level=level, index=index, width=width)
        level += 1


def new_entry_tiles(old_size: int, size: int) -> Iterator[EntryTile]:
    """The same for tiles of entries."""
    for index, width in _ranges(old_size, size) if size > old_size else ():
        yield EntryTile(index=index, width=width)


def tile_bytes(tile: Tile, reader: HashReader) -> bytes:
    """A tile made from stored hashes; the reader's log must be large enough."""
    first = tile.index * WIDTH
    return b"".join(reader.read(HEIGHT * tile.level, first + offset) for offset in range(tile.width))


def split_hashes(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes of a tile. Does not check what they are of. Raises `MalformedLog` unless there are `tile.width`."""
    if len(data) != tile.width * HASH_BYTES:
        message = f"tile has {len(data)} bytes, want {tile.width} hashes of {HASH_BYTES}"
        raise MalformedLog(Fault.TILE_SIZE, message)
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def _ranges(old: int, count: int) -> Iterator[tuple[int, int]]:
    """Index and width of each tile that holds one of the hashes old to count."""
    for index in range(old // WIDTH, -(-count // WIDTH)):
        yield index, min(WIDTH, count - index * WIDTH)


def _spelled(index: int, width: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + ("" if width == WIDTH else f".p/{width}")


def _want(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE // WIDTH:
        raise MalformedLog(Fault.TILE_INDEX, f"tile index is {index}, want 0 to {MAX_SIZE // WIDTH}")
    if not 1 <= width <= WIDTH:
        raise MalformedLog(Fault.TILE_WIDTH, f"tile width is {width}, want 1 to {WIDTH}")
