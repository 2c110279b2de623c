# SPDX-License-Identifier: Apache-2.0
"""Outcomes, halves and stores for the journal's tests: a worker that signs, a ledger that counts, a failing store."""

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import Session

from attestation.attested import AttestedWorker
from attestation.binding import Keyset, Profile, SuiteID
from attestation.receipt_file import LoggedEntry
from attestation.sealing.batch import WORKER_HALF, sign_batch
from attestation.sealing.dispatch import Dispatch, digest_of
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Method
from attestation.tlog.merkle import leaf_hash
from gateway.receipts.arrival import HalfArrival
from gateway.receipts.database import open_reader, open_writer
from gateway.receipts.desk import Desk
from gateway.receipts.inbox import Inbox, Outbox
from gateway.receipts.issue import Charge
from gateway.receipts.journal import Journal
from gateway.receipts.memo import MemoKey
from gateway.receipts.reader import JournalReader
from gateway.receipts.recovery import Left, Waits
from gateway.receipts.store import SQLJournalStore
from gateway.receipts.work import Closed, Committed, JournalStore, StoreUnavailable, Work
from gateway.receipts.writer import GaveUp, Writer, serve
from gateway.request import Attempt, Ending, Outcome
from tests.support.attested import attested_for_tests

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GATEWAY_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MEMO_KEY = MemoKey(hashlib.sha256(b"memo key").digest())
LOGGED_GATEWAY = LoggedEntry(entry=b"key.add entry", proof=b"key.add proof")
_IDS = itertools.count(1)


def digest(text: str) -> bytes:
    """32 bytes named by a text."""
    return hashlib.sha256(text.encode()).digest()


class SigningWorker:
    """A worker as the journal sees one: an attested identity, halves, and signatures over batches of them."""

    def __init__(self, name: str = "worker") -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(digest(name))
        self.receipt_key = self.key.public_key().public_bytes_raw()
        keyset = Keyset(
            suites=((SuiteID.X25519, digest(f"{name} x25519")),),
            receipt_key=self.receipt_key,
            tls_spki_sha256=digest(f"{name} spki"),
            generation=1,
        )
        self.attested: AttestedWorker = attested_for_tests(
            keyset, verdict_entry=b"verdict entry", verdict_proof=b"verdict proof"
        )
        self._seq = 0

    def attempt(self, number: int = 1, *, price_nanos: int = 1000) -> Attempt:
        """One attempt on this worker."""
        unique = next(_IDS)
        award = f"award {unique}".encode()
        dispatch = Dispatch(
            header_sha256=digest(f"header {unique}"),
            session_id=digest("session"),
            counter=unique,
            attempt=number,
            award_sha256=hashlib.sha256(award).digest(),
            offer_id=digest("offer"),
            price_nanos=price_nanos,
            gateway_id=digest("gateway"),
            key_id=digest("key"),
            deadline_ms=1000,
        ).encode()
        return Attempt(
            number=number,
            worker_id=self.attested.worker_id,
            keyset_id=self.attested.keyset_id,
            binding_digest=self.attested.binding_digest,
            offer_id=digest("offer"),
            price_nanos=price_nanos,
            award=award,
            award_sha256=hashlib.sha256(award).digest(),
            dispatch=dispatch,
            dispatch_sha256=digest_of(dispatch),
            transcript=b"transcript",
        )

    def half(self, attempt: Attempt, *, status: WorkerStatus = WorkerStatus.OK, units: int = 1000) -> bytes:
        """The half this worker makes of an attempt."""
        self._seq += 1
        return WorkerHalf(
            worker_id=self.attested.worker_id,
            keyset_id=self.attested.keyset_id,
            binding_digest=self.attested.binding_digest,
            dispatch_sha256=attempt.dispatch_sha256,
            header_sha256=digest("header"),
            req_ct=digest("req ct"),
            resp_ct=digest("resp ct"),
            req_commit=digest("req commit"),
            resp_commit=digest("resp commit"),
            engine_sha256=digest("engine"),
            units=units,
            status=status,
            started=int(NOW.timestamp()),
            ended=int(NOW.timestamp()) + 1,
            seq=self._seq,
        ).encode()

    def arrival(self, halves: Sequence[bytes], memos: Sequence[bytes] = ()) -> HalfArrival:
        """A signed batch of these halves, with their memos where a new hello preceded it."""
        given = [*memos, *[b""] * (len(halves) - len(memos))]
        return HalfArrival(
            worker_id=self.attested.worker_id,
            receipt_key=self.receipt_key,
            cose=sign_batch(self.key, WORKER_HALF, halves).cose,
            leaves=tuple(map(leaf_hash, halves)),
            halves=[(place, half, memo) for place, (half, memo) in enumerate(zip(halves, given, strict=True))],
        )


