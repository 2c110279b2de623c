# SPDX-License-Identifier: Apache-2.0
"""What the journal's writer asks of its store, and what it gets back.

A group of work becomes durable whole or not at all. The store is a seam: the writer knows no database, and tests put
failures between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from sqlmodel import Session

from attestation.attested import AttestedWorker
from attestation.errors import Reason, SealbidError
from gateway.receipts.arrival import SignedHalves
from gateway.receipts.issue import Charge
from gateway.receipts.memo import Memo
from gateway.receipts.recovery import Left
from gateway.request import Outcome


class StoreUnavailable(SealbidError):
    """The database did not commit, or did not say so. The same work may be committed again."""

    def __init__(self, cause: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, f"journal did not commit: {cause}")


class Settle(Protocol):
    """Books charges in the session it is given: it neither commits nor rolls back, and each request comes once.

    `release` comes once for each request that was charged unsigned, when its signature does.
    """

    def __call__(self, session: Session, charges: Sequence[Charge]) -> None: ...

    def release(self, session: Session, charges: Sequence[Charge]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKeys:
    """What a receipt shows for a worker's key; all of an attested worker that the journal keeps."""

    keyset_id: bytes
    binding_digest: bytes
    provider_id: bytes
    keyset: bytes = field(repr=False)
    verdict_entry: bytes = field(repr=False)
    verdict_proof: bytes = field(repr=False)

    @classmethod
    def of(cls, worker: AttestedWorker) -> Self:
        """The keys of this worker."""
        return cls(
            keyset_id=worker.keyset_id,
            binding_digest=worker.binding_digest,
            provider_id=worker.provider_id,
            keyset=worker.keyset.encode(),
            verdict_entry=worker.verdict_entry,
            verdict_proof=worker.verdict_proof,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt that is about to leave this gateway: what a successor needs to close its request, as its memo."""

    request_id: bytes
    worker_id: bytes
    dispatch_sha256: bytes
    memo: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeted:
    """A worker linked to this process: from now on it returns the halves it keeps."""

    worker_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A half that came back with a memo this gateway could open."""

    half_sha256: bytes
    memo: Memo
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One group. `orphans` are halves whose memo no key of ours opens: stored, confirmed, never charged."""

    workers: Sequence[WorkerKeys] = ()
    begun: Sequence[Begun] = ()
    batches: Sequence[SignedHalves] = ()
    returned: Sequence[Returned] = ()
    orphans: frozenset[bytes] = frozenset()
    outcomes: Sequence[Outcome] = ()
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became durable. `kept` are halves (worker_id, half_sha256) that their workers may now forget; `unsigned`
    counts receipts that wait for their worker's signature."""

    receipts: int
    duplicates: int
    unsigned: int
    kept: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """How many receipts are from now on handed out without their worker's signature; how many still wait for it."""

    receipts: int
    waiting: int


class JournalStore(Protocol):
    """Where the journal's work becomes durable. Called from one thread.

    `commit`, `recover` and `close_unsigned` return after everything is on disk, apply it whole or not at all, and are
    idempotent: the same again gives the same `kept` and no second receipt or charge. `left` only reads: requests of
    earlier processes. All raise `StoreUnavailable`.
    """

    def commit(self, work: Work) -> Committed: ...

    def left(self) -> Sequence[Left]: ...

    def recover(self, request_id: bytes, now: datetime) -> Committed: ...

    def close_unsigned(self, *, before: int, now: int) -> Closed: ...
