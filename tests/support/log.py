# SPDX-License-Identifier: Apache-2.0
"""Logs for tests: memory stores that fail on demand, factories of entries, and a check of a whole log from outside."""

import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import Reason
from attestation.tlog import entry as entries
from attestation.tlog import merkle, tiled
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.entry import Blob, Entry, Kind, PolicyRef, VerifierRef
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.note import NoteSigner, NoteVerifier
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.proof import verify_tlog_proof
from attestation.tlog.served import PAGE
from attestation.tlog.store import (
    HeadStore,
    LogError,
    LogState,
    LogStore,
    NewEntry,
    PendingEntry,
    StoredEntry,
    StoredTile,
)

ORIGIN = "log.example/evidence"
NOW = datetime(2026, 11, 21, 22, 10, 5, tzinfo=UTC)

When = Literal["before", "after"]


def log_signer(origin: str = ORIGIN, seed: int = 1) -> NoteSigner:
    """The same key for the same seed, so that two processes of one test can be the same log."""
    return NoteSigner(name=origin, key=Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


@dataclass(slots=True)
class _Faults:
    """Makes the next call of an operation fail before or after it took effect."""

    armed: dict[str, When] = field(default_factory=dict)

    def fire(self, operation: str, when: When) -> None:
        if self.armed.get(operation) == when:
            del self.armed[operation]
            raise LogError(Reason.STORE_UNAVAILABLE, f"{operation} failed {when} applying, as the test asked")


class MemoryLogStore:
    """`LogStore` in memory, one log. `fail["append"] = "after"` makes the next append apply and then raise."""

    def __init__(self) -> None:
        self._faults = _Faults()
        self.fail = self._faults.armed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, PendingEntry] = {}
        self._ended = LogState(size=0)
        self.stored: list[StoredEntry] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.note: bytes | None = None

    def acquire(self) -> None:
        """One object is one process here: there is nobody to keep out."""

    def state(self) -> LogState:
        size = self._ended.size if self._ended.deleted_at else len(self.stored)
        return replace(self._ended, size=size, published=self.note)

    def append(
        self,
        *,
        expected_size: int,
        entries: Sequence[NewEntry],
        tiles: Sequence[StoredTile],
        pending: Sequence[int] = (),
    ) -> None:
        self._faults.fire("append", "before")
        if not entries:
            return
        with self._lock:
            self._want_live()
            if len(self.stored) != expected_size:
                raise LogError(Reason.LOG_FORK, f"log has {len(self.stored)} entries, want {expected_size}")
            self._take(pending)
            self.tiles.update({(tile.level, tile.index): tile.data for tile in tiles})
            self.stored += [
                StoredEntry(index=index, data=entry.data, kind=entry.kind, subject=entry.subject, at=entry.at)
                for index, entry in enumerate(entries, start=expected_size)
            ]
        self._faults.fire("append", "after")

    def tile(self, level: int, index: int) -> bytes:
        return self.tiles.get((level, index), b"")

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        return self.stored[start : start + limit]

    def about(self, subject: str, limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        return [entry for entry in reversed(self.stored[:before]) if subject and entry.subject == subject][:limit]

    def newest(self, kinds: Collection[str], limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        return [entry for entry in reversed(self.stored[:before]) if entry.kind and entry.kind in kinds][:limit]

    def publish(self, note: bytes, *, size: int, at: datetime) -> None:
        self._faults.fire("publish", "before")
        self._want_live()
        if len(self.stored) < size:
            raise LogError(Reason.LOG_ROLLBACK, f"log is shorter than the checkpoint of size {size} to publish")
        self.note = note
        self._faults.fire("publish", "after")

    def submit(self, ticket: bytes, entry: NewEntry) -> None:
        with self._lock:
            self._want_live()
            self._waiting.setdefault(ticket, PendingEntry(number=next(self._numbers), entry=entry))

    def pending(self, limit: int) -> Sequence[PendingEntry]:
        return list(self._waiting.values())[:limit]

    def drop(self, numbers: Sequence[int]) -> None:
        with self._lock:
            self._take(numbers)

    def freeze(self, *, size: int, at: datetime, keep_until: datetime) -> None:
        with self._lock:
            if len(self.stored) != size or self._waiting or self.note is None:
                raise LogError(Reason.LOG_ROLLBACK, f"log has {len(self.stored)} entries, want {size}, none pending")
            ended = self._ended
            later = max(keep_until, ended.keep_until or keep_until)
            self._ended = replace(ended, size=size, frozen_at=ended.frozen_at or at, keep_until=later)

    def delete(self, now: datetime) -> None:
        with self._lock:
            if self._ended.deleted_at is not None:
                return
            if self._ended.keep_until is None or now < self._ended.keep_until:
                raise LogError(Reason.LOG_FROZEN, "log is to be kept")
            self._ended = replace(self._ended, deleted_at=now)
            self.stored, self.tiles = [], {}

    def _want_live(self) -> None:
        if self._ended.frozen_at is not None:
            raise LogError(Reason.LOG_FROZEN, "log is frozen")

    def _take(self, numbers: Sequence[int]) -> None:
        waiting = {ticket: each for ticket, each in self._waiting.items() if each.number not in numbers}
        if len(waiting) + len(numbers) != len(self._waiting):
            raise LogError(Reason.LOG_FORK, "pending entry is gone")
        self._waiting = waiting


class MemoryHeadStore:
    """`HeadStore` in memory. `fail["swap"] = "before"` makes the next swap raise without applying."""

    def __init__(self) -> None:
        self._faults = _Faults()
        self.fail = self._faults.armed
        self._lock = threading.Lock()
        self.note: bytes | None = None

    def load(self) -> bytes | None:
        return self.note

    def swap(self, expected: bytes | None, new: bytes) -> None:
        self._faults.fire("swap", "before")
        with self._lock:
            if self.note != expected:
                raise LogError(Reason.LOG_FORK, "head store holds another head than expected")
            self.note = new
        self._faults.fire("swap", "after")


# ---- factories -------------------------------------------------------------------------------------------------------


def open_log(
    store: LogStore, heads: HeadStore, *, signer: NoteSigner | None = None, inception: bool = False
) -> EvidenceLog:
    """An `EvidenceLog` over these stores, as a restarted process would open it."""
    key = signer or log_signer()
    return EvidenceLog(origin=key.name, signer=key, store=store, heads=heads, inception=inception)


def new_log(
    store: LogStore | None = None, heads: HeadStore | None = None, *, signer: NoteSigner | None = None
) -> EvidenceLog:
    """A log at its inception, whose genesis entry is appended and published."""
    key = signer or log_signer()
    log = open_log(store or MemoryLogStore(), heads or MemoryHeadStore(), signer=key, inception=True)
    log.append([genesis(signer=key)])
    log.publish(NOW)
    return log


def genesis(*, signer: NoteSigner | None = None, at: datetime = NOW) -> Entry:
    """The first entry of the log that `signer` signs."""
    key = signer or log_signer()
    return entries.genesis(origin=key.name, log_key=key.verifier.vkey, lease_key=b"\x4c" * 32, at=at)


def change(number: int, *, at: datetime = NOW) -> Entry:
    """A small entry, different for each number."""
    return entries.admin_change(by="ops-1", action="settings.change", target=f"row-{number}", at=at)


def verdict(*, worker_id: bytes = b"\x57" * 32, passed: bool = True, simulated: bool = True) -> Entry:
    """A verdict on simulated (or, if asked, real) evidence."""
    return entries.attest_verdict(
        provider="north",
        provider_id=b"\x50" * 32,
        audience=ORIGIN,
        evidence=[Blob(type="simulated", sha256=b"\x45" * 32, size=120)],
        collateral=[],
        policy=PolicyRef(
            id="demo", version=1, sha256=b"\x70" * 32, profile="development" if simulated else "production"
        ),
        verifier=VerifierRef(version="0.1.0", sha256=b"\x76" * 32),
        passed=passed,
        simulated=simulated,
        at=NOW,
        reasons=() if passed else ("MEASUREMENT_REFUSED",),
        worker_id=worker_id,
        keyset_id=b"\x4b" * 32,
        binding_digest=b"\x42" * 32,
        challenge=b"\x43" * 90,
        claims={"tee": "simulated", "cpu.measurement": "ab" * 24},
        engines=[b"\x65" * 32],
        keys=[("hpke", b"\x68" * 32), ("receipt", b"\x72" * 32)],
        tls_spki_sha256=b"\x74" * 32,
        valid_until=NOW + timedelta(hours=1) if passed else None,
    )


def plain(index: int, subject: str = "s") -> NewEntry:
    """An entry of a store that does not look inside."""
    return NewEntry(data=f"entry {index}".encode(), kind="k", subject=subject, at="2026-11-21T22:10:05Z")


def append_plain(store: LogStore, start: int, count: int, subject: str = "s") -> list[StoredEntry]:
    """Appends entries with the tiles they change."""
    entries = [plain(index, subject) for index in range(start, start + count)]
    leaves = [merkle.leaf_hash(entry.data) for entry in entries]
    tiles = tiled.extend(start, leaves, store) if start == store.state().size else []
    store.append(expected_size=start, entries=entries, tiles=tiles)
    return [
        StoredEntry(index=index, data=entry.data, kind="k", subject=subject, at=entry.at)
        for index, entry in enumerate(entries, start=start)
    ]


# ---- questions asked of a log ----------------------------------------------------------------------------------------


def refusal(call: Callable[[], object]) -> Reason:
    """The reason the log refuses a call with; fails the test if it does not."""
    with pytest.raises(LogError) as caught:
        call()
    return caught.value.reason


def head_of(note: bytes | None) -> Checkpoint:
    """The checkpoint of a note of the test log, its signature checked."""
    return open_checkpoint(note or b"", origin=ORIGIN, log_key=log_signer().verifier, policy=NO_WITNESSES)


def grow(log: EvidenceLog, size: int) -> bytes:
    """Appends entries up to `size`, in batches of different lengths, and publishes."""
    batch = 1
    while log.size() < size:
        count = min(batch, size - log.size())
        log.append([change(log.size() + extra) for extra in range(count)])
        batch = batch % 7 + 1
    return log.publish(NOW)


# ---- the whole log, from outside -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeLogCheck:
    """Re-verifies all of a log from nothing but its entries' bytes, a checkpoint note, its name and its key.

    It shares no state with the log under test: every hash is made anew. Raises `AttestationError` or AssertionError.
    """

    origin: str = ORIGIN
    log_key: NoteVerifier = field(default_factory=lambda: log_signer().verifier)

    def data(self, entry_bytes: Sequence[bytes], note: bytes) -> Checkpoint:
        """Checks entries and note against one another."""
        head = open_checkpoint(note, origin=self.origin, log_key=self.log_key, policy=NO_WITNESSES)
        assert len(entry_bytes) == head.size, "the checkpoint covers every entry and no more"
        kinds = [entries.parse_entry(data).kind for data in entry_bytes]
        assert [kind is Kind.GENESIS for kind in kinds] == [index == 0 for index in range(len(kinds))]
        leaves = [merkle.leaf_hash(data) for data in entry_bytes]
        assert merkle.root_of(leaves) == head.root, "the entries hash to the signed root"
        return head

    def log(self, log: EvidenceLog, *, proofs: bool = True) -> Checkpoint:
        """Checks a published log through what it serves, with one proof for every entry."""
        head = self.data(served_entries(log), log.checkpoint())
        for index, data in enumerate(served_entries(log) if proofs else ()):
            found = verify_tlog_proof(
                log.proof(index), data, origin=self.origin, log_key=self.log_key, policy=NO_WITNESSES
            )
            assert found == (head, index)
        return head

    def continues(self, old: Checkpoint, entry_bytes: Sequence[bytes]) -> None:
        """Checks that an older head is of a prefix of these entries."""
        assert merkle.root_of([merkle.leaf_hash(data) for data in entry_bytes[: old.size]]) == old.root


def served_entries(log: EvidenceLog) -> list[bytes]:
    """Every entry, read page by page as a monitor would."""
    found: list[bytes] = []
    while page := log.entries(len(found), PAGE):
        found += [entry.data for entry in page]
    return found
