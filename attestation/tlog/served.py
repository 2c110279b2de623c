# SPDX-License-Identifier: Apache-2.0
"""A log as its readers see it: published checkpoint, entries, and proofs under that checkpoint. Nothing here writes.

A proof is checked before it is handed out, so storage that is damaged is named (LOG_FORK) and never proved.
"""

from collections.abc import Collection, Sequence
from typing import Final

from attestation.errors import AttestationError, NotGenuine, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.note import NoteVerifier
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.proof import InclusionProof
from attestation.tlog.store import LogError, LogState, LogStore, StoredEntry
from attestation.tlog.tiled import FullTiles, StoredTree

PAGE: Final = 256
"""The most entries that one read returns."""


class ServedLog:
    """The log named `origin`, signed by `log_key`, as `store` has it. Safe to call from any thread."""

    def __init__(self, *, origin: str, log_key: NoteVerifier, store: LogStore) -> None:
        self._origin = origin
        self._log_key = log_key
        self._store = store
        self._full_tiles = FullTiles()

    def tree(self) -> StoredTree:
        """The stored hashes, for one question."""
        return StoredTree(self._store, self._full_tiles)

    def checkpoint(self) -> bytes:
        """The newest published checkpoint note. Raises `LogError`, NOT_FOUND, before the first."""
        return self._published(self._store.state())

    def proof(self, index: int) -> bytes:
        """The tlog-proof of entry `index` under the newest published checkpoint, checked before it is handed out.

        Raises:
            LogError: NOT_FOUND if that checkpoint does not cover it or the log is deleted; LOG_FORK if the store is
                damaged.
        """
        state = self._store.state()
        note = self._published(state)
        if state.deleted_at is not None:
            raise LogError(Reason.NOT_FOUND, "log is deleted, want a proof that was fetched before")
        head = self._open(note)
        if not 0 <= index < head.size:
            raise LogError(Reason.NOT_FOUND, f"entry index is {index}, want below the checkpoint's size {head.size}")
        path = merkle.inclusion_proof(index, head.size, self.tree())
        leaf = merkle.leaf_hash(self._entry(index).data)
        try:
            merkle.verify_inclusion(index, head.size, leaf, path, head.root)
        except NotGenuine as error:
            raise LogError(Reason.LOG_FORK, f"log store is damaged around entry {index}: {error.message}") from error
        return InclusionProof(index=index, path=tuple(path), checkpoint=note).encode()

    def entries(self, start: int, limit: int = PAGE) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries from index `start`, in order; the newest may not be signed for yet."""
        return self._store.entries(max(start, 0), max(0, min(limit, PAGE)))

    def about(self, subject: str, limit: int = PAGE, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries about `subject` below index `before`, newest first."""
        return self._store.about(subject, max(0, min(limit, PAGE)), before=before)

    def newest(self, kinds: Collection[str], limit: int = PAGE, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries of these kinds below index `before`, newest first."""
        return self._store.newest(kinds, max(0, min(limit, PAGE)), before=before)

    @staticmethod
    def _published(state: LogState) -> bytes:
        if state.published is None:
            raise LogError(Reason.NOT_FOUND, "log has no published checkpoint yet")
        return state.published

    def _entry(self, index: int) -> StoredEntry:
        found = self._store.entries(index, 1)
        if not found or found[0].index != index:
            raise LogError(Reason.LOG_FORK, f"log store has no entry {index}, want it: it is damaged")
        return found[0]

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, origin=self._origin, log_key=self._log_key, policy=NO_WITNESSES)
        except AttestationError as error:
            raise LogError(Reason.LOG_FORK, f"published head is not this log's: {error.message}") from error
