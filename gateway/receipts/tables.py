# SPDX-License-Identifier: Apache-2.0
"""The journal's tables. What a receipt is made of is only added; the one column of it that changes is a worker half's
signed batch, set once. `begun`, `returned_memo` and `unsigned_half` are what is still open: rows leave when it closes.

receipt        one per request, unique by request id, gapless by sequence number
attempt        one per dispatch of a recorded request
worker_half    every half a worker is known to have made, joined by the dispatch it names
worker_batch   a worker's signature over a batch of halves, with its leaves
gateway_batch  this gateway's, found by the sequence number of its first half
worker_keys    what proves a worker's key: once for each keyset and binding, never for each receipt
begun          requests of which an attempt left the gateway and that are not recorded yet: the newest attempt's memo
returned_memo  halves that came back with their memo and belong to no recorded request yet
unsigned_half  halves of recorded requests whose signature has not come
tenant_total   what each tenant was charged
sequence       the next number of each gateway key
"""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class ReceiptRow(SQLModel, table=True):
    """One request. `worker_half_sha256` is empty where no worker gave a half, `transcript` where a restart lost it."""

    __tablename__ = "receipt"

    request_id: bytes = Field(primary_key=True)
    tenant: str = Field(index=True)
    profile: str
    award: bytes
    transcript: bytes
    worker_half_sha256: bytes
    gateway_id: bytes
    seq: int = Field(sa_type=BigInteger)
    batch: int = Field(sa_type=BigInteger)
    gateway_half: bytes
    charge_nanos: int = Field(sa_type=BigInteger)


class AttemptRow(SQLModel, table=True):
    """One attempt of a recorded request."""

    __tablename__ = "attempt"

    dispatch_sha256: bytes = Field(primary_key=True)
    request_id: bytes = Field(index=True)
    number: int
    dispatch: bytes
    reason: str


class WorkerHalfRow(SQLModel, table=True):
    """One half of a worker. `batch_sha256` is empty until its signature came."""

    __tablename__ = "worker_half"

    half_sha256: bytes = Field(primary_key=True)
    dispatch_sha256: bytes = Field(index=True)
    worker_id: bytes
    half: bytes
    batch_sha256: bytes
    position: int


class WorkerBatchRow(SQLModel, table=True):
    """A worker's signed batch. `leaves` are its leaf hashes, 32 bytes each, one after the other."""

    __tablename__ = "worker_batch"

    batch_sha256: bytes = Field(primary_key=True)
    cose: bytes
    leaves: bytes


class GatewayBatchRow(SQLModel, table=True):
    """A batch signed by this gateway: sequence numbers from `batch` on, one leaf each."""

    __tablename__ = "gateway_batch"

    gateway_id: bytes = Field(primary_key=True)
    batch: int = Field(primary_key=True, sa_type=BigInteger)
    cose: bytes
    leaves: bytes


class WorkerKeysRow(SQLModel, table=True):
    """What a receipt shows for a worker's key."""

    __tablename__ = "worker_keys"

    keyset_id: bytes = Field(primary_key=True)
    binding_digest: bytes = Field(primary_key=True)
    provider_id: bytes
    keyset: bytes
    verdict_entry: bytes
    verdict_proof: bytes


class ReturnedMemoRow(SQLModel, table=True):
    """A half that came back with its memo; settled once `arrived` is old enough for all of its request to be here."""

    __tablename__ = "returned_memo"

    half_sha256: bytes = Field(primary_key=True)
    request_id: bytes = Field(index=True)
    instance: bytes
    arrived: int = Field(sa_type=BigInteger)
    memo: bytes


class BegunRow(SQLModel, table=True):
    """The newest attempt of a request under way, kept before a byte of its call can leave."""

    __tablename__ = "begun"

    request_id: bytes = Field(primary_key=True)
    instance: bytes
    worker_id: bytes
    dispatch_sha256: bytes
    memo: bytes


class UnsignedHalfRow(SQLModel, table=True):
    """A half its worker has not signed, in a recorded request. `closed` is when it was given up waiting for, or 0."""

    __tablename__ = "unsigned_half"

    half_sha256: bytes = Field(primary_key=True)
    request_id: bytes
    worker_id: bytes
    provider_id: bytes
    charge_nanos: int = Field(sa_type=BigInteger)
    recorded: int = Field(sa_type=BigInteger)
    closed: int = Field(sa_type=BigInteger)


class TenantTotalRow(SQLModel, table=True):
    """What a tenant was charged so far."""

    __tablename__ = "tenant_total"

    tenant: str = Field(primary_key=True)
    charged_nanos: int = Field(sa_type=BigInteger)
    charges: int = Field(sa_type=BigInteger)


class SequenceRow(SQLModel, table=True):
    """The next sequence number of a gateway key."""

    __tablename__ = "sequence"

    gateway_id: bytes = Field(primary_key=True)
    next_seq: int = Field(sa_type=BigInteger)


TABLES = (
    ReceiptRow,
    AttemptRow,
    WorkerHalfRow,
    WorkerBatchRow,
    GatewayBatchRow,
    WorkerKeysRow,
    BegunRow,
    ReturnedMemoRow,
    UnsignedHalfRow,
    TenantTotalRow,
    SequenceRow,
)
