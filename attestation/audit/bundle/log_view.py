# SPDX-License-Identifier: Apache-2.0
"""A verified log as questions see it: its entries by index, kind and time, read page by page.

Keeps nine bytes of memory for each entry and one page of 256; entries are parsed when they are looked at. Does not
verify anything: `verified` and `of_entries` hand in what was checked.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.tile import WIDTH

_KINDS: Final = tuple(Kind)

Page = Callable[[int], Sequence[bytes]]
"""The stored bytes of the entries from 256 times this number on, 256 of them but on the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An entry at its index."""

    index: int
    entry: Entry

    def text(self, key: str) -> str:
        """A text of the entry; empty where it has none of this name."""
        value = self.entry.body.get(key)
        return value if isinstance(value, str) else ""


class LogView:
    """The entries of one log. One thread."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._kinds = bytearray()
        self._times = array("q")
        self._held: tuple[int, Sequence[bytes]] = (-1, ())

    @classmethod
    def of_entries(cls, entries: Sequence[Entry]) -> "LogView":
        """The view of entries in memory."""
        view = cls(lambda number: [entry.encoded for entry in entries[number * WIDTH : (number + 1) * WIDTH]])
        for entry in entries:
            view.note(entry)
        return view

    def note(self, entry: Entry) -> None:
        """Takes the next entry into the index."""
        self._kinds.append(_KINDS.index(entry.kind))
        self._times.append(int(entry.at.timestamp()))

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self._kinds)

    def entry(self, index: int) -> Logged:
        """The entry at an index. Raises `IndexError`."""
        if not 0 <= index < self.size:
            raise IndexError(f"entry index is {index}, want below {self.size}")
        number, offset = divmod(index, WIDTH)
        if self._held[0] != number:
            self._held = (number, self._page(number))
        return Logged(index=index, entry=parse_entry(self._held[1][offset]))

    def at(self, index: int) -> datetime:
        """The time an entry states."""
        return datetime.fromtimestamp(self._times[index], UTC)

    def kind(self, index: int) -> Kind:
        """The kind of an entry."""
        return _KINDS[self._kinds[index]]

    def of(self, *kinds: Kind) -> Iterator[Logged]:
        """The entries of these kinds (all, without any), oldest first."""
        wanted = bytes(_KINDS.index(kind) for kind in kinds or _KINDS)
        for index, kind in enumerate(self._kinds):
            if kind in wanted:
                yield self.entry(index)

    def count(self, kind: Kind) -> int:
        """How many entries of a kind there are."""
        return self._kinds.count(_KINDS.index(kind))
