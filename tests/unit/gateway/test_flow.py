# SPDX-License-Identifier: Apache-2.0
"""The life of a request: what is tried, what is charged, what is recorded, and what the caller is told."""

import asyncio

import pytest
from sealbid_oip.framing import prefix_message

from attestation.errors import Reason
from attestation.sealing.halves import WorkerStatus
from gateway.config import Limits as Bounds
from gateway.config import Tenant
from gateway.errors import BudgetExceeded, DeadlineTooShort, Denied, InvalidRequest, NoCapacity, WorkerFailed
from gateway.request import Ending
from tests.support.flow import ROWS, TENANT, TEXT, Act, Scene, arrival, lost, prompt, scene


def _counted(of: Scene, reason: Reason) -> float:
    labels = {"model": ROWS.name, "reason": reason.value, "profile": "SIMULATED"}
    return of.metrics.get_sample_value("sealbid_gateway_requests_total", labels) or 0.0


async def test_an_answer_is_charged_at_the_second_price_and_recorded_once() -> None:
    """The cheapest of three wins, is paid the second price, and leaves one outcome with its half."""
    played = scene(Act())
    answer = await played.flow.unary(arrival())
    assert answer.data == b"answer"
    assert (answer.attempts, answer.price_nanos, answer.charge_nanos) == (1, 200, 200)
    (outcome,) = played.desk.outcomes
    assert outcome.request_id == answer.request_id
    assert (outcome.tenant, outcome.ending, outcome.charge_nanos) == (TENANT, Ending.ANSWERED, 200)
    assert outcome.half is not None
    assert set(played.free_slots().values()) == {4}


async def test_the_charge_follows_the_units_done_up_to_the_ceiling() -> None:
    """Units beyond what the request could cost are not paid for."""
    half_done, overstated = scene(Act(units=500)), scene(Act(units=9999))
    assert (await half_done.flow.unary(arrival())).charge_nanos == 100
    assert (await overstated.flow.unary(arrival())).charge_nanos == 200


async def test_a_lost_worker_is_replaced_and_only_the_answering_one_paid() -> None:
    """One outcome names both attempts; the price is that of the second auction."""
    played = scene(Act(failure=lost()), Act())
    answer = await played.flow.unary(arrival())
    assert (answer.attempts, answer.price_nanos, answer.charge_nanos) == (2, 300, 300)
    (outcome,) = played.desk.outcomes
    assert [attempt.reason for attempt in outcome.attempts] == [Reason.WORKER_FAILED.value, ""]
    assert outcome.attempts[0].award_sha256 != outcome.attempts[1].award_sha256
    assert set(played.free_slots().values()) == {4}


async def test_every_attempt_is_sealed_under_the_same_limits() -> None:
    """Failover never widens what the caller allowed: one header, however many workers."""
    played = scene(Act(failure=lost()), Act(failure=lost()), Act())
    await played.flow.unary(arrival())
    assert len({order.request.header_bytes for order in played.pool.orders}) == 1
    assert [order.attempt for order in played.pool.orders] == [1, 2, 3]


async def test_attempts_are_bounded() -> None:
    """After the last allowed attempt the caller learns why, and nothing is charged."""
    played = scene(Act(failure=lost()), Act(failure=lost()), bounds=Bounds(max_attempts=2))
    with pytest.raises(WorkerFailed):
        await played.flow.unary(arrival())
    (outcome,) = played.desk.outcomes
    assert (outcome.ending, outcome.charge_nanos, len(outcome.attempts)) == (Ending.FAILED, 0, 2)


async def test_workers_that_cannot_be_reached_do_not_use_up_attempts() -> None:
    """A worker to which nothing was sent is passed over and stands in no receipt."""
    played = scene(Act(refuse=lost()), Act(refuse=lost()), Act(), bounds=Bounds(max_attempts=1))
    answer = await played.flow.unary(arrival())
    assert answer.attempts == 1
    assert len(played.desk.outcomes[0].attempts) == 1


async def test_a_session_made_anew_is_tried_on_the_same_worker_once() -> None:
    """UNKNOWN_SESSION from an honest worker costs one more try there; a second time it counts as failed."""
    again = lost(retry_same=True)
    played = scene(Act(failure=again), Act(failure=again), Act())
    await played.flow.unary(arrival())
    first, second, third = (order.keyset_id for order in played.pool.orders)
    assert first == second != third


async def test_a_worker_that_fails_inside_is_replaced_and_its_half_not_paid() -> None:
    """ENGINE_FAILED and OVERLOADED lead to another worker; their halves justify no charge."""
    for status in (WorkerStatus.ENGINE_FAILED, WorkerStatus.OVERLOADED):
        played = scene(Act(status=status, error=("ENGINE_FAILED", "engine failed")), Act())
        answer = await played.flow.unary(arrival())
        assert (answer.attempts, answer.charge_nanos) == (2, 300)
        assert len(played.desk.outcomes) == 1