def outcome(
    attempts: Sequence[Attempt],
    half: bytes | None,
    *,
    charge_nanos: int = 1000,
    ending: Ending = Ending.ANSWERED,
    tenant: str = "tenant-a",
    request_id: bytes | None = None,
) -> Outcome:
    """An ended request; by default answered and charged."""
    return Outcome(
        request_id=next(_IDS).to_bytes(16, "big") if request_id is None else request_id,
        tenant=tenant,
        model="magika",
        method=Method.INFER,
        attempts=tuple(attempts),
        half=half,
        ending=ending,
        charge_nanos=charge_nanos,
        wu_cap=5000,
        max_total_nanos=1_000_000,
        started=NOW,
        ended=NOW + timedelta(seconds=1),
        profile=Profile.DEVELOPMENT,
    )


def failed_first(first: Attempt) -> Attempt:
    """The attempt, given up."""
    return replace(first, reason="WORKER_FAILED")


class CountingLedger:
    """A ledger that books into a table of its own, so that only what was committed counts."""

    TABLE = "CREATE TABLE IF NOT EXISTS booked (request_id BLOB PRIMARY KEY, tenant TEXT, nanos INTEGER)"
    RELEASED = "CREATE TABLE IF NOT EXISTS released (request_id BLOB PRIMARY KEY, nanos INTEGER)"

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def __call__(self, session: Session, charges: Sequence[Charge]) -> None:
        """Books each charge; a second one of the same request violates the key."""
        if self.refusal is not None:
            raise self.refusal
        connection = session.connection()
        connection.exec_driver_sql(self.TABLE)
        for charge in charges:
            row = (charge.request_id, charge.tenant, charge.charge_nanos)
            connection.exec_driver_sql("INSERT INTO booked VALUES (?, ?, ?)", row)

    def release(self, session: Session, charges: Sequence[Charge]) -> None:
        """Books each release likewise."""
        connection = session.connection()
        connection.exec_driver_sql(self.RELEASED)
        for charge in charges:
            connection.exec_driver_sql("INSERT INTO released VALUES (?, ?)", (charge.request_id, charge.charge_nanos))


