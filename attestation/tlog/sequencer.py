# SPDX-License-Identifier: Apache-2.0
"""A log's one writer: gives entries their index, and signs heads that continue the last signed one.

What it refuses, for good and until a person has looked (docs/spec.md, 10.5):

    LOG_ROLLBACK   the store is shorter than the last signed head, or that head is missing and `inception` is not set
    LOG_FORK       the store's tree does not continue the last signed head, or holds bytes that are not what was hashed

A log that signed two histories is worth nothing ever after, so no head is signed before it is proved to continue the
one in the head store, and none is shown before the head store has it. Entries are committed before a head covers them,
and readers are given proofs only under the published head: an entry without proof is not yet in the log.

The process may be killed after any of these steps (`store.Step`); the column says what the next one finds:

    append    entries written    nothing: the transaction was never committed
              tiles written      nothing
              pending taken      nothing, and what was handed in is pending still
              size moved         nothing
              committed          entries with their hashes under no checkpoint; the caller may not have heard of them.
                                 The next publication covers them
    publish   hashed again       the same
              signed             a signature nobody has; the next publication signs the same head or a longer one
              head written       the old head, and a stray file beside it that the next swap overwrites
              head kept          a signed head that nobody was shown; the next publication shows it or a longer one
              cosigned           witnesses know a head that readers do not; the next publication asks them for the same
                                 head or a longer one, never for another
              shown              everything

Appends that wait for one another are committed together, up to 256 entries in a transaction.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.errors import AttestationError, Reason, SealbidError
from attestation.tlog import merkle, tiled
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from attestation.tlog.groups import GROUP, Groups, Waiting, fail
from attestation.tlog.note import NoteSigner, NoteVerifier
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.served import PAGE, ServedLog
from attestation.tlog.store import HeadStore, LogError, LogStore, NewEntry, Step, StepHook, StoredEntry, no_step
from attestation.tlog.tiled import StoredTree


class LeafFormat(Protocol):
    """What a log takes. Both raise `MalformedEvidence` or `LogError`."""

    def read(self, data: bytes) -> NewEntry:
        """The entry of bytes that another process handed in, with the columns to find it by."""
        ...

    def place(self, index: int, entry: NewEntry) -> None:
        """Refuses an entry that may not stand at `index`."""
        ...


class Cosigner(Protocol):
    """Asks witnesses."""

    def cosign(self, note: bytes, head: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> bytes:
        """`note` with the witnesses' lines added; `prove(size)` is the consistency proof from `size` to the head.

        Called for every publication, also of a head they have cosigned before. Idempotent.
        Raises `LogError`, STORE_UNAVAILABLE, when too few of them answer for the head to be shown.
        """
        ...


class NoCosigner:
    """Asks nobody: witness policy `none`."""

    def cosign(self, note: bytes, head: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> bytes:
        """The note as it is."""
        return note


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of entries that other processes handed in."""

    logged: int
    refused: int


