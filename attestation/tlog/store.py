# SPDX-License-Identifier: Apache-2.0
"""Where a log's bytes live: the store of entries and tiles, and apart from it the store of the last signed head.

The two are separate so that a log restored from yesterday's backup still meets the head it signed today and refuses to
sign another. Keep them on different volumes; on one disk a snapshot brings both back, and nothing here can tell.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from attestation.errors import SealbidError


class LogError(SealbidError):
    """The log refuses or cannot serve.

    LOG_ROLLBACK and LOG_FORK need a person: nothing more is signed until the store is put right. STORE_UNAVAILABLE may
    be retried. NOT_FOUND names an entry that no checkpoint covers yet, LOG_FROZEN a log that takes no more entries.
    """


class Step(StrEnum):
    """The steps of sequencing, in order. A process may die after any of them (attestation/tlog/sequencer.py)."""

    ENTRIES_WRITTEN = "entries written"
    TILES_WRITTEN = "tiles written"
    PENDING_TAKEN = "pending taken"
    SIZE_MOVED = "size moved"
    COMMITTED = "committed"
    HASHED_AGAIN = "hashed again"
    SIGNED = "signed"
    HEAD_WRITTEN = "head written"
    HEAD_KEPT = "head kept"
    COSIGNED = "cosigned"
    SHOWN = "shown"


StepHook = Callable[[Step], None]
"""Told after each step; only tests that kill the process there give another than `no_step`."""


def no_step(step: Step) -> None:
    """Goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """Bytes to log: `data` is what is hashed, the other columns only help to find it (empty where nobody looks)."""

    data: bytes
    kind: str = ""
    subject: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry at its index."""

    index: int
    data: bytes
    kind: str = ""
    subject: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTile:
    """Tile `index` of level `level` (each spans 8 levels of the tree): 1 to 256 hashes."""

    level: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEntry:
    """An entry handed in by some process and not yet in the log; `number` is the store's own."""

    number: int
    entry: NewEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """What a store says of a log besides its entries. A frozen log ends at `size`; a deleted one has none left."""

    size: int
    published: bytes | None = None
    frozen_at: datetime | None = None
    keep_until: datetime | None = None
    deleted_at: datetime | None = None


class LogStore(Protocol):
    """Entries and tiles of one log, append-only.

    Durability: when a method returns, its effect survives power loss. Each is all or nothing: after an exception the
    effect is there completely or not at all, and the caller reads `state` to learn which.
    Concurrency: one sequencer, which calls `acquire` before it writes; readers and `submit` on any thread of any
    process at any time, and readers see a state between two writes. Another writer is noticed by `expected_size`.
    Every method raises `LogError`, STORE_UNAVAILABLE, when the storage fails.
    """

    def acquire(self) -> None:
        """Makes this object the log's one sequencer until it is closed; twice is the same as once.

        Raises:
            LogError: STORE_UNAVAILABLE while another one is. One that was overtaken all the same (its lock was lost
                with its connection) is refused every write from then on.
        """
        ...

    def state(self) -> LogState:
        """Size and circumstances, read together."""
        ...

    def append(
        self,
        *,
        expected_size: int,
        entries: Sequence[NewEntry],
        tiles: Sequence[StoredTile],
        pending: Sequence[int] = (),
    ) -> None:
        """Adds entries from index `expected_size` on with the tiles they change, and forgets these pending numbers.

        Raises:
            LogError: LOG_FORK when the log has another size than expected or a pending number is gone; LOG_FROZEN.
        """
        ...

    def tile(self, level: int, index: int) -> bytes:
        """What there is of a tile, empty for none."""
        ...

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries from index `start`, in order."""
        ...

    def about(self, subject: str, limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` entries about `subject` (not empty), newest first, of those below index `before`."""
        ...

    def newest(self, kinds: Collection[str], limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` entries of these kinds (none of them empty), newest first, of those below index `before`."""
        ...

    def publish(self, note: bytes, *, size: int, at: datetime) -> None:
        """Replaces the published checkpoint by one of a `size` that is not smaller. Raises `LogError`, LOG_ROLLBACK."""
        ...

    def submit(self, ticket: bytes, entry: NewEntry) -> None:
        """Hands in an entry to be logged; from any process.

        `ticket` (16 random bytes) makes a second try the same as the first as long as the entry is pending.
        Raises `LogError`, LOG_FROZEN.
        """
        ...

    def pending(self, limit: int) -> Sequence[PendingEntry]:
        """Up to `limit` entries handed in and not yet in the log, oldest first."""
        ...

    def drop(self, numbers: Sequence[int]) -> None:
        """Forgets pending entries that can never be logged."""
        ...

    def freeze(self, *, size: int, at: datetime, keep_until: datetime) -> None:
        """Ends the log at `size`, which its published checkpoint covers; its bytes are kept until `keep_until`.

        Once frozen, only `keep_until` may change, to a later time.
        Raises `LogError`, LOG_ROLLBACK, if it has another size or entries are pending.
        """
        ...

    def delete(self, now: datetime) -> None:
        """Deletes entries and tiles of a frozen log whose time is over. Size and final checkpoint stay for ever.

        Raises `LogError`, LOG_FROZEN, if it is not frozen or still to be kept. Twice is the same as once.
        """
        ...


class HeadStore(Protocol):
    """The last checkpoint note the log has signed, and nothing else.

    Durability: when `swap` returns, `load` gives `new` after power loss; after an exception either `expected` or `new`.
    Concurrency: `swap` is one atomic step among all threads and processes that share the store.
    Both raise `LogError`, STORE_UNAVAILABLE, when the storage fails.
    """

    def load(self) -> bytes | None:
        """The note, or None if none was ever stored."""
        ...

    def swap(self, expected: bytes | None, new: bytes) -> None:
        """Replaces `expected` by `new`. Raises `LogError`, LOG_FORK, when the store holds anything else."""
        ...