async def test_a_request_the_worker_refuses_is_the_callers_fault_and_not_tried_again() -> None:
    """INVALID ends the request with the worker's own words, free of charge, with a receipt."""
    error = ("TENSOR_SHAPE", "input x shape is [1, 4], want [1, 5]")
    played = scene(Act(status=WorkerStatus.INVALID, error=error))
    with pytest.raises(InvalidRequest) as refused:
        await played.flow.unary(arrival())
    assert refused.value.reason is Reason.TENSOR_SHAPE
    (outcome,) = played.desk.outcomes
    assert (outcome.ending, outcome.charge_nanos) == (Ending.REFUSED, 0)
    assert outcome.half is not None


async def test_a_worker_that_refuses_without_saying_why_has_failed_and_the_request_ends_once() -> None:
    """INVALID in made-up words leads to another worker; one outcome, one charge, and no word of it becomes a label."""
    for error in (("MADE_UP", "x is 1, want 2"), ("TENSOR_SHAPE", "no")):
        played = scene(Act(status=WorkerStatus.INVALID, error=error), Act())
        answer = await played.flow.unary(arrival())
        assert (answer.attempts, answer.charge_nanos) == (2, 300)
        (outcome,) = played.desk.outcomes
        assert (outcome.ending, outcome.charge_nanos) == (Ending.ANSWERED, 300)
        reasons = {sample.labels.get("reason") for metric in played.metrics.collect() for sample in metric.samples}
        assert reasons == {None, "OK", Reason.WORKER_FAILED.value}


async def test_no_eligible_offer_names_the_counted_reasons() -> None:
    """A price cap nobody meets is a refusal with counts; nothing is recorded or charged."""
    played = scene()
    with pytest.raises(NoCapacity) as refused:
        await played.flow.unary(arrival(sealbid_max_price_nanos=50))
    assert refused.value.reason is Reason.NO_ELIGIBLE_OFFER
    assert refused.value.detail == {"PRICE": "3"}
    assert played.desk.outcomes == []
    assert _counted(played, Reason.NO_ELIGIBLE_OFFER) == 1.0


async def test_when_every_offer_was_tried_the_receipt_says_so() -> None:
    """The last worker lost leaves a refusal with counts and one failed outcome naming all attempts."""
    played = scene(Act(failure=lost()), Act(failure=lost()), asks=(100, 200))
    with pytest.raises(NoCapacity) as refused:
        await played.flow.unary(arrival())
    assert refused.value.detail == {"EXCLUDED": "2"}
    (outcome,) = played.desk.outcomes
    assert (outcome.ending, len(outcome.attempts), outcome.charge_nanos) == (Ending.FAILED, 2, 0)


async def test_too_little_time_is_refused_before_anything_is_spent() -> None:
    """A deadline under the least is refused at once."""
    played = scene()
    with pytest.raises(DeadlineTooShort) as refused:
        await played.flow.unary(arrival(seconds=0.001))
    assert refused.value.reason is Reason.DEADLINE_TOO_SHORT
    assert played.pool.orders == []


async def test_a_deadline_that_passes_is_not_spent_on_another_worker() -> None:
    """DEADLINE_EXCEEDED ends the request whoever is left to try."""
    late = WorkerFailed(Reason.DEADLINE_EXCEEDED, "worker did not answer within the deadline")
    played = scene(Act(failure=late), Act())
    with pytest.raises(DeadlineTooShort) as refused:
        await played.flow.unary(arrival())
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert len(played.pool.orders) == 1
    assert played.desk.outcomes[0].ending is Ending.FAILED


async def test_a_journal_that_is_behind_admits_nothing() -> None:
    """A request whose receipt might be lost is not begun."""
    played = scene()
    played.desk.overloaded = True
    with pytest.raises(NoCapacity) as refused:
        await played.flow.unary(arrival())
    assert refused.value.reason is Reason.STORE_UNAVAILABLE


async def test_limits_of_the_tenant_hold() -> None:
    """Budget and concurrency are checked before an award, and given back after it."""
    poor = scene(Act(), tenant=Tenant(budget_nanos=1999))
    with pytest.raises(BudgetExceeded):
        await poor.flow.unary(arrival())
    assert (await poor.flow.unary(arrival(sealbid_max_total_nanos=1000))).charge_nanos == 200
    crowded = scene(tenant=Tenant(concurrent=0))
    with pytest.raises(Denied):
        await crowded.flow.unary(arrival())


async def test_a_memo_names_every_attempt_so_far() -> None:
    """What travels with an attempt is enough to finish its receipt after a restart."""
    played = scene(Act(failure=lost()), Act())
    await played.flow.unary(arrival())
    first, second = played.desk.memos
    assert [attempt.number for attempt in first.attempts] == [1]
    assert [attempt.number for attempt in second.attempts] == [1, 2]
    assert second.attempts[0].reason == Reason.WORKER_FAILED.value


