# SPDX-License-Identifier: Apache-2.0
"""Rows of the journal: how values become rows, and which rows are there already. Every function works inside the
caller's transaction and neither commits nor rolls back.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, insert, update
from sqlmodel import Session, SQLModel, col, select

from attestation.attested import AttestedWorker
from attestation.sealing.halves import GatewayHalf, WorkerHalf, worker_half_digest
from gateway.receipts.arrival import SignedHalf, SignedHalves
from gateway.receipts.issue import Charge, answering
from gateway.receipts.tables import (
    ReturnedMemoRow,
    TenantTotalRow,
    WorkerBatchRow,
    WorkerHalfRow,
    WorkerKeysRow,
)
from gateway.request import Outcome


def insert_rows(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, object]]) -> None:
    """Adds rows in one statement."""
    if rows:
        session.connection().execute(insert(table), list(rows))


def present(session: Session, table: type[SQLModel], name: str, values: Sequence[bytes]) -> set[bytes]:
    """Those of `values` that column `name` holds already."""
    column = SQLModel.metadata.tables[str(table.__tablename__)].c[name]
    return set(session.exec(select(column).where(column.in_(values)))) if values else set()


def keep_workers(session: Session, workers: Sequence[AttestedWorker]) -> None:
    """Keeps what proves each worker's key, once."""
    for worker in workers:
        if session.get(WorkerKeysRow, (worker.keyset_id, worker.binding_digest)) is None:
            row = WorkerKeysRow(
                keyset_id=worker.keyset_id,
                binding_digest=worker.binding_digest,
                provider_id=worker.provider_id,
                keyset=worker.keyset.encode(),
                verdict_entry=worker.verdict_entry,
                verdict_proof=worker.verdict_proof,
            )
            session.add(row)
            session.flush()


def keep_halves(session: Session, batch: SignedHalves) -> None:
    """Keeps a signed batch; a half that is here unsigned gets its signature."""
    if not present(session, WorkerBatchRow, "batch_sha256", [batch.batch_sha256]):
        row = {"batch_sha256": batch.batch_sha256, "cose": batch.cose, "leaves": b"".join(batch.leaves)}
        insert_rows(session, WorkerBatchRow, [row])
    halves = {half.half_sha256: half for half in batch.halves}
    known = present(session, WorkerHalfRow, "half_sha256", list(halves))
    insert_rows(session, WorkerHalfRow, [_half_row(halves[h], batch.batch_sha256) for h in halves.keys() - known])
    for digest in known:
        session.connection().execute(
            update(WorkerHalfRow)
            .where(col(WorkerHalfRow.half_sha256) == digest, col(WorkerHalfRow.batch_sha256) == b"")
            .values(batch_sha256=batch.batch_sha256, position=halves[digest].position)
        )


def _half_row(half: SignedHalf, batch_sha256: bytes) -> dict[str, object]:
    return {
        "half_sha256": half.half_sha256,
        "dispatch_sha256": half.dispatch_sha256,
        "worker_id": half.worker_id,
        "half": half.half,
        "batch_sha256": batch_sha256,
        "position": half.position,
    }


def keep_unsigned(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Keeps the halves that came inside the answers: the promise stands even if its signature never comes."""
    halves = {worker_half_digest(outcome.half): outcome.half for outcome in outcomes if outcome.half is not None}
    known = present(session, WorkerHalfRow, "half_sha256", list(halves))
    rows = []
    for digest in halves.keys() - known:
        parsed = WorkerHalf.decode(halves[digest])
        half = SignedHalf(
            worker_id=parsed.worker_id,
            half_sha256=digest,
            dispatch_sha256=parsed.dispatch_sha256,
            half=halves[digest],
            memo=b"",
            position=0,
        )
        rows.append(_half_row(half, b""))
    insert_rows(session, WorkerHalfRow, rows)


def delete_returned(session: Session, request_ids: Sequence[bytes]) -> None:
    """Forgets the memos of requests that are settled."""
    if request_ids:
        session.connection().execute(delete(ReturnedMemoRow).where(col(ReturnedMemoRow.request_id).in_(request_ids)))


def receipt_row(outcome: Outcome, half: GatewayHalf, encoded: bytes, batch: int) -> dict[str, object]:
    """The receipt of an outcome, in the batch that starts at number `batch`."""
    attempt = answering(outcome)
    return {
        "request_id": outcome.request_id,
        "tenant": outcome.tenant,
        "profile": outcome.profile.value,
        "award": attempt.award,
        "transcript": attempt.transcript,
        "worker_half_sha256": half.worker_half_sha256,
        "gateway_id": half.gateway_id,
        "seq": half.seq,
        "batch": batch,
        "gateway_half": encoded,
        "charge_nanos": outcome.charge_nanos,
    }


def attempt_rows(outcome: Outcome) -> list[dict[str, object]]:
    """One row for each attempt."""
    return [
        {
            "dispatch_sha256": attempt.dispatch_sha256,
            "request_id": outcome.request_id,
            "number": attempt.number,
            "dispatch": attempt.dispatch,
            "reason": attempt.reason,
        }
        for attempt in outcome.attempts
    ]


def providers_of(session: Session, keyset_ids: Iterable[bytes]) -> dict[bytes, bytes]:
    """The providers of those keysets that were admitted here."""
    columns = select(col(WorkerKeysRow.keyset_id), col(WorkerKeysRow.provider_id))
    return dict(session.exec(columns.where(col(WorkerKeysRow.keyset_id).in_(list(keyset_ids)))).all())


def add_totals(session: Session, charges: Sequence[Charge]) -> None:
    """Adds charges to what their tenants were charged."""
    for tenant in {charge.tenant for charge in charges}:
        amounts = [charge.charge_nanos for charge in charges if charge.tenant == tenant]
        row = session.get(TenantTotalRow, tenant) or TenantTotalRow(tenant=tenant, charged_nanos=0, charges=0)
        row.charged_nanos += sum(amounts)
        row.charges += len(amounts)
        session.add(row)
    session.flush()
