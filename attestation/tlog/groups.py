# SPDX-License-Identifier: Apache-2.0
"""Appends that wait for one another: who comes while a commit is under way shares the next one."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from attestation.errors import SealbidError
from attestation.tlog.store import NewEntry

GROUP: Final = 256
"""Appends are gathered into transactions of about this many entries; a longer one is not split."""


@dataclass(slots=True)
class Waiting:
    """One caller's entries, and the indices they get or the error instead."""

    entries: Sequence[NewEntry]
    indices: Future[range] = field(default_factory=Future)


class Groups:
    """Entries that wait to be committed, in order of arrival. Any thread."""

    def __init__(self, gather_seconds: float) -> None:
        self._gather_seconds = gather_seconds
        self._queue: deque[Waiting] = deque()
        self._arrival = threading.Condition()

    def __len__(self) -> int:
        return len(self._queue)

    def join(self, entries: Sequence[NewEntry]) -> Waiting:
        """Queues entries; somebody will settle what waits for them."""
        waiting = Waiting(entries)
        with self._arrival:
            self._queue.append(waiting)
            self._arrival.notify_all()
        return waiting

    def take(self) -> list[Waiting]:
        """The next group, perhaps after some time for others to join it."""
        group: list[Waiting] = []
        count = 0
        with self._arrival:
            if self._gather_seconds:
                self._arrival.wait_for(self._enough, self._gather_seconds)
            while self._queue and (not group or count + len(self._queue[0].entries) <= GROUP):
                group.append(self._queue.popleft())
                count += len(group[-1].entries)
        return group

    def _enough(self) -> bool:
        return sum(len(waiting.entries) for waiting in self._queue) >= GROUP


def fail(group: Sequence[Waiting], error: SealbidError) -> None:
    """Gives the error to all of a group that have no answer yet."""
    for waiting in group:
        if not waiting.indices.done():
            waiting.indices.set_exception(error)
