# SPDX-License-Identifier: Apache-2.0
"""The journal's store: one group of work becomes durable, whole or not at all, in one transaction (docs/spec.md, 11.4).

    commit  = worker keys, worker halves, returned memos; then for every outcome not recorded before: sequence number,
              gateway half under a batch signature, receipt, attempts, charge
    recover = the same for the outcome made of one request's returned memos and halves

A receipt and its charge are in the same transaction and the request id is unique, so committing the same work again
changes nothing: whoever does not know whether a commit happened repeats it. Memos of the running process wait for
their outcome and are never recovered.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, func
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlmodel import Session, SQLModel, col, select

from attestation.attested import AttestedWorker
from attestation.errors import Reason, SealbidError
from attestation.identity import gateway_id_of
from attestation.sealing.batch import GATEWAY_HALF, MAX_LEAVES, sign_batch
from attestation.tlog.merkle import leaf_hash
from gateway.receipts.arrival import SignedHalves
from gateway.receipts.issue import Charge, Recovered, answering, gateway_half, recover
from gateway.receipts.memo import Memo, MemoKey
from gateway.receipts.rows import (
    add_totals,
    attempt_rows,
    delete_returned,
    insert_rows,
    keep_halves,
    keep_unsigned,
    keep_workers,
    present,
    providers_of,
    receipt_row,
)
from gateway.receipts.tables import (
    TABLES,
    AttemptRow,
    GatewayBatchRow,
    ReceiptRow,
    ReturnedMemoRow,
    SequenceRow,
    WorkerHalfRow,
)
from gateway.request import Outcome

FIRST_SEQ: Final = 1


class StoreUnavailable(SealbidError):
    """The database did not commit, or did not say so. The same work may be committed again."""

    def __init__(self, cause: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, f"journal did not commit: {cause}")


class Settle(Protocol):
    """Books charges in the session it is given: it neither commits nor rolls back, and each request comes once."""

    def __call__(self, session: Session, charges: Sequence[Charge]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A half that came back with a memo this gateway could open."""

    half_sha256: bytes
    memo: Memo
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One group. `orphans` are halves whose memo no key of ours opens: stored, confirmed, never charged."""

    workers: Sequence[AttestedWorker] = ()
    batches: Sequence[SignedHalves] = ()
    returned: Sequence[Returned] = ()
    orphans: frozenset[bytes] = frozenset()
    outcomes: Sequence[Outcome] = ()
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became durable. `kept` are halves (worker_id, half_sha256) that their workers may now forget."""

    receipts: int
    duplicates: int
    kept: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Requests of an earlier process to recover now; `waiting` counts all of them, due or not."""

    request_ids: tuple[bytes, ...]
    waiting: int


class JournalStore(Protocol):
    """Where the journal's work becomes durable. Called from one thread.

    `commit` and `recover` return after everything is on disk, apply it whole or not at all, and are idempotent: the
    same again gives the same `kept` and no second receipt or charge. `due` only reads. All raise `StoreUnavailable`.
    """

    def commit(self, work: Work) -> Committed: ...

    def due(self, before: int) -> Due: ...

    def recover(self, request_id: bytes) -> Committed: ...


class SQLJournalStore:
    """The store over SQLModel."""

    def __init__(
        self,
        *,
        engine: Engine,
        signing_key: Ed25519PrivateKey,
        memo_key: MemoKey,
        instance: bytes,
        settle: Settle,
    ) -> None:
        """`instance` is this process's, as its memos carry it."""
        self._engine = engine
        self._key = signing_key
        self._gateway_id = gateway_id_of(signing_key.public_key().public_bytes_raw())
        self._memos = memo_key
        self._instance = instance
        self._settle = settle

    def create(self) -> None:
        """Creates the tables that are missing."""
        SQLModel.metadata.create_all(self._engine, tables=[SQLModel.metadata.tables[name] for name in _NAMES])

    def commit(self, work: Work) -> Committed:
        """See `JournalStore`.

        Raises:
            StoreUnavailable: it is not known to be durable.
            SealbidError: an outcome is malformed; nothing was applied.
        """
        with self._transaction() as session:
            keep_workers(session, work.workers)
            for batch in work.batches:
                keep_halves(session, batch)
            kept = self._keep_returned(session, work)
            return self._apply(session, work.outcomes, work.batches, kept)

    def due(self, before: int) -> Due:
        """Requests whose memos an earlier process made and whose first came back at or before `before`."""
        columns = select(col(ReturnedMemoRow.request_id), func.min(ReturnedMemoRow.arrived))
        with self._transaction() as session:
            others = columns.where(col(ReturnedMemoRow.instance) != self._instance)
            rows = session.exec(others.group_by(col(ReturnedMemoRow.request_id))).all()
        return Due(request_ids=tuple(name for name, arrived in rows if arrived <= before), waiting=len(rows))

    def recover(self, request_id: bytes) -> Committed:
        """Settles one request of an earlier process. Raises as `commit`; WrongKey when the memo key was replaced."""
        with self._transaction() as session:
            return self._apply(session, self._recovered(session, request_id), (), set())

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except (IntegrityError, DataError):
            raise
        except DBAPIError as error:
            # Whatever else a database says (full, locked, corrupt, gone) is not the fault of what was written.
            raise StoreUnavailable(type(error.orig).__name__) from None

    def _apply(
        self,
        session: Session,
        outcomes: Sequence[Outcome],
        batches: Sequence[SignedHalves],
        kept: set[tuple[bytes, bytes]],
    ) -> Committed:
        fresh = _unrecorded(session, outcomes)
        self._record(session, fresh)
        return Committed(
            receipts=len(fresh),
            duplicates=len(outcomes) - len(fresh),
            kept=tuple(sorted(kept | _joined(session, batches, outcomes))),
        )

    # What workers returned

    def _keep_returned(self, session: Session, work: Work) -> set[tuple[bytes, bytes]]:
        """Keeps memos of requests not recorded yet: the halves beside them are durable from here on."""
        halves = {half.half_sha256: half for batch in work.batches for half in batch.halves}
        fresh = {one.half_sha256: one for one in work.returned}
        recorded = present(session, ReceiptRow, "request_id", [one.memo.request_id for one in fresh.values()])
        known = present(session, ReturnedMemoRow, "half_sha256", list(fresh))
        rows = [
            {
                "half_sha256": digest,
                "request_id": one.memo.request_id,
                "instance": one.memo.instance,
                "arrived": work.now,
                "memo": one.sealed,
            }
            for digest, one in fresh.items()
            if digest not in known and one.memo.request_id not in recorded
        ]
        insert_rows(session, ReturnedMemoRow, rows)
        return {(halves[digest].worker_id, digest) for digest in work.orphans | fresh.keys()}

    def _recovered(self, session: Session, request_id: bytes) -> list[Outcome]:
        """The outcome that all returned halves of a request add up to; nothing if none is left."""
        columns = select(col(ReturnedMemoRow.memo), col(WorkerHalfRow.half), col(WorkerHalfRow.dispatch_sha256)).join(
            WorkerHalfRow, col(WorkerHalfRow.half_sha256) == col(ReturnedMemoRow.half_sha256)
        )
        rows = session.exec(columns.where(col(ReturnedMemoRow.request_id) == request_id)).all()
        returned = [Recovered(memo=self._memos.open(sealed, dispatch), half=half) for sealed, half, dispatch in rows]
        return [recover(returned)] if returned else []

    # What becomes a receipt

    def _record(self, session: Session, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        first = self._advance(session, len(outcomes))
        for start in range(0, len(outcomes), MAX_LEAVES):
            self._issue(session, outcomes[start : start + MAX_LEAVES], first + start)
        insert_rows(session, AttemptRow, [row for outcome in outcomes for row in attempt_rows(outcome)])
        keep_unsigned(session, outcomes)
        delete_returned(session, [outcome.request_id for outcome in outcomes])
        self._charge(session, outcomes)

    def _issue(self, session: Session, outcomes: Sequence[Outcome], first: int) -> None:
        """Signs one batch of halves, numbered from `first`, and keeps it with their receipts."""
        halves = [
            gateway_half(outcome, gateway_id=self._gateway_id, seq=first + i) for i, outcome in enumerate(outcomes)
        ]
        encoded = [half.encode() for half in halves]
        leaves = b"".join(map(leaf_hash, encoded))
        signed = sign_batch(self._key, GATEWAY_HALF, encoded)
        batch = {"gateway_id": self._gateway_id, "batch": first, "cose": signed.cose, "leaves": leaves}
        insert_rows(session, GatewayBatchRow, [batch])
        pairs = zip(outcomes, halves, encoded, strict=True)
        insert_rows(session, ReceiptRow, [receipt_row(outcome, half, data, first) for outcome, half, data in pairs])

    def _advance(self, session: Session, count: int) -> int:
        """The first of `count` numbers, taken in this transaction: a commit that fails leaves no gap."""
        row = session.get(SequenceRow, self._gateway_id)
        first = FIRST_SEQ if row is None else row.next_seq
        if row is None:
            insert_rows(session, SequenceRow, [{"gateway_id": self._gateway_id, "next_seq": first + count}])
        else:
            row.next_seq = first + count
            session.add(row)
            session.flush()
        return first

    def _charge(self, session: Session, outcomes: Sequence[Outcome]) -> None:
        charged = [outcome for outcome in outcomes if outcome.charge_nanos]
        if not charged:
            return
        answers = [answering(outcome) for outcome in charged]
        providers = providers_of(session, {answer.keyset_id for answer in answers})
        charges = [
            Charge(
                request_id=outcome.request_id,
                tenant=outcome.tenant,
                provider_id=providers.get(answer.keyset_id, b""),
                worker_id=answer.worker_id,
                charge_nanos=outcome.charge_nanos,
                time=int(outcome.ended.timestamp()),
            )
            for outcome, answer in zip(charged, answers, strict=True)
        ]
        add_totals(session, charges)
        self._settle(session, charges)


_NAMES: Final = [str(table.__tablename__) for table in TABLES]


def _unrecorded(session: Session, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The first outcome of each request that has no receipt. What came late for a recorded one is settled as orphan."""
    first: dict[bytes, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.request_id, outcome)
    recorded = present(session, ReceiptRow, "request_id", list(first))
    delete_returned(session, list(recorded))
    return [outcome for request_id, outcome in first.items() if request_id not in recorded]


def _joined(session: Session, batches: Sequence[SignedHalves], outcomes: Sequence[Outcome]) -> set[tuple[bytes, bytes]]:
    """Signed halves whose request is recorded now, be it because they came or because the outcome did."""
    dispatches = {half.dispatch_sha256 for batch in batches for half in batch.halves}
    dispatches |= {attempt.dispatch_sha256 for outcome in outcomes for attempt in outcome.attempts}
    if not dispatches:
        return set()
    rows = session.exec(
        select(col(WorkerHalfRow.worker_id), col(WorkerHalfRow.half_sha256))
        .join(AttemptRow, col(AttemptRow.dispatch_sha256) == col(WorkerHalfRow.dispatch_sha256))
        .where(col(WorkerHalfRow.dispatch_sha256).in_(dispatches), col(WorkerHalfRow.batch_sha256) != b"")
    )
    return set(rows)
