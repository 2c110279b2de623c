# SPDX-License-Identifier: Apache-2.0
"""Where a log's bytes live: the store of entries and hashes, and apart from it the store of the last signed head.

The two are separate so that a log restored from yesterday's backup still meets the head it signed today and refuses to
sign another. Keep them on different volumes; on one disk a snapshot brings both back, and nothing here can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.errors import SealbidError
from attestation.tlog.merkle import Node


class LogError(SealbidError):
    """The log refuses or cannot serve.

    LOG_ROLLBACK and LOG_FORK need a person: nothing more is signed until the store is put right. STORE_UNAVAILABLE may
    be retried. NOT_FOUND names an entry that no checkpoint covers yet.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry as stored: `data` is what was hashed, the other columns only help to find it."""

    index: int
    leaf_hash: bytes
    kind: str
    subject: str
    at: str
    data: bytes


class LogStore(Protocol):
    """Entries and the hashes of complete subtrees, append-only.

    Durability: when `append` or `publish` returns, its effect survives power loss. Either is all or nothing: after an
    exception the effect is there completely or not at all, and the caller reads `size` to learn which.
    Concurrency: one writer; readers on any thread at any time see a state between two writes. A second writer is
    noticed by `expected_size` and refused.
    Every method raises `LogError`, STORE_UNAVAILABLE, when the storage fails.
    """

    def size(self) -> int:
        """The number of entries."""
        ...

    def append(self, *, expected_size: int, entries: Sequence[StoredEntry], nodes: Sequence[Node]) -> None:
        """Adds entries from index `expected_size` on, and the subtrees they complete, in one transaction.

        Raises:
            LogError: LOG_FORK when the log has another size than expected.
        """
        ...

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree. Raises `LogError`, LOG_FORK, for one that should be there and is not."""
        ...

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries from index `start`, in order."""
        ...

    def about(self, subject: str, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries about `subject`, newest first."""
        ...

    def published(self) -> bytes | None:
        """The newest published checkpoint note, or None before the first."""
        ...

    def publish(self, note: bytes, *, size: int, at: datetime) -> None:
        """Replaces the published checkpoint by one of a `size` that is not smaller."""
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
