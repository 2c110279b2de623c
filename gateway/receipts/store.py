# SPDX-License-Identifier: Apache-2.0
"""The journal's store: one group of work becomes durable, whole or not at all, in one transaction (docs/spec.md, 11.4).

    commit  = worker keys, worker halves, returned memos, attempts begun; then for every outcome not recorded before:
              sequence number, gateway half under a batch signature, receipt, attempts, charge
    recover = the same for the outcome made of one request's attempts begun, returned memos and halves
    close   = receipts whose worker never signed wait no more; the signature still joins should it come

A receipt and its charge are in the same transaction and the request id is unique, so committing the same work again
changes nothing: whoever does not know whether a commit happened repeats it. What the running process began waits for
its outcome and is never recovered.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, exists, func
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel, col, select

from attestation.identity import gateway_id_of
from attestation.sealing.batch import GATEWAY_HALF, MAX_LEAVES, sign_leaves
from attestation.tlog.merkle import leaf_hash
from gateway.receipts import statements
from gateway.receipts.arrival import NamedHalf
from gateway.receipts.issue import Charge, Settled, gateway_half, settled
from gateway.receipts.memo import MemoKey
from gateway.receipts.recovery import Left, Recovered, recover
from gateway.receipts.rows import (
    add_totals,
    attempt_rows,
    await_signatures,
    forget_begun,
    forget_memos,
    joined,
    keep_batches,
    keep_begun,
    keep_memos,
    keep_unsigned,
    keep_workers,
    providers_of,
    receipt_row,
    recorded,
    take_awaited,
    unsigned_of,
)
from gateway.receipts.statements import execute
from gateway.receipts.tables import TABLES, BegunRow, ReturnedMemoRow, WorkerHalfRow
from gateway.receipts.work import Closed, Committed, Settle, StoreUnavailable, Work
from gateway.request import Outcome

FIRST_SEQ: Final = 1


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
            connection = session.connection()
            keep_workers(connection, work.workers)
            keep_batches(connection, work.batches)
            keep_memos(connection, work.returned, work.now)
            keep_begun(connection, work.begun, self._instance, {outcome.request_id for outcome in work.outcomes})
            signed = take_awaited(connection, work.batches, work.now)
            if signed:
                self._settle.release(session, signed)
            return self._apply(session, work, _returned(work))

    def left(self) -> Sequence[Left]:
        """Requests that an earlier process began, or whose memos it made, and that have no receipt."""
        with self._transaction() as session:
            memos = select(col(ReturnedMemoRow.request_id), func.min(ReturnedMemoRow.arrived))
            others = memos.where(col(ReturnedMemoRow.instance) != self._instance)
            arrived = dict(session.exec(others.group_by(col(ReturnedMemoRow.request_id))).all())
            here = exists().where(
                col(WorkerHalfRow.dispatch_sha256) == col(BegunRow.dispatch_sha256),
                col(WorkerHalfRow.worker_id) == col(BegunRow.worker_id),
            )
            begun = select(col(BegunRow.request_id), col(BegunRow.worker_id), here)
            rows = session.exec(begun.where(col(BegunRow.instance) != self._instance)).all()
        newest = {request_id: (worker_id, bool(answered)) for request_id, worker_id, answered in rows}
        return [
            Left(request_id=request_id, worker_id=worker_id, answered=answered, arrived=arrived.get(request_id))
            for request_id, (worker_id, answered) in (dict.fromkeys(arrived, (b"", True)) | newest).items()
        ]

    def recover(self, request_id: bytes, now: datetime) -> Committed:
        """Settles one request of an earlier process. Raises as `commit`; WrongKey when the memo key was replaced."""
        with self._transaction() as session:
            outcomes = self._recovered(session, request_id, now)
            return self._apply(session, Work(outcomes=outcomes, now=int(now.timestamp())), set())

    def close_unsigned(self, *, before: int, now: int) -> Closed:
        """See `JournalStore`; closes receipts recorded at or before `before`. Raises `StoreUnavailable`."""
        with self._transaction() as session:
            connection = session.connection()
            closed = connection.exec_driver_sql(statements.CLOSE_UNSIGNED, (now, before)).rowcount
            waiting: int = connection.exec_driver_sql(statements.WAITING).scalar_one()
        return Closed(receipts=closed, waiting=waiting)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except OperationalError as error:
            raise StoreUnavailable(type(error.orig).__name__) from None

    def _apply(self, session: Session, work: Work, kept: set[tuple[bytes, bytes]]) -> Committed:
        """Records the outcomes that have no receipt; what came late for a recorded one is settled as an orphan."""
        connection = session.connection()
        outcomes, batches = work.outcomes, work.batches
        first: dict[bytes, Outcome] = {}
        for outcome in outcomes:
            first.setdefault(outcome.request_id, outcome)
        before = recorded(connection, first)
        fresh = [outcome for request_id, outcome in first.items() if request_id not in before]
        signed = {half.half: half for batch in batches for half in batch.halves}
        unsigned = self._record(session, fresh, signed, work.now)
        forget_memos(connection, first)
        forget_begun(connection, first)
        late = [outcome for outcome in outcomes if outcome.request_id in before]
        return Committed(
            receipts=len(fresh),
            duplicates=len(outcomes) - len(fresh),
            unsigned=unsigned,
            kept=tuple(sorted(kept | joined(connection, batches, fresh, late))),
        )

    def _recovered(self, session: Session, request_id: bytes, now: datetime) -> list[Outcome]:
        """The outcome that all that is here of a request adds up to; nothing if nothing is left."""
        columns = select(col(ReturnedMemoRow.memo), col(WorkerHalfRow.half), col(WorkerHalfRow.dispatch_sha256)).join(
            WorkerHalfRow, col(WorkerHalfRow.half_sha256) == col(ReturnedMemoRow.half_sha256)
        )
        rows = session.exec(columns.where(col(ReturnedMemoRow.request_id) == request_id)).all()
        known = [Recovered(memo=self._memos.open(sealed, dispatch), half=half) for sealed, half, dispatch in rows]
        begun = session.get(BegunRow, request_id)
        if begun is not None:
            # A half may be here without its memo: it had come on the link its call went by.
            halves = select(col(WorkerHalfRow.half)).where(
                col(WorkerHalfRow.dispatch_sha256) == begun.dispatch_sha256,
                col(WorkerHalfRow.worker_id) == begun.worker_id,
            )
            memo = self._memos.open(begun.memo, begun.dispatch_sha256)
            known.append(Recovered(memo=memo, half=session.exec(halves).first()))
        return [recover(known, now=now)] if known else []

    # What becomes a receipt

    def _record(
        self, session: Session, outcomes: Sequence[Outcome], signed: Mapping[bytes, NamedHalf], now: int
    ) -> int:
        """How many wait for a signature. `signed` are halves kept in this transaction already, by their bytes."""
        if not outcomes:
            return 0
        connection = session.connection()
        done = [settled(outcome, signed) for outcome in outcomes]
        first = self._advance(connection, len(done))
        for start in range(0, len(done), MAX_LEAVES):
            self._issue(connection, done[start : start + MAX_LEAVES], first + start)
        execute(connection, statements.ADD_ATTEMPTS, [row for outcome in outcomes for row in attempt_rows(outcome)])
        alone = [one.half for one in done if one.half is not None and one.half.half not in signed]
        keep_unsigned(connection, alone)
        unsigned = unsigned_of(connection, alone)
        charges = self._charges(connection, done, unsigned)
        pairs = zip(done, charges, strict=True)
        await_signatures(
            connection, [(one.half, charge) for one, charge in pairs if one.half and not charge.signed], now
        )
        charged = [charge for charge in charges if charge.charge_nanos]
        if charged:
            add_totals(connection, charged)
            self._settle(session, charged)
        return len(unsigned)

    def _issue(self, connection: Connection, done: Sequence[Settled], first: int) -> None:
        """Signs one batch of halves, numbered from `first`, and keeps it with their receipts."""
        halves = [gateway_half(one, gateway_id=self._gateway_id, seq=first + i) for i, one in enumerate(done)]
        encoded = [half.encode() for half in halves]
        leaves = [leaf_hash(data) for data in encoded]
        signature = sign_leaves(self._key, GATEWAY_HALF, leaves)
        execute(connection, statements.ADD_GATEWAY_BATCH, [(self._gateway_id, first, signature, b"".join(leaves))])
        rows = [receipt_row(one, half, data, first) for one, half, data in zip(done, halves, encoded, strict=True)]
        execute(connection, statements.ADD_RECEIPTS, rows)

    def _advance(self, connection: Connection, count: int) -> int:
        """The first of `count` numbers, taken in this transaction: a commit that fails leaves no gap."""
        row = connection.exec_driver_sql(statements.NEXT_NUMBER, (self._gateway_id,)).first()
        first: int = FIRST_SEQ if row is None else row[0]
        execute(connection, statements.NUMBER, [(self._gateway_id, first + count)])
        return first

    def _charges(self, connection: Connection, done: Sequence[Settled], unsigned: Collection[bytes]) -> list[Charge]:
        """What each request costs, in their order; `unsigned` are the digests of halves without a signature."""
        wanted = [one.attempt.keyset_id for one in done if one.outcome.charge_nanos]
        providers = providers_of(connection, wanted) if wanted else {}
        return [
            Charge(
                request_id=one.outcome.request_id,
                tenant=one.outcome.tenant,
                provider_id=providers.get(one.attempt.keyset_id, b""),
                worker_id=one.attempt.worker_id,
                charge_nanos=one.outcome.charge_nanos,
                time=int(one.outcome.ended.timestamp()),
                signed=one.half is None or one.half.half_sha256 not in unsigned,
            )
            for one in done
        ]


_NAMES: Final = [str(table.__tablename__) for table in TABLES]


def _returned(work: Work) -> set[tuple[bytes, bytes]]:
    """Halves that came back: durable now, with their memo or, as orphans, without one that could ever be charged."""
    digests = work.orphans | {one.half_sha256 for one in work.returned}
    if not digests:
        return set()
    halves = (half for batch in work.batches for half in batch.halves)
    return {(half.worker_id, half.half_sha256) for half in halves if half.half_sha256 in digests}
