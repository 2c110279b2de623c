# SPDX-License-Identifier: Apache-2.0
"""The evidence log's one writer: gives entries their index, and signs heads that continue the last signed one.

What it refuses, for good and until a person has looked (docs/spec.md, 10.5):

    LOG_ROLLBACK   the store is shorter than the last signed head, or that head is missing and `inception` is not set
    LOG_FORK       the store's tree does not continue the last signed head, or holds bytes that are not what was hashed

A log that signed two histories is worth nothing ever after, so no head is signed before it is proved to continue the
one in the head store, and none is shown before the head store has it. Entries are committed before a head covers them,
and readers are given proofs only under the published head: an entry without proof is not yet in the log.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.merkle import HashReader, Node
from attestation.tlog.note import NoteSigner, NoteVerifier
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.proof import InclusionProof
from attestation.tlog.schema import format_time
from attestation.tlog.store import HeadStore, LogError, LogStore, StoredEntry

PAGE: Final = 256
"""The most entries that one read returns."""


class EvidenceLog:
    """A log named `origin`, signed by `signer`, in `store`, with its last signed head in `heads`.

    Safe to call from any thread. One process writes; a second one is noticed and refused. All calls block on disk.
    `inception` allows the very first head to be signed and means nothing once there is one.

    Raises:
        LogError: at construction already, if the stores do not fit each other.
    """

    def __init__(
        self, *, origin: str, signer: NoteSigner, store: LogStore, heads: HeadStore, inception: bool = False
    ) -> None:
        if signer.name != origin:
            raise LogError(Reason.SETTINGS_INVALID, f"log key name is {signer.name}, want the origin {origin}")
        self._origin = origin
        self._signer = signer
        self._log_key = signer.verifier
        self._store = store
        self._heads = heads
        self._inception = inception
        self._writing = threading.Lock()
        # Taken by whoever appends or publishes, and so is `_signed_size`, the size below which nothing may ever fall.
        self._signed_size = 0
        for entry in store.entries(0, 1):
            self._want_own_genesis(parse_entry(entry.data))
        _, last = self._signed_head()
        if last is not None:
            self._want_continuation(last, last.size, merkle.tree_root(last.size, store))

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self._origin

    @property
    def log_key(self) -> NoteVerifier:
        """The key that signs its checkpoints."""
        return self._log_key

    def size(self) -> int:
        """The number of entries, of which the newest may not be under a checkpoint yet."""
        return self._store.size()

    # ---- writing -----------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> range:
        """The indices these entries now have: all of them durably, in one transaction, or an exception.

        After an exception the entries may be there all the same (the answer got lost, not the write); a caller that
        tries again may then log them twice, which is true twice.

        Raises:
            MalformedEvidence: ENTRY_INVALID, also for a genesis that is not first or a first that is no genesis.
            LogError: LOG_ROLLBACK, LOG_FORK or STORE_UNAVAILABLE.
        """
        parsed = [parse_entry(entry.encoded) for entry in entries]
        with self._writing:
            size = self._store.size()
            self._want_no_rollback(size)
            self._want_genesis_first(size, parsed)
            tree = _Growing(self._store)
            stored: list[StoredEntry] = []
            for index, entry in enumerate(parsed, start=size):
                tree.add(index, entry.leaf_hash)
                stored.append(_stored(index, entry))
            # One transaction holds entries, hashes and size. A crash before its commit leaves nothing, a crash after it
            # leaves entries no checkpoint covers: the next `publish` covers them, whoever calls it.
            self._store.append(expected_size=size, entries=stored, nodes=tree.new)
        return range(size, size + len(parsed))

    def publish(self, now: datetime) -> bytes:
        """The signed checkpoint note of everything appended so far, published.

        Raises:
            LogError: LOG_ROLLBACK, LOG_FORK or STORE_UNAVAILABLE; then nothing new was published.
        """
        with self._writing:
            # 1. Read the last signed head. Nothing is written yet, so a crash here changes nothing.
            last_note, last = self._signed_head()
            # 2. Hash what is new once more from its bytes, prove that the result continues that head, and sign. A crash
            # here loses a signature nobody has seen; the next call makes the same one or one of a longer log.
            head = self._next_head(self._store.size(), last)
            note = sign_checkpoint(head, self._signer)
            # 3. The head store first. A crash after it leaves a signed head that nobody was shown: the next call finds
            # it at step 1 and shows it or a longer one. The other order could show a head that the head store never
            # had, and a restored backup would then sign its rival.
            if note != last_note:
                self._heads.swap(last_note, note)
                self._signed_size = head.size
            # 4. Show it. A crash before this leaves readers with the previous checkpoint, repaired by the next call.
            if self._store.published() != note:
                self._store.publish(note, size=head.size, at=now)
            return note

    # ---- reading -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """The newest published checkpoint note. Raises `LogError`, NOT_FOUND, before the first."""
        note = self._store.published()
        if note is None:
            raise LogError(Reason.NOT_FOUND, "log has no published checkpoint yet")
        return note

    def proof(self, index: int) -> bytes:
        """The tlog-proof of entry `index` under the newest published checkpoint, checked before it is handed out.

        Raises:
            LogError: NOT_FOUND if that checkpoint does not cover it; LOG_FORK if the store is damaged.
        """
        note = self.checkpoint()
        head = self._open(note)
        if not 0 <= index < head.size:
            raise LogError(Reason.NOT_FOUND, f"entry index is {index}, want below the checkpoint's size {head.size}")
        path = merkle.inclusion_proof(index, head.size, self._store)
        leaf = self._leaf_of(index)
        try:
            merkle.verify_inclusion(index, head.size, leaf, path, head.root)
        except NotGenuine as error:
            raise LogError(Reason.LOG_FORK, f"log store is damaged around entry {index}: {error.message}") from error
        return InclusionProof(index=index, path=tuple(path), checkpoint=note).encode()

    def entries(self, start: int, limit: int = PAGE) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries from index `start`, in order; the newest may not be signed for yet."""
        return self._store.entries(max(start, 0), max(0, min(limit, PAGE)))

    def about(self, subject: str, limit: int = PAGE) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries about `subject` (see `Entry.subject`), newest first."""
        return self._store.about(subject, max(0, min(limit, PAGE)))

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def _signed_head(self) -> tuple[bytes | None, Checkpoint | None]:
        """The last signed note and its head, which is no longer than the store. Raises `LogError`."""
        note = self._heads.load()
        size = self._store.size()
        if note is None:
            if self._store.published() is not None:
                raise _rollback(
                    "head store is empty though the log has published, want the head store it was signed by"
                )
            if not self._inception:
                raise _rollback("head store is empty, want inception set if this log is new")
            return None, None
        last = self._open(note)
        if size < last.size:
            raise _rollback(f"log has {size} entries, want at least the {last.size} it has signed")
        self._signed_size = max(self._signed_size, last.size)
        return note, last

    def _next_head(self, size: int, last: Checkpoint | None) -> Checkpoint:
        if size == 0:
            raise LogError(Reason.ENTRY_INVALID, "log is empty, want a genesis entry before the first checkpoint")
        root = self._rehashed_root(last.size if last else 0, size)
        if last is not None:
            self._want_continuation(last, size, root)
        return Checkpoint(origin=self._origin, size=size, root=root)

    def _want_continuation(self, last: Checkpoint, size: int, root: bytes) -> None:
        proof = merkle.consistency_proof(last.size, size, self._store)
        try:
            merkle.verify_consistency(last.size, last.root, size, root, proof)
        except NotGenuine as error:
            raise _fork(f"log store does not continue the signed head: {error.message}") from error

    def _rehashed_root(self, start: int, size: int) -> bytes:
        """The root at `size`, with all from entry `start` on hashed anew and compared with the stored hashes.

        Storage that flipped one bit, in an entry or in a hash, must not become history.
        """
        tree = _Growing(self._store)
        for entry in self._entries_from(start, size):
            tree.add(entry.index, merkle.leaf_hash(entry.data))
        for node in tree.new:
            if self._store.read(node.level, node.index) != node.hash:
                raise _fork(f"stored hash at level {node.level}, index {node.index} is not that of the stored entries")
        return merkle.tree_root(size, tree)

    def _entries_from(self, start: int, end: int) -> Iterator[StoredEntry]:
        while start < end:
            page = self._store.entries(start, min(PAGE, end - start))
            if not page or [entry.index for entry in page] != list(range(start, start + len(page))):
                raise _fork(f"log store has no entry {start}, or one out of order")
            yield from page
            start += len(page)

    def _want_no_rollback(self, size: int) -> None:
        if size < self._signed_size:
            raise _rollback(f"log has {size} entries, want at least the {self._signed_size} it has signed")

    def _want_genesis_first(self, size: int, entries: Sequence[Entry]) -> None:
        for index, entry in enumerate(entries, start=size):
            if (entry.kind is Kind.GENESIS) != (index == 0):
                raise MalformedEvidence(Reason.ENTRY_INVALID, f"entry {index} is {entry.kind}, want genesis first only")
            if index == 0:
                self._want_own_genesis(entry)

    def _want_own_genesis(self, entry: Entry) -> None:
        if entry.body["origin"] != self._origin or entry.body["log_key"] != self._log_key.vkey:
            raise _fork(f"genesis is of {entry.subject}, want {self._origin} with the key that signs")

    def _leaf_of(self, index: int) -> bytes:
        (entry,) = self._entries_from(index, index + 1)
        return merkle.leaf_hash(entry.data)

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, origin=self._origin, log_key=self._log_key, policy=NO_WITNESSES)
        except AttestationError as error:
            raise _fork(f"stored head is not this log's: {error.message}") from error


class _Growing:
    """Stored hashes and, over them, those of a batch that is not stored yet."""

    def __init__(self, stored: HashReader) -> None:
        self._stored = stored
        self._nodes: dict[tuple[int, int], bytes] = {}
        self.new: list[Node] = []

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree, new or stored."""
        return self._nodes.get((level, index)) or self._stored.read(level, index)

    def add(self, index: int, leaf_hash: bytes) -> None:
        """Appends one leaf."""
        for node in merkle.new_hashes(index, leaf_hash, self):
            self._nodes[node.level, node.index] = node.hash
            self.new.append(node)


def _stored(index: int, entry: Entry) -> StoredEntry:
    return StoredEntry(
        index=index,
        leaf_hash=entry.leaf_hash,
        kind=str(entry.kind),
        subject=entry.subject,
        at=format_time(entry.at),
        data=entry.encoded,
    )


def _rollback(message: str) -> LogError:
    return LogError(Reason.LOG_ROLLBACK, message)


def _fork(message: str) -> LogError:
    return LogError(Reason.LOG_FORK, message)