class Sequencer:
    """The log named `origin`, signed by `signer`, in `store`, with its last signed head in `heads`.

    Safe to call from any thread; all calls block on disk. It takes the store's lock when it first writes, and another
    process that wants it is refused until this one ends. `inception` allows the very first head to be signed and means
    nothing once there is one. With `gather_seconds`, an append waits so long for others to share its transaction with.

    Raises:
        LogError: at construction already, if the stores do not fit each other.
    """

    def __init__(
        self,
        *,
        origin: str,
        signer: NoteSigner,
        store: LogStore,
        heads: HeadStore,
        format: LeafFormat,
        inception: bool = False,
        cosigner: Cosigner | None = None,
        gather_seconds: float = 0.0,
        step: StepHook = no_step,
    ) -> None:
        if signer.name != origin:
            raise LogError(Reason.SETTINGS_INVALID, f"log key name is {signer.name}, want the origin {origin}")
        self._origin = origin
        self._signer = signer
        self._store = store
        self._heads = heads
        self._format = format
        self._inception = inception
        self._cosigner = cosigner or NoCosigner()
        self._step = step
        self.served = ServedLog(origin=origin, log_key=signer.verifier, store=store)
        # Publications one after another, so that witnesses see heads in order; taken before `_writing`, never after.
        self._publishing = threading.Lock()
        self._writing = threading.Lock()
        self._groups = Groups(gather_seconds)
        # Taken by whoever appends or publishes, and so is `_signed_size`, the size below which nothing may ever fall.
        self._signed_size = 0
        state = store.state()
        if state.deleted_at is not None:
            raise LogError(Reason.LOG_FROZEN, f"log ended at size {state.size} and is deleted, want one that is not")
        for entry in store.entries(0, 1):
            format.place(0, format.read(entry.data))
        _, last = self._signed_head(state.size)
        if last is not None:
            tree = self.served.tree()
            self._want_continuation(last, last.size, merkle.tree_root(last.size, tree), tree)

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self._origin

    @property
    def log_key(self) -> NoteVerifier:
        """The key that signs its checkpoints."""
        return self._signer.verifier

    def size(self) -> int:
        """The number of entries, of which the newest may not be under a checkpoint yet."""
        return self._store.state().size

    # ---- entries -----------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[NewEntry]) -> range:
        """The indices these entries now have: all of them durably, in one transaction, or an exception.

        After an exception the entries may be there all the same (the answer got lost, not the write); a caller that
        tries again may then log them twice, which is true twice. Does not read what the entries say.

        Raises:
            MalformedEvidence: the log's format refuses one of them at its place.
            LogError: LOG_ROLLBACK, LOG_FORK, LOG_FROZEN or STORE_UNAVAILABLE.
        """
        waiting = self._groups.join(entries)
        # Whoever gets the lock commits for all who wait by then; the others find their answer when they get it.
        with self._writing:
            while not waiting.indices.done():
                self._commit_group()
        return waiting.indices.result()

    def drain(self) -> Drained:
        """Logs what other processes have handed in (`LogStore.submit`), oldest first, each exactly once.

        What the format refuses is dropped: whoever hands in checks first, and one bad entry must not stop the rest.
        """
        logged = refused = 0
        with self._writing:
            while found := self._store.pending(GROUP):
                self._store.acquire()
                size = self._sound_size()
                good: list[NewEntry] = []
                taken: list[int] = []
                bad: list[int] = []
                for pending in found:
                    try:
                        entry = self._format.read(pending.entry.data)
                        self._format.place(size + len(good), entry)
                    except AttestationError:
                        bad.append(pending.number)
                    else:
                        good.append(entry if entry.subject else pending.entry)
                        taken.append(pending.number)
                self._append(size, good, taken)
                self._store.drop(bad)
                logged, refused = logged + len(good), refused + len(bad)
        return Drained(logged=logged, refused=refused)

    def _commit_group(self) -> None:
        group = self._groups.take()
        try:
            self._store.acquire()
            size = self._sound_size()
            entries: list[NewEntry] = []
            fit: list[tuple[Waiting, range]] = []
            for waiting in group:
                start = size + len(entries)
                try:
                    for index, entry in enumerate(waiting.entries, start=start):
                        self._format.place(index, entry)
                except SealbidError as error:
                    waiting.indices.set_exception(error)
                    continue
                entries += waiting.entries
                fit.append((waiting, range(start, start + len(waiting.entries))))
            self._append(size, entries)
            for waiting, indices in fit:
                waiting.indices.set_result(indices)
        except SealbidError as error:
            fail(group, error)
        finally:
            # Nobody may wait for ever, whatever went wrong with the group.
            fail(group, LogError(Reason.STORE_UNAVAILABLE, "log append failed, its outcome is not known"))

    def _append(self, size: int, entries: Sequence[NewEntry], pending: Sequence[int] = ()) -> None:
        leaves = [merkle.leaf_hash(entry.data) for entry in entries]
        tiles = tiled.extend(size, leaves, self._store)
        # One transaction holds entries, hashes and size. A crash before its commit leaves nothing, a crash after it
        # leaves entries no checkpoint covers: the next `publish` covers them, whoever calls it.
        self._store.append(expected_size=size, entries=entries, tiles=tiles, pending=pending)

    # ---- heads -------------------------------------------------------------------------------------------------------

    def publish(self, now: datetime) -> bytes:
        """The checkpoint note of everything appended so far, signed, cosigned and published.

        Raises:
            LogError: LOG_ROLLBACK, LOG_FORK or STORE_UNAVAILABLE; then nothing new was published.
        """
        with self._publishing:
            return self._publish(now)[0]

    def freeze(self, now: datetime, keep_until: datetime) -> bytes:
        """Ends the log: its final checkpoint note. From `keep_until` on it may be deleted (`LogStore.delete`).

        A frozen log stays readable. Freezing again can only move `keep_until` to later. Raises as `publish`, and
        LOG_ROLLBACK while entries are pending.
        """
        with self._publishing:
            while True:
                note, head = self._publish(now)
                with self._writing:
                    # Whatever was appended while the witnesses were asked belongs under the final checkpoint too.
                    if self.size() == head.size:
                        self._store.acquire()
                        self._store.freeze(size=head.size, at=now, keep_until=keep_until)
                        return note

    def _publish(self, now: datetime) -> tuple[bytes, Checkpoint]:
        tree = self.served.tree()
        with self._writing:
            note, head = self._keep_head(tree)
        # 4. Ask the witnesses, who would refuse a head that does not continue the one they know. Appends go on
        # meanwhile: a slow witness delays what is shown and not what is logged.
        cosigned = self._cosigner.cosign(note, head, lambda size: merkle.consistency_proof(size, head.size, tree))
        self._step(Step.COSIGNED)
        # 5. Show it. A crash before this leaves readers with the previous checkpoint, repaired by the next call.
        with self._writing:
            state = self._store.state()
            if state.published != cosigned and state.frozen_at is None:
                self._store.acquire()
                self._store.publish(cosigned, size=head.size, at=now)
        self._step(Step.SHOWN)
        return cosigned, head

    def _keep_head(self, tree: StoredTree) -> tuple[bytes, Checkpoint]:
        """The head of all there is, signed and in the head store."""
        # 1. Read the last signed head. Nothing is written yet, so a crash here changes nothing.
        size = self._store.state().size
        last_note, last = self._signed_head(size)
        # 2. Hash what is new once more from its bytes, prove that the result continues that head, and sign. A crash
        # here loses a signature nobody has seen; the next call makes the same one or one of a longer log.
        head = self._next_head(size, last, tree)
        self._step(Step.HASHED_AGAIN)
        note = last_note if last_note is not None and head == last else sign_checkpoint(head, self._signer)
        self._step(Step.SIGNED)
        # 3. The head store first. A crash after it leaves a signed head that nobody was shown: the next call finds
        # it at step 1 and shows it or a longer one. The other order could show a head that the head store never
        # had, and a restored backup would then sign its rival.
        if note != last_note:
            self._heads.swap(last_note, note)
            self._signed_size = head.size
        self._step(Step.HEAD_KEPT)
        return note, head

    def _signed_head(self, size: int) -> tuple[bytes | None, Checkpoint | None]:
        """The last signed note and its head, which is no longer than the store. Raises `LogError`."""
        note = self._heads.load()
        if note is None:
            if self._store.state().published is not None:
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

    def _next_head(self, size: int, last: Checkpoint | None, tree: StoredTree) -> Checkpoint:
        if size == 0:
            raise LogError(Reason.ENTRY_INVALID, "log is empty, want an entry before the first checkpoint")
        self._want_hashes_of_entries(last.size if last else 0, size)
        root = merkle.tree_root(size, tree)
        if last is not None:
            self._want_continuation(last, size, root, tree)
        return Checkpoint(origin=self._origin, size=size, root=root)

    def _want_continuation(self, last: Checkpoint, size: int, root: bytes, tree: StoredTree) -> None:
        proof = merkle.consistency_proof(last.size, size, tree)
        try:
            merkle.verify_consistency(last.size, last.root, size, root, proof)
        except AttestationError as error:
            raise _fork(f"log store does not continue the signed head: {error.message}") from error

    def _want_hashes_of_entries(self, start: int, size: int) -> None:
        """Hashes all from entry `start` on anew, page by page, and compares every tile that follows from them.

        Storage that flipped one bit, in an entry or in a hash, must not become history.
        """
        for page in self._pages(start, size):
            leaves = [merkle.leaf_hash(entry.data) for entry in page]
            for tile in tiled.extend(page[0].index, leaves, self._store):
                if self._store.tile(tile.level, tile.index)[: len(tile.data)] != tile.data:
                    raise _fork(f"stored tile {tile.index} at level {tile.level} is not that of the stored entries")

    def _pages(self, start: int, end: int) -> Iterator[Sequence[StoredEntry]]:
        while start < end:
            page = self._store.entries(start, min(PAGE, end - start))
            if not page or [entry.index for entry in page] != list(range(start, start + len(page))):
                raise _fork(f"log store has no entry {start}, or one out of order")
            yield page
            start += len(page)

    def _sound_size(self) -> int:
        state = self._store.state()
        if state.frozen_at is not None:
            raise LogError(Reason.LOG_FROZEN, f"log is frozen at size {state.size}, want one that takes entries")
        if state.size < self._signed_size:
            raise _rollback(f"log has {state.size} entries, want at least the {self._signed_size} it has signed")
        return state.size

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, origin=self._origin, log_key=self.log_key, policy=NO_WITNESSES)
        except AttestationError as error:
            raise _fork(f"stored head is not this log's: {error.message}") from error


def _rollback(message: str) -> LogError:
    return LogError(Reason.LOG_ROLLBACK, message)


def _fork(message: str) -> LogError:
    return LogError(Reason.LOG_FORK, message)
