# SPDX-License-Identifier: Apache-2.0
"""The journal's store: one group of work becomes durable, whole or not at all, in one transaction (docs/spec.md, 11.4).

    commit  = worker keys, worker halves, returned memos; then for every outcome not recorded before: sequence number,
              gateway half under a batch signature, receipt, attempts, charge
    recover = the same for the outcome made of one request's returned memos and halves

A receipt and its charge are in the same transaction and the request id is unique, so committing the same work again
changes nothing: whoever does not know whether a commit happened repeats it. Memos of the running process wait for
their outcome and are never recovered.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, func
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel, col, select

from attestation.identity import gateway_id_of
from attestation.sealing.batch import GATEWAY_HALF, MAX_LEAVES, sign_leaves
from attestation.tlog.merkle import leaf_hash
from gateway.receipts import statements
from gateway.receipts.arrival import NamedHalf, SignedHalves
from gateway.receipts.issue import Charge, Recovered, Settled, gateway_half, recover, settled
from gateway.receipts.memo import MemoKey
from gateway.receipts.rows import (
    add_totals,
    attempt_rows,
    forget_memos,
    joined,
    keep_batches,
    keep_memos,
    keep_unsigned,
    keep_workers,
    providers_of,
    receipt_row,
    recorded,
)
from gateway.receipts.statements import execute
from gateway.receipts.tables import TABLES, ReturnedMemoRow, WorkerHalfRow
from gateway.receipts.work import Committed, Due, Settle, StoreUnavailable, Work
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
            return self._apply(session, work.outcomes, work.batches, _returned(work))

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
        except OperationalError as error:
            raise StoreUnavailable(type(error.orig).__name__) from None

    def _apply(
        self,
        session: Session,
        outcomes: Sequence[Outcome],
        batches: Sequence[SignedHalves],
        kept: set[tuple[bytes, bytes]],
    ) -> Committed:
        """Records the outcomes that have no receipt; what came late for a recorded one is settled as an orphan."""
        connection = session.connection()
        first: dict[bytes, Outcome] = {}
        for outcome in outcomes:
            first.setdefault(outcome.request_id, outcome)
        before = recorded(connection, first)
        fresh = [outcome for request_id, outcome in first.items() if request_id not in before]
        self._record(session, fresh, {half.half: half for batch in batches for half in batch.halves})
        forget_memos(connection, first)
        late = [outcome for outcome in outcomes if outcome.request_id in before]
        return Committed(
            receipts=len(fresh),
            duplicates=len(outcomes) - len(fresh),
            kept=tuple(sorted(kept | joined(connection, batches, fresh, late))),
        )

    def _recovered(self, session: Session, request_id: bytes) -> list[Outcome]:
        """The outcome that all returned halves of a request add up to; nothing if none is left."""
        columns = select(col(ReturnedMemoRow.memo), col(WorkerHalfRow.half), col(WorkerHalfRow.dispatch_sha256)).join(
            WorkerHalfRow, col(WorkerHalfRow.half_sha256) == col(ReturnedMemoRow.half_sha256)
        )
        rows = session.exec(columns.where(col(ReturnedMemoRow.request_id) == request_id)).all()
        returned = [Recovered(memo=self._memos.open(sealed, dispatch), half=half) for sealed, half, dispatch in rows]
        return [recover(returned)] if returned else []

    # What becomes a receipt

    def _record(self, session: Session, outcomes: Sequence[Outcome], signed: Mapping[bytes, NamedHalf]) -> None:
        """`signed` are halves kept in this transaction already, by their bytes."""
        if not outcomes:
            return
        connection = session.connection()
        done = [settled(outcome, signed) for outcome in outcomes]
        first = self._advance(connection, len(done))
        for start in range(0, len(done), MAX_LEAVES):
            self._issue(connection, done[start : start + MAX_LEAVES], first + start)
        execute(connection, statements.ADD_ATTEMPTS, [row for outcome in outcomes for row in attempt_rows(outcome)])
        keep_unsigned(connection, [one.half for one in done if one.half is not None and one.half.half not in signed])
        self._charge(session, done)

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

    def _charge(self, session: Session, done: Sequence[Settled]) -> None:
        charged = [one for one in done if one.outcome.charge_nanos]
        if not charged:
            return
        connection = session.connection()
        providers = providers_of(connection, [one.attempt.keyset_id for one in charged])
        charges = [
            Charge(
                request_id=one.outcome.request_id,
                tenant=one.outcome.tenant,
                provider_id=providers.get(one.attempt.keyset_id, b""),
                worker_id=one.attempt.worker_id,
                charge_nanos=one.outcome.charge_nanos,
                time=int(one.outcome.ended.timestamp()),
            )
            for one in charged
        ]
        add_totals(connection, charges)
        self._settle(session, charges)


_NAMES: Final = [str(table.__tablename__) for table in TABLES]


def _returned(work: Work) -> set[tuple[bytes, bytes]]:
    """Halves that came back: durable now, with their memo or, as orphans, without one that could ever be charged."""
    digests = work.orphans | {one.half_sha256 for one in work.returned}
    if not digests:
        return set()
    halves = (half for batch in work.batches for half in batch.halves)
    return {(half.worker_id, half.half_sha256) for half in halves if half.half_sha256 in digests}
