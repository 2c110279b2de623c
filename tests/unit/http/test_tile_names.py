# SPDX-License-Identifier: Apache-2.0
"""Addresses of tiles (C2SP tlog-tiles): one spelling each, anything else is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.server.http_paths import ENTRIES, TileName, read_tile_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tile/0/000", TileName(0, 0)),
        ("tile/0/x001/x234/067", TileName(0, 1234067)),
        ("tile/63/000.p/1", TileName(63, 0, 1)),
        ("tile/entries/255.p/255", TileName(ENTRIES, 255, 255)),
    ],
)
def test_tiles_are_named_as_the_specification_says(path: str, name: TileName) -> None:
    """The specification's own example, and the edges of each part."""
    assert read_tile_name(path) == name
    assert name.path == path


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/0/../../log.key",
        "tile/entries/000/",
        "tile/0/\u0661\u0662\u0663",
        "tile/0/" + "x001/" * 7 + "001",
        "tile/0/000\n",
    ],
)
def test_other_spellings_name_nothing(path: str) -> None:
    """A second spelling of a tile would be a second thing for caches, and a way around what they refuse."""
    assert read_tile_name(path) is None


@given(st.integers(-1, 63), st.integers(0, 10**21 - 1), st.integers(1, 256))
def test_every_tile_has_one_address(level: int, index: int, width: int) -> None:
    """Writing and reading are each other's inverse."""
    name = TileName(level, index, width)
    assert read_tile_name(name.path) == name


@given(st.text(alphabet="tile/entrs0123456789x.p-_", max_size=60))
def test_reading_is_total(path: str) -> None:
    """Any text is one tile's address or none."""
    name = read_tile_name(path)
    assert name is None or name.path == path
