# SPDX-License-Identifier: Apache-2.0
"""The gateway's side of a receipt: the charge and its half (docs/spec.md, 9.3 and 12.2).

    charge = min(ceil(price * units / 1000), max_total), units at most wu_cap, if the worker says OK, or CANCELLED
             because the caller went away; else 0

Pure. An outcome recovered from a memo and a worker's half goes the same way as one the flow handed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from attestation.errors import Malformed
from attestation.sealing.halves import GatewayHalf, WorkerHalf, WorkerStatus
from gateway.receipts.arrival import NamedHalf, name_half
from gateway.request import Attempt, Outcome

UNITS_PER_PRICE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One request's charge, to be booked in the same transaction as its receipt. `provider_id` is empty if unknown.

    `signed` says whether the worker's signature over its half is here.
    """

    request_id: bytes
    tenant: str
    provider_id: bytes
    worker_id: bytes
    charge_nanos: int
    time: int
    signed: bool


def charge_nanos(*, price_nanos: int, units: int, wu_cap: int, max_total_nanos: int) -> int:
    """What `units` of work cost at `price_nanos` per 1,000, never for more units or above the total agreed on."""
    return min(-(-price_nanos * min(units, wu_cap) // UNITS_PER_PRICE), max_total_nanos)


def charge_for(
    half: WorkerHalf, *, attempt: Attempt, wu_cap: int, max_total_nanos: int, by_caller: bool = False
) -> int:
    """The charge this half of a worker justifies; `by_caller` says that a cancellation was the caller's own."""
    billable = half.status is WorkerStatus.OK or (by_caller and half.status is WorkerStatus.CANCELLED)
    if not billable:
        return 0
    return charge_nanos(
        price_nanos=attempt.price_nanos, units=half.units, wu_cap=wu_cap, max_total_nanos=max_total_nanos
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An outcome with the attempt it is about and the half it holds."""

    outcome: Outcome
    attempt: Attempt
    half: NamedHalf | None


def settled(outcome: Outcome, known: Mapping[bytes, NamedHalf]) -> Settled:
    """The outcome with the attempt whose half it holds; the last attempt when no worker gave a half.

    `known` are halves read already, by their bytes.

    Raises:
        Malformed: no attempt was made, or the half belongs to none of them.
    """
    if not outcome.attempts:
        raise Malformed("outcome.attempts is empty, want at least one")
    if outcome.half is None:
        return Settled(outcome=outcome, attempt=outcome.attempts[-1], half=None)
    half = known.get(outcome.half) or name_half(outcome.half)
    for attempt in outcome.attempts:
        if attempt.dispatch_sha256 == half.dispatch_sha256:
            return Settled(outcome=outcome, attempt=attempt, half=half)
    raise Malformed("outcome.half names a dispatch of none of its attempts")


def gateway_half(done: Settled, *, gateway_id: bytes, seq: int) -> GatewayHalf:
    """The gateway's half of this outcome."""
    outcome, attempt = done.outcome, done.attempt
    return GatewayHalf(
        worker_half_sha256=b"" if done.half is None else done.half.half_sha256,
        award_sha256=attempt.award_sha256,
        price_nanos=attempt.price_nanos,
        dispatches=tuple([one.dispatch_sha256 for one in outcome.attempts]),
        gateway_id=gateway_id,
        seq=seq,
        request_id=outcome.request_id,
        outcome=outcome.ending,
        charge_nanos=outcome.charge_nanos,
        time=int(outcome.ended.timestamp()),
    )
