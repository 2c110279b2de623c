# SPDX-License-Identifier: Apache-2.0
"""The gateway's end of the worker link when calls do not end well: refusals, lies, silence, revocation, by name."""

import asyncio

import pytest
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import Reason, Stale
from attestation.sealing.halves import WorkerStatus
from gateway.dispatch.interface import DispatchEvent
from gateway.errors import WorkerFailed
from tests.support.scripted import Pair, ScriptedWorker, Taken

pytestmark = pytest.mark.net


async def test_an_unknown_session_is_made_anew_once_if_the_worker_signs(pair: Pair) -> None:
    """A signed UNKNOWN_SESSION on a session that worked lets the same worker be asked again, on a new session."""
    await pair.begin().answer()
    pair.worker.refuse = lambda call: [pair.worker.signed_refusal(call, Reason.UNKNOWN_SESSION)]
    first = await pair.failure()
    assert (first.reason, first.retry_same) == (Reason.UNKNOWN_SESSION, True)
    again = await pair.failure()
    assert (again.reason, again.retry_same) == (Reason.UNKNOWN_SESSION, False)
    calls = [await pair.taken() for _ in range(3)]
    assert calls[1].session_id != calls[2].session_id
    assert calls[2].session.grant


@pytest.mark.parametrize("change", ["unsigned", "another session", "another header", "another key"])
async def test_what_is_not_signed_for_this_call_is_a_transport_failure(pair: Pair, change: str) -> None:
    """Anyone on the path could say that a session is unknown: only this worker's signature over this call counts."""
    await pair.begin().answer()
    other = ScriptedWorker()

    def refuse(call: pb.Call) -> list[pb.WorkerFrame]:
        if change == "unsigned":
            failed = pb.CallFailed(call_id=call.call_id, reason=Reason.UNKNOWN_SESSION.value)
            return [pb.WorkerFrame(call_failed=failed)]
        if change == "another key":
            return [other.signed_refusal(call, Reason.UNKNOWN_SESSION)]
        field = "session_id" if change == "another session" else "header_sha256"
        return [pair.worker.signed_refusal(call, Reason.UNKNOWN_SESSION, **{field: bytes(32)})]

    pair.worker.refuse = refuse
    failure = await pair.failure()
    assert (failure.reason, failure.retry_same) == (Reason.WORKER_FAILED, False)
    pair.worker.refuse = None
    await pair.begin().answer()
    assert pair.gateway.metrics.events[DispatchEvent.SESSION] == 1


@pytest.mark.parametrize("reason", [Reason.DUPLICATE_REQUEST, Reason.WORKER_OVERLOADED, Reason.DISPATCH_REFUSED])
async def test_other_signed_refusals_are_for_another_worker(pair: Pair, reason: Reason) -> None:
    """They are believed, and the same worker is not asked again for this request."""
    pair.worker.refuse = lambda call: [pair.worker.signed_refusal(call, reason)]
    failure = await pair.failure()
    assert (failure.reason, failure.retry_same, failure.before_first_byte) == (reason, False, True)
    assert pair.gateway.pool.reachable(pair.attested.keyset_id)


async def test_a_retired_key_takes_no_more_calls(pair: Pair) -> None:
    """After a signed KEY_RETIRED the keyset is unreachable; the worker's next generation is another one."""
    pair.worker.refuse = lambda call: [pair.worker.signed_refusal(call, Reason.KEY_RETIRED)]
    failure = await pair.failure()
    assert (failure.reason, failure.retry_same) == (Reason.KEY_RETIRED, False)
    assert not pair.gateway.pool.reachable(pair.attested.keyset_id)
    pair.worker.refuse = None
    pair.worker.rotate(2)
    renewed = pair.worker.attested()
    pair.gateway.admit(renewed)
    assert pair.gateway.pool.reachable(renewed.keyset_id)
    order = pair.gateway.order(renewed)
    assert (await pair.gateway.pool.begin(order, pair.gateway.now).answer()).data == b"QUESTION"


