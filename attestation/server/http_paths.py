# SPDX-License-Identifier: Apache-2.0
"""Addresses of a log's tiles (C2SP tlog-tiles): pure, total, and one spelling for each tile.

    tile   = "tile/" ( level / "entries" ) "/" index [ ".p/" width ]
    level  = "0" / 1..63, decimal without leading zeros
    index  = *( "x" 3DIGIT "/" ) 3DIGIT             1234067 is x001/x234/067; no leading x000
    width  = 1..255, decimal without leading zeros

Anything else is no address: it names nothing, so nothing is looked up for it.
"""

import re
from dataclasses import dataclass
from typing import Final

TILE_WIDTH: Final = 256
ENTRIES: Final = -1
"""The level that stands for bundles of entries."""

_TILE: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class TileName:
    """One tile: `width` hashes of `level`, or entries, from place `index` * 256 on."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def partial(self) -> bool:
        """Whether it is the beginning of a tile that is not full yet, or was not."""
        return self.width < TILE_WIDTH

    @property
    def path(self) -> str:
        """The address below the log's."""
        groups = [f"{self.index % 1000:03}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{'/'.join(reversed(groups))}{f'.p/{self.width}' if self.partial else ''}"


def read_tile_name(path: str) -> TileName | None:
    """The tile that `path` (below the log's address) names, or None if it names none."""
    found = _TILE.fullmatch(path)
    if found is None:
        return None
    level = ENTRIES if found["level"] == "entries" else int(found["level"])
    index = int(found["index"].replace("x", "").replace("/", ""))
    name = TileName(level, index, TILE_WIDTH if found["width"] is None else int(found["width"]))
    return name if level <= 63 and name.path == path else None