class FailingStore:
    """A store that can fail before or after applying, or die there for good."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self.fail_before = 0
        self.fail_after = 0
        self.dead_before = False
        self.dead_after = False
        self.commits = 0

    def commit(self, work: Work) -> Committed:
        """Passes on, or fails as told."""
        return self._guard(lambda: self._store.commit(work))

    def left(self) -> Sequence[Left]:
        """Passes on."""
        if self.dead_before:
            raise StoreUnavailable("dead")
        return self._store.left()

    def recover(self, request_id: bytes, now: datetime) -> Committed:
        """Passes on, or fails as told."""
        return self._guard(lambda: self._store.recover(request_id, now))

    def close_unsigned(self, *, before: int, now: int) -> Closed:
        """Passes on."""
        return self._store.close_unsigned(before=before, now=now)

    def _guard(self, write: Callable[[], Committed]) -> Committed:
        self.commits += 1
        if self.dead_before or self.fail_before > 0:
            self.fail_before -= 1
            raise StoreUnavailable("before applying")
        done = write()
        if self.dead_after or self.fail_after > 0:
            self.fail_after -= 1
            raise StoreUnavailable("after applying")
        return done


@dataclass
class Counts:
    """Metrics as a table."""

    events: dict[str, int] = field(default_factory=dict)

    def journal(self, event: str, count: int) -> None:
        """Adds up."""
        self.events[event] = self.events.get(event, 0) + count


class WriterThread:
    """A journal's writer on a thread, over the same pipes as its process: its store can be made to fail."""

    def __init__(self, make: Callable[[Inbox, Outbox], Writer]) -> None:
        read, self.inbox = os.pipe()
        self.outbox, write = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(make, read, write), name="journal", daemon=True)
        self._thread.start()

    @staticmethod
    def _run(make: Callable[[Inbox, Outbox], Writer], read: int, write: int) -> None:
        inbox, outbox = Inbox(read), Outbox(write)
        try:
            serve(inbox, outbox.send, make(inbox, outbox), gather_seconds=(0, 0))
        except GaveUp:
            pass
        finally:
            os.close(write)
            os.close(read)

    def kill(self) -> None:
        """A thread cannot be killed; no test asks for it."""
        raise AssertionError("the writer thread did not end by itself")

    def wait(self, seconds: float) -> int | None:
        """0 once it ended."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else 0


PROMPT = Waits(halves=0)
"""Halves of an earlier process are taken to be complete when the first has come."""


class GatewayProcess:
    """One life of a gateway's journal over a database file; a new one over the same file is the restarted gateway."""

    def __init__(self, path: Path, *, capacity: int = 1000, waits: Waits = PROMPT) -> None:
        self.path = path
        self.now = NOW
        self.instance = digest(f"instance {next(_IDS)}")[:16]
        self.ledger = CountingLedger()
        self.metrics = Counts()
        self.kept: dict[bytes, set[bytes]] = {}
        engine = open_writer(path)
        sql = SQLJournalStore(
            engine=engine,
            signing_key=GATEWAY_KEY,
            memo_key=MEMO_KEY,
            instance=self.instance,
            settle=self.ledger,
        )
        sql.create()
        self.engine = engine
        self.store = FailingStore(sql)
        self._waits = waits
        self.journal = Journal(
            launch=lambda: WriterThread(self._writer), kept=self._kept, metrics=self.metrics, capacity=capacity
        )
        self.desk = Desk(journal=self.journal, memo_key=MEMO_KEY, instance=self.instance)
        self.reading = open_reader(path)
        self.reader = JournalReader(engine=self.reading, gateway_key=LOGGED_GATEWAY)

    def _writer(self, inbox: Inbox, outbox: Outbox) -> Writer:
        return Writer(
            store=self.store,
            memo_key=MEMO_KEY,
            clock=lambda: self.now,
            send=outbox.send,
            pause=inbox.pause,
            waits=self._waits,
        )

    def _kept(self, kept: Mapping[bytes, Sequence[bytes]]) -> None:
        for worker_id, digests in kept.items():
            self.kept.setdefault(worker_id, set()).update(digests)

    async def __aenter__(self) -> "GatewayProcess":
        await self.journal.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.journal.close()
        self.engine.dispose()
        self.reading.dispose()

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits, commit by commit, until `holds()` is true."""
        while True:
            commit = self.journal.next_commit()
            if holds():
                return
            await commit

    async def settled(self) -> None:
        """Returns once everything handed over so far is committed."""
        marker = SigningWorker(f"marker {next(_IDS)}").attested
        self.journal.admit(marker)
        await self.until(lambda: self._admitted(marker.keyset_id))

    def _admitted(self, keyset_id: bytes) -> bool:
        with self.reading.connect() as connection:
            found = "SELECT 1 FROM worker_keys WHERE keyset_id = ?"
            return connection.exec_driver_sql(found, (keyset_id,)).first() is not None

    def sequence(self) -> list[int]:
        """The sequence numbers of all receipts on disk."""
        with self.reading.connect() as connection:
            return [row[0] for row in connection.exec_driver_sql("SELECT seq FROM receipt ORDER BY seq")]

    def acknowledged(self, worker: SigningWorker) -> set[bytes]:
        """Halves the worker may forget."""
        return self.kept.get(worker.attested.worker_id, set())

    def booked(self) -> list[tuple[bytes, str, int]]:
        """What the ledger holds on disk."""
        with self.reading.connect() as connection:
            connection.exec_driver_sql(CountingLedger.TABLE)
            rows = connection.exec_driver_sql("SELECT request_id, tenant, nanos FROM booked ORDER BY request_id")
            return [(row[0], row[1], row[2]) for row in rows]

    def released(self) -> list[tuple[bytes, int]]:
        """What the ledger on disk was told to pay out after a signature came."""
        with self.reading.connect() as connection:
            connection.exec_driver_sql(CountingLedger.RELEASED)
            return [(row[0], row[1]) for row in connection.exec_driver_sql("SELECT * FROM released ORDER BY 1")]

    def recorded(self, outcomes: Iterable[Outcome]) -> bool:
        """True once all of them have a receipt on disk."""
        return all(self.reader.receipt(one.request_id) is not None for one in outcomes)
