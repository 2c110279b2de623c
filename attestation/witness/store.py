# SPDX-License-Identifier: Apache-2.0
"""What a witness remembers: for each log the last note it cosigned, and apart from it how far it ever got.

    <state>/logs/<sha256(origin)>     the last note: the log's lines and the witness's own, as monitors are shown it
    <guard>/<sha256(origin)>          the largest head whose cosignature may have left

Both are compare-and-swap files that survive power loss. A cosignature leaves only after both hold its head, the note
first: a crash between the two leaves a guard that is behind and caught up, never one that is ahead. A note smaller than
its guard, or none beside one, was restored from a backup or lost: the witness then cosigns nothing for this log until
a person has put the newest note it ever signed in place. Keep the guard on another volume, and out of every backup: on
one disk a snapshot brings both back, and nothing here can tell.
"""

from pathlib import Path
from typing import Protocol

from attestation.errors import Reason
from attestation.tlog.add_checkpoint import origin_hash
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.note import parse_note
from attestation.tlog.store import HeadStore, LogError


def head_of(note: bytes) -> Checkpoint:
    """What a stored note says. Raises `MalformedEvidence`."""
    return Checkpoint.read(parse_note(note)[0])


class WitnessStore(Protocol):
    """The last note per origin.

    Durability: when `swap` returns, `load` gives `new` after power loss; after an exception either note.
    Concurrency: `swap` is one atomic step among all threads and processes that share the store.
    Every method raises `LogError`: STORE_UNAVAILABLE when the storage fails, LOG_ROLLBACK when it holds less than was
    cosigned once, LOG_FORK when it holds another note than expected.
    """

    def load(self, origin: str) -> bytes | None:
        """The last note cosigned, or None if none ever was."""
        ...

    def swap(self, origin: str, expected: bytes | None, new: bytes) -> None:
        """Replaces `expected` by `new`, whose size is not smaller."""
        ...

    def remember(self, origin: str, note: bytes) -> None:
        """Keeps that `note` was cosigned once, though it is not the last one known: from now on `load` refuses."""
        ...


class FileWitnessStore:
    """`WitnessStore` in two folders that exist, mode 0700."""

    def __init__(self, notes: Path, guards: Path) -> None:
        self._notes = notes
        self._guards = guards

    def load(self, origin: str) -> bytes | None:
        """The last note, if it is not behind its guard."""
        # The guard first: another process may move both on in between, and the guard is never ahead of the note.
        guard = self._guard(origin).load()
        note = self._note(origin).load()
        if guard is not None and (note is None or head_of(note).size < head_of(guard).size):
            got = head_of(note).size if note is not None else "missing"
            want = f"at least {head_of(guard).size}, which it has cosigned"
            raise LogError(Reason.LOG_ROLLBACK, f"witness state of {origin} is {got}, want {want}")
        return note

    def swap(self, origin: str, expected: bytes | None, new: bytes) -> None:
        """Replaces the note, then moves the guard up to it."""
        self._note(origin).swap(expected, new)
        self.remember(origin, new)

    def remember(self, origin: str, note: bytes) -> None:
        """Moves the guard up, never down."""
        guard, size = self._guard(origin), head_of(note).size
        last = guard.load()
        while last is None or head_of(last).size < size:
            try:
                guard.swap(last, note)
            except LogError as error:
                if error.reason is not Reason.LOG_FORK:
                    raise
            last = guard.load()  # whoever was faster may have moved it less far

    def _note(self, origin: str) -> HeadStore:
        return FileHeadStore(self._notes / origin_hash(origin))

    def _guard(self, origin: str) -> HeadStore:
        return FileHeadStore(self._guards / origin_hash(origin))