async def test_a_caller_that_goes_away_stops_the_work_and_pays_for_what_was_done() -> None:
    """The worker is told to stop; its half is waited for, recorded, and charged at most for the units in it."""
    played = scene(Act(hang=True, units=250))
    task = asyncio.get_running_loop().create_task(played.flow.unary(arrival()))
    for _ in range(10):  # turns of the loop until the request is in the worker's hands
        await asyncio.sleep(0)
    assert played.pool.exchanges
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await played.flow.drain()
    assert played.pool.exchanges[0].cancelled.is_set()
    (outcome,) = played.desk.outcomes
    assert (outcome.ending, outcome.charge_nanos) == (Ending.FAILED, 50)
    assert set(played.free_slots().values()) == {4}


async def test_leaving_pays_nobody_for_an_attempt_that_had_failed_before() -> None:
    """A worker that calls its own failure CANCELLED is not paid for it when the caller leaves its successor."""
    failed = Act(status=WorkerStatus.CANCELLED, error=("MADE_UP", "no"), units=1000)
    played = scene(failed, Act(hang=True, failure=lost()))
    task = asyncio.get_running_loop().create_task(played.flow.unary(arrival()))
    for _ in range(10):  # turns of the loop until the request is in the second worker's hands
        await asyncio.sleep(0)
    assert len(played.pool.exchanges) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await played.flow.drain()
    (outcome,) = played.desk.outcomes
    assert (outcome.ending, outcome.charge_nanos) == (Ending.FAILED, 0)


async def test_a_budget_stays_reserved_until_it_is_known_what_a_left_request_cost() -> None:
    """Leaving one request after the other does not buy more than the budget: each holds its ceiling to its end."""
    played = scene(Act(hang=True), tenant=Tenant(budget_nanos=2000))
    task = asyncio.get_running_loop().create_task(played.flow.unary(arrival()))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)  # the request ends here; what it cost is recorded a turn later
    assert task.done()
    assert played.desk.outcomes == []
    with pytest.raises(BudgetExceeded):
        await played.flow.unary(arrival())
    await played.flow.drain()
    assert played.desk.outcomes[0].charge_nanos == 200
    played.pool.acts.append(Act())
    assert (await played.flow.unary(arrival(sealbid_max_total_nanos=1800))).charge_nanos == 200


async def test_a_stream_passes_its_bytes_on_and_is_charged_at_its_end() -> None:
    """Chunks come under the request's id in order; the outcome follows the last of them."""
    played = scene(
        Act(chunks=(prefix_message(b"a") + prefix_message(b"b")[:3], prefix_message(b"b")[3:]), units=9), spec=TEXT
    )
    got = [chunk async for chunk in played.flow.stream(prompt())]
    (outcome,) = played.desk.outcomes
    assert got == [(outcome.request_id, b"a"), (outcome.request_id, b"b")]
    assert (outcome.ending, outcome.charge_nanos) == (Ending.ANSWERED, 2)


async def test_a_stream_fails_over_before_its_first_byte_and_never_after() -> None:
    """Text a caller has seen is not repeated by another worker."""
    before = scene(Act(failure=lost()), Act(chunks=(prefix_message(b"a"),)), spec=TEXT)
    assert [chunk for _, chunk in [item async for item in before.flow.stream(prompt())]] == [b"a"]
    after = scene(Act(chunks=(prefix_message(b"a"),), failure=lost(before_first_byte=False)), Act(), spec=TEXT)
    stream = after.flow.stream(prompt())
    assert (await anext(stream))[1] == b"a"
    with pytest.raises(WorkerFailed):
        await anext(stream)
    (outcome,) = after.desk.outcomes
    assert (outcome.ending, outcome.charge_nanos, len(outcome.attempts)) == (Ending.FAILED, 0, 1)


async def test_a_stream_its_caller_leaves_is_cancelled() -> None:
    """Closing the iterator tells the worker; what was done is recorded once."""
    played = scene(Act(chunks=(prefix_message(b"a"),), hang=True, units=100), spec=TEXT)
    stream = played.flow.stream(prompt())
    await anext(stream)
    await stream.aclose()
    await played.flow.drain()
    assert played.pool.exchanges[0].cancelled.is_set()
    assert len(played.desk.outcomes) == 1


async def test_a_stream_that_is_not_whole_messages_is_the_workers_failure_and_not_paid() -> None:
    """Bytes that end inside a message, or state an absurd length, cost the worker its pay; before them, its place."""
    for broken in (b"\x00\x00\x00\x09half", b"\xff\xff\xff\xff"):
        alone = scene(Act(chunks=(prefix_message(b"a"), broken), units=9), spec=TEXT)
        with pytest.raises(WorkerFailed):
            _ = [message async for message in alone.flow.stream(prompt())]
        (outcome,) = alone.desk.outcomes
        assert (outcome.ending, outcome.charge_nanos) == (Ending.FAILED, 0)
        assert alone.pool.exchanges[0].cancelled.is_set()
        replaced = scene(Act(chunks=(broken,)), Act(chunks=(prefix_message(b"b"),)), spec=TEXT)
        assert [message async for _, message in replaced.flow.stream(prompt())] == [b"b"]
