# SPDX-License-Identifier: Apache-2.0
"""Charges and gateway halves."""

import pytest

from attestation.errors import Malformed
from attestation.sealing.halves import WorkerHalf, WorkerStatus, worker_half_digest
from gateway.receipts.issue import charge_for, charge_nanos, gateway_half, settled
from gateway.request import Ending
from tests.support.journal import SigningWorker, digest, failed_first, outcome

WORKER = SigningWorker("one")


@pytest.mark.parametrize(
    ("price", "units", "cap", "total", "charge"),
    [
        (1000, 1000, 5000, 10**9, 1000),
        (1, 1, 5000, 10**9, 1),  # rounded up: a started thousandth is paid
        (1000, 1001, 5000, 10**9, 1001),
        (999, 1, 5000, 10**9, 1),
        (1000, 9000, 5000, 10**9, 5000),  # never for more units than were asked for
        (1000, 5000, 5000, 700, 700),  # never above the total agreed on
        (1000, 0, 5000, 10**9, 0),
        (0, 5000, 5000, 10**9, 0),
    ],
)
def test_a_charge_is_price_times_units_rounded_up_and_capped(
    price: int, units: int, cap: int, total: int, charge: int
) -> None:
    """Integers only; both caps hold."""
    assert charge_nanos(price_nanos=price, units=units, wu_cap=cap, max_total_nanos=total) == charge


@pytest.mark.parametrize(
    ("status", "by_caller", "charged"),
    [
        (WorkerStatus.OK, False, True),
        (WorkerStatus.OK, True, True),
        (WorkerStatus.CANCELLED, True, True),
        (WorkerStatus.CANCELLED, False, False),
        (WorkerStatus.INVALID, False, False),
        (WorkerStatus.ENGINE_FAILED, False, False),
        (WorkerStatus.DEADLINE, True, False),
        (WorkerStatus.OVERLOADED, True, False),
    ],
)
def test_only_work_done_or_cancelled_by_the_caller_is_charged(
    status: WorkerStatus, by_caller: bool, charged: bool
) -> None:
    """A worker that failed, or was cancelled by anyone but the caller, is not paid."""
    attempt = WORKER.attempt()
    half = WorkerHalf.decode(WORKER.half(attempt, status=status))
    charge = charge_for(half, attempt=attempt, wu_cap=5000, max_total_nanos=10**6, by_caller=by_caller)
    assert charge == (1000 if charged else 0)


def test_the_gateways_half_names_the_answering_attempt_and_all_dispatches() -> None:
    """Award and price are those of the attempt whose half it is, even if a later one was begun."""
    one, two = WORKER.attempt(1, price_nanos=10), WORKER.attempt(2, price_nanos=20)
    half = WORKER.half(one)
    done = outcome([one, failed_first(two)], half, charge_nanos=10)
    made = gateway_half(settled(done, {}), gateway_id=digest("gateway"), seq=7)
    assert made.award_sha256 == one.award_sha256
    assert made.price_nanos == 10
    assert made.dispatches == (one.dispatch_sha256, two.dispatch_sha256)
    assert made.worker_half_sha256 == worker_half_digest(half)
    assert (made.seq, made.charge_nanos, made.outcome) == (7, 10, Ending.ANSWERED)


def test_an_outcome_must_fit_together() -> None:
    """Without an attempt, or with a half of none of them, there is nothing to sign."""
    with pytest.raises(Malformed):
        settled(outcome([], None), {})
    with pytest.raises(Malformed):
        settled(outcome([WORKER.attempt()], WORKER.half(WORKER.attempt())), {})
