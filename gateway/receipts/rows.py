# SPDX-License-Identifier: Apache-2.0
"""Rows of the journal: how values become rows, and which rows are there already. Every function works inside the
caller's transaction and neither commits nor rolls back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from attestation.sealing.halves import GatewayHalf
from gateway.receipts import statements
from gateway.receipts.arrival import NamedHalf, SignedHalves
from gateway.receipts.issue import Charge, Settled
from gateway.receipts.statements import Row, execute, find, remove
from gateway.receipts.work import Begun, Returned, WorkerKeys
from gateway.request import Outcome


def keep_workers(connection: Connection, workers: Sequence[WorkerKeys]) -> None:
    """Keeps what proves each worker's key, once."""
    rows: list[Row] = [
        (one.keyset_id, one.binding_digest, one.provider_id, one.keyset, one.verdict_entry, one.verdict_proof)
        for one in workers
    ]
    execute(connection, statements.KEEP_WORKERS, rows)


def keep_batches(connection: Connection, batches: Sequence[SignedHalves]) -> None:
    """Keeps signed batches; a half that is here unsigned gets its signature."""
    execute(
        connection,
        statements.KEEP_BATCHES,
        [(batch.batch_sha256, batch.cose, b"".join(batch.leaves)) for batch in batches],
    )
    rows = [_half_row(half, batch.batch_sha256) for batch in batches for half in batch.halves]
    execute(connection, statements.SIGN_HALVES, rows)


def keep_unsigned(connection: Connection, halves: Iterable[NamedHalf]) -> None:
    """Keeps halves that came inside answers: the promise stands even if its signature never comes."""
    execute(connection, statements.KEEP_HALVES, [_half_row(half, b"") for half in halves])


def unsigned_of(connection: Connection, halves: Iterable[NamedHalf]) -> set[bytes]:
    """The digests of those halves that have no signature yet."""
    return {digest for (digest,) in find(connection, statements.unsigned, {half.half_sha256 for half in halves})}


def await_signatures(connection: Connection, waiting: Iterable[tuple[NamedHalf, Charge]], now: int) -> None:
    """Notes that the receipt over each half waits for its signature."""
    rows: list[Row] = [
        (half.half_sha256, charge.request_id, half.worker_id, charge.provider_id, charge.charge_nanos, now, 0)
        for half, charge in waiting
    ]
    execute(connection, statements.ADD_UNSIGNED, rows)


def take_awaited(connection: Connection, batches: Sequence[SignedHalves], now: int) -> list[Charge]:
    """What was charged for halves whose awaited signature is in these batches; they are awaited no more."""
    if connection.exec_driver_sql(statements.ANY_UNSIGNED).first() is None:
        return []
    digests = {half.half_sha256 for batch in batches for half in batch.halves}
    found = find(connection, statements.awaited, digests)
    if found:
        remove(connection, statements.signed, digests)
    return [
        Charge(
            request_id=request_id,
            tenant="",
            provider_id=provider_id,
            worker_id=worker_id,
            charge_nanos=charge_nanos,
            time=now,
            signed=True,
        )
        for request_id, worker_id, provider_id, charge_nanos in found
    ]


def keep_begun(connection: Connection, begun: Iterable[Begun], instance: bytes, ended: Collection[bytes]) -> None:
    """Keeps the newest attempt of each request under way. Those `ended` in the same group are past it already."""
    newest = {one.request_id: one for one in begun if one.request_id not in ended}
    done = recorded(connection, newest)
    rows: list[Row] = [
        (one.request_id, instance, one.worker_id, one.dispatch_sha256, one.memo)
        for one in newest.values()
        if one.request_id not in done
    ]
    execute(connection, statements.BEGIN, rows)


def forget_begun(connection: Connection, request_ids: Iterable[bytes]) -> None:
    """Forgets that these requests were begun: they are recorded."""
    if connection.exec_driver_sql(statements.ANY_BEGUN).first() is not None:
        remove(connection, statements.ended, set(request_ids))


def _half_row(half: NamedHalf, batch_sha256: bytes) -> Row:
    return half.half_sha256, half.dispatch_sha256, half.worker_id, half.half, batch_sha256, half.position


def recorded(connection: Connection, request_ids: Iterable[bytes]) -> set[bytes]:
    """Those of these requests that have a receipt."""
    return {name for (name,) in find(connection, statements.recorded, set(request_ids))}


def keep_memos(connection: Connection, returned: Sequence[Returned], now: int) -> None:
    """Keeps memos of requests not recorded yet: the halves beside them are durable from here on."""
    done = recorded(connection, [one.memo.request_id for one in returned])
    rows: list[Row] = [
        (one.half_sha256, one.memo.request_id, one.memo.instance, now, one.sealed)
        for one in returned
        if one.memo.request_id not in done
    ]
    execute(connection, statements.KEEP_MEMOS, rows)


def forget_memos(connection: Connection, request_ids: Iterable[bytes]) -> None:
    """Forgets the memos of requests that are settled."""
    if connection.exec_driver_sql(statements.ANY_MEMO).first() is not None:
        remove(connection, statements.forgotten, set(request_ids))


def joined(
    connection: Connection, batches: Sequence[SignedHalves], fresh: Sequence[Outcome], late: Sequence[Outcome]
) -> set[tuple[bytes, bytes]]:
    """Signed halves (worker_id, half_sha256) whose request is recorded now: the half came, the outcome, or both.

    `fresh` outcomes were recorded in this transaction, so that a half of theirs in `batches` needs no look; `late`
    ones had been recorded before.
    """
    now = {attempt.dispatch_sha256 for outcome in fresh for attempt in outcome.attempts}
    halves = [half for batch in batches for half in batch.halves]
    met = {half.dispatch_sha256 for half in halves if half.dispatch_sha256 in now}
    open_now = {attempt.dispatch_sha256 for outcome in late for attempt in outcome.attempts}
    open_now |= {half.dispatch_sha256 for half in halves}
    found = {(worker, digest) for worker, digest in find(connection, statements.joined, (open_now | now) - met)}
    return found | {(half.worker_id, half.half_sha256) for half in halves if half.dispatch_sha256 in met}


def receipt_row(done: Settled, half: GatewayHalf, encoded: bytes, batch: int) -> Row:
    """The receipt of an outcome, in the batch that starts at number `batch`."""
    outcome, attempt = done.outcome, done.attempt
    return (
        outcome.request_id,
        outcome.tenant,
        outcome.profile.value,
        attempt.award,
        attempt.transcript,
        half.worker_half_sha256,
        half.gateway_id,
        half.seq,
        batch,
        encoded,
        outcome.charge_nanos,
    )


def attempt_rows(outcome: Outcome) -> list[Row]:
    """One row for each attempt."""
    return [
        (attempt.dispatch_sha256, outcome.request_id, attempt.number, attempt.dispatch, attempt.reason)
        for attempt in outcome.attempts
    ]


def providers_of(connection: Connection, keyset_ids: Iterable[bytes]) -> Mapping[bytes, bytes]:
    """The providers of those keysets that were admitted here."""
    return dict(find(connection, statements.providers, set(keyset_ids)))


def add_totals(connection: Connection, charges: Sequence[Charge]) -> None:
    """Adds charges to what their tenants were charged."""
    sums: dict[str, tuple[int, int]] = {}
    for charge in charges:
        nanos, count = sums.get(charge.tenant, (0, 0))
        sums[charge.tenant] = nanos + charge.charge_nanos, count + 1
    execute(connection, statements.ADD_UP, [(tenant, *total) for tenant, total in sums.items()])