@pytest.mark.parametrize(
    "lie",
    [
        {"req_commit": bytes(32)},
        {"resp_commit": bytes(32)},
        {"req_ct": bytes(32)},
        {"resp_ct": bytes(32)},
        {"dispatch_sha256": bytes(32)},
        {"header_sha256": bytes(32)},
        {"keyset_id": bytes(32)},
        {"worker_id": bytes(32)},
        {"engine_sha256": bytes(32)},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_a_half_that_lies_is_refused_and_reported(pair: Pair, lie: dict[str, object]) -> None:
    """Each field of the half that the gateway knows is checked before the answer is released."""
    pair.worker.script = lambda taken: [pair.worker.answer(taken, **lie)]  # type: ignore[arg-type]
    failure = await pair.failure()
    assert failure.reason is Reason.RECEIPT_INVALID
    assert failure.before_first_byte
    assert pair.gateway.faults == [(pair.attested.worker_id, Reason.RECEIPT_INVALID)]


async def test_a_tampered_frame_ends_the_attempt_and_nothing_else(pair: Pair) -> None:
    """A flipped bit is refused by name, the worker is told to stop, and the link goes on."""

    def tamper(taken: Taken) -> list[pb.WorkerFrame]:
        frame = pair.worker.answer(taken)
        altered = bytearray(frame.answer.frames[0])
        altered[9] ^= 1
        frame.answer.frames[0] = bytes(altered)
        return [frame]

    pair.worker.script = tamper
    assert (await pair.failure()).reason is Reason.TAMPERED
    await pair.cancelled()
    pair.worker.script = lambda taken: [pair.worker.answer(taken)]
    assert (await pair.begin().answer()).data == b"QUESTION"


async def test_an_answer_without_its_trailer_is_truncated(pair: Pair) -> None:
    """A final flag on a frame that is no trailer does not authenticate as the end."""

    def cut(taken: Taken) -> list[pb.WorkerFrame]:
        frame = pair.worker.answer(taken)
        del frame.answer.frames[-1]
        return [frame]

    pair.worker.script = cut
    assert (await pair.failure()).reason is Reason.TAMPERED


async def test_a_silent_worker_costs_no_more_than_the_deadline(pair: Pair) -> None:
    """At the deadline the attempt fails by name and the worker is told to stop."""
    pair.hold()
    failure = await pair.failure(seconds=0.2)
    assert failure.reason is Reason.DEADLINE_EXCEEDED
    assert await pair.cancelled() > 0


async def test_a_cancelled_call_still_brings_its_half(pair: Pair) -> None:
    """When the caller goes away the worker is told, and what it did by then comes as its half."""
    held = pair.hold()
    exchange = pair.begin()
    await pair.taken()
    waiting = asyncio.ensure_future(exchange.answer())
    await asyncio.sleep(0)
    waiting.cancel()
    exchange.cancel()
    assert await pair.cancelled() == exchange.call_id
    pair.worker.send(pair.worker.answer(held[0], status=WorkerStatus.CANCELLED))
    reply = await exchange.answer()
    assert reply.status is WorkerStatus.CANCELLED
    assert reply.half == pair.worker.halves[0]
    assert waiting.cancelled()


@pytest.mark.parametrize("status", [WorkerStatus.INVALID, WorkerStatus.ENGINE_FAILED, WorkerStatus.OVERLOADED])
async def test_a_sealed_error_is_a_reply_with_its_half(pair: Pair, status: WorkerStatus) -> None:
    """Whose fault it is, the flow decides: the reply says the status and the worker's words."""
    pair.worker.script = lambda taken: [pair.worker.answer(taken, status=status)]
    reply = await pair.begin().answer()
    assert reply.status is status
    assert reply.error == ("TENSOR_SHAPE", "inputs[0].shape is [1], want [2]")
    assert reply.half


async def test_a_refusing_guard_is_a_failure_that_lets_failover_go_on(pair: Pair) -> None:
    """Each seal asks the guard; its refusal reaches the flow as a failed attempt and nothing is sent."""
    pair.gateway.guard.refusal = Stale(Reason.REVOCATION_STALE, "last heartbeat is never, want one")
    with pytest.raises(WorkerFailed) as caught:
        pair.begin()
    assert caught.value.reason is Reason.REVOCATION_STALE
    pair.gateway.guard.refusal = None
    await pair.begin().answer()
    assert pair.worker.calls.qsize() == 1


async def test_a_revoked_keyset_loses_its_calls_at_once(pair: Pair) -> None:
    """Revocation fails what is under way, and nothing more is sent to that keyset."""
    pair.hold()
    exchange = pair.begin()
    await pair.taken()
    pair.gateway.pool.leave(pair.attested.keyset_id, Reason.REVOKED)
    with pytest.raises(WorkerFailed) as caught:
        await exchange.answer()
    assert caught.value.reason is Reason.REVOKED
    assert not pair.gateway.pool.reachable(pair.attested.keyset_id)
    with pytest.raises(WorkerFailed):
        pair.begin()
