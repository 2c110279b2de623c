# SPDX-License-Identifier: Apache-2.0
"""Reads of the journal, beside its writer: a receipt with its proofs, a tenant's total (docs/spec.md, 9.5).

A receipt is complete once the worker's signature over its half has joined; until then it is `pending`, or, once the
writer gave the signature up, handed out without it. Worker and verdict come from one row for each keyset and binding,
not from one for each receipt.
"""

from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from attestation.binding import Profile
from attestation.receipt_file import VERSION, BatchProof, LoggedEntry, ReceiptFile, WorkerPart
from attestation.sealing.halves import WorkerHalf
from attestation.tlog.merkle import path_of
from gateway.receipts.tables import (
    AttemptRow,
    GatewayBatchRow,
    ReceiptRow,
    TenantTotalRow,
    UnsignedHalfRow,
    WorkerBatchRow,
    WorkerHalfRow,
    WorkerKeysRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """A recorded request. `file` is None while `pending` names what has not joined yet."""

    tenant: str
    file: ReceiptFile | None = field(repr=False)
    transcript: bytes = field(repr=False)
    pending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What a tenant was charged so far."""

    charged_nanos: int
    charges: int


class _NotJoined(Exception):
    """A part of the receipt is still to come."""


class JournalReader:
    """Blocking reads, each in a transaction of its own; callers on an event loop use a thread."""

    def __init__(self, *, engine: Engine, gateway_key: LoggedEntry) -> None:
        """`gateway_key` is this gateway's `key.add` entry with its proof."""
        self._engine = engine
        self._gateway_key = gateway_key

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()

    def receipt(self, request_id: bytes) -> StoredReceipt | None:
        """The receipt of this request, or None where it was never recorded."""
        with Session(self._engine) as session:
            row = session.get(ReceiptRow, request_id)
            if row is None:
                return None
            try:
                worker = _worker(session, row.worker_half_sha256) if row.worker_half_sha256 else None
            except _NotJoined as missing:
                return StoredReceipt(tenant=row.tenant, file=None, transcript=row.transcript, pending=str(missing))
            file = self._file(session, row, worker)
            return StoredReceipt(tenant=row.tenant, file=file, transcript=row.transcript, pending="")

    def total(self, tenant: str) -> Total:
        """The sum and number of a tenant's charges."""
        with Session(self._engine) as session:
            row = session.get(TenantTotalRow, tenant)
            return (
                Total(charged_nanos=row.charged_nanos, charges=row.charges)
                if row
                else Total(charged_nanos=0, charges=0)
            )

    def _file(self, session: Session, row: ReceiptRow, worker: WorkerPart | None) -> ReceiptFile:
        dispatches = select(col(AttemptRow.dispatch)).where(col(AttemptRow.request_id) == row.request_id)
        batch = session.get_one(GatewayBatchRow, (row.gateway_id, row.batch))
        return ReceiptFile(
            version=VERSION,
            simulated=row.profile == Profile.DEVELOPMENT.value,
            award=row.award,
            dispatches=tuple(session.exec(dispatches.order_by(col(AttemptRow.number)))),
            gateway_half=row.gateway_half,
            gateway_batch=_proof(batch.cose, batch.leaves, row.seq - row.batch),
            gateway_key=self._gateway_key,
            worker=worker,
        )


def _worker(session: Session, half_sha256: bytes) -> WorkerPart:
    half = session.get_one(WorkerHalfRow, half_sha256)
    if not half.batch_sha256:
        waiting = session.get(UnsignedHalfRow, half_sha256)
        if waiting is None or not waiting.closed:
            raise _NotJoined("the worker's signature over its half")
    parsed = WorkerHalf.decode(half.half)
    keys = session.get(WorkerKeysRow, (parsed.keyset_id, parsed.binding_digest))
    if keys is None:
        raise _NotJoined("the admission of the worker's newest binding")
    batch = session.get_one(WorkerBatchRow, half.batch_sha256) if half.batch_sha256 else None
    return WorkerPart(
        half=half.half,
        batch=None if batch is None else _proof(batch.cose, batch.leaves, half.position),
        keyset=keys.keyset,
        verdict=LoggedEntry(entry=keys.verdict_entry, proof=keys.verdict_proof),
    )


def _proof(cose: bytes, leaves: bytes, index: int) -> BatchProof:
    hashes = [leaves[start : start + 32] for start in range(0, len(leaves), 32)]
    return BatchProof(cose=cose, index=index, size=len(hashes), path=tuple(path_of(hashes, index)))
