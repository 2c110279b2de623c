# SPDX-License-Identifier: Apache-2.0
"""The gateway's end of the worker link over real sockets, whoever dialled: calls, streams, sessions, halves, end."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator

import grpc
import pytest
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import Reason
from attestation.rpc.pinning import WORKER_NAME, TLSIdentity, channel_credentials, make_identity
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.halves import WorkerStatus, worker_half_digest
from attestation.sealing.header import Method
from gateway.dispatch import link as link_module
from gateway.dispatch import worker_client
from gateway.dispatch.exchange import MAX_BACKLOG_BYTES
from gateway.dispatch.interface import DispatchEvent
from gateway.errors import WorkerFailed
from gateway.receipts.arrival import verify_arrival
from gateway.request import Attempt
from tests.support.dispatch import ENGINE, SECONDS, Gateway
from tests.support.scripted import DIRECTIONS, Pair, ScriptedWorker, Taken

pytestmark = pytest.mark.net


async def test_a_call_is_answered(pair: Pair) -> None:
    """What the worker sealed is what the caller of the pool gets, with the half that the worker signed for it."""
    exchange = pair.begin(b"question")
    reply = await exchange.answer()
    assert (reply.data, reply.status, reply.error) == (b"QUESTION", WorkerStatus.OK, None)
    assert reply.half == pair.worker.halves[0]
    call = await pair.taken()
    assert call.memo == b"memo of " + exchange.dispatch_sha256
    assert Dispatch.decode(call.dispatch).award_sha256 == exchange.attempt.award_sha256
    assert exchange.attempt.worker_id == pair.attested.worker_id
    assert exchange.attempt.transcript == b"transcript"


async def test_the_session_is_made_before_the_first_request_and_shown_until_answered(pair: Pair) -> None:
    """The session exists once the link does; establishment and grant ride along until an answer came on this link."""
    assert pair.gateway.metrics.events[DispatchEvent.SESSION] == 1
    for _ in range(3):
        await pair.begin().answer()
    shown = [bool((await pair.taken()).session.grant) for _ in range(3)]
    assert shown == [True, False, False]
    assert pair.gateway.metrics.events[DispatchEvent.SESSION] == 1


async def test_many_calls_share_the_link_and_may_be_answered_in_any_order(pair: Pair) -> None:
    """Answers find their calls, whichever comes first."""
    held = pair.hold()
    exchanges = [pair.begin(b"call %d" % number) for number in range(20)]
    for _ in exchanges:
        await pair.taken()
    pair.worker.send(*(pair.worker.answer(taken) for taken in reversed(held)))
    replies = [await exchange.answer() for exchange in exchanges]
    assert [reply.data for reply in replies] == [b"CALL %d" % number for number in range(20)]


async def test_a_large_request_travels_in_several_messages(pair: Pair) -> None:
    """A request of many frames arrives whole, though no message holds more than a few MiB."""
    plaintext = os.urandom(5 << 20).lower()
    pair.worker.script = lambda taken: [pair.worker.answer(taken, data=taken.plaintext[-8:])]
    assert (await pair.begin(plaintext).answer()).data == plaintext[-8:]


async def test_a_stream_is_handed_on_as_it_comes(pair: Pair) -> None:
    """Each chunk is there before the next was sent; the reply follows the last."""
    held = pair.hold()
    exchange = pair.begin(method=Method.STREAM)
    await pair.taken()
    chunks = exchange.chunks()
    for word in (b"one", b"two"):
        pair.worker.send(pair.worker.chunk(held[0], word))
        assert await anext(chunks) == word
    pair.worker.send(pair.worker.answer(held[0], frames=[]))
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    assert exchange.reply is not None
    assert exchange.reply.status is WorkerStatus.OK


async def test_a_lost_link_fails_its_calls_and_is_made_again(pair: Pair) -> None:
    """Calls under way fail so that others may be tried; the next link knows no grant, so it is shown again."""
    await pair.begin().answer()
    await pair.taken()
    pair.hold()
    exchange = pair.begin()
    await pair.taken()
    pair.worker.hang_up()
    with pytest.raises(WorkerFailed) as lost:
        await exchange.answer()
    assert lost.value.before_first_byte
    assert not lost.value.retry_same
    assert not pair.gateway.pool.reachable(pair.attested.keyset_id)
    pair.worker.script = lambda taken: [pair.worker.answer(taken)]
    await pair.gateway.reach(pair.attested)
    assert (await pair.begin().answer()).data == b"QUESTION"
    assert (await pair.taken()).session.grant


async def test_a_stream_that_breaks_after_its_first_chunk_says_so(pair: Pair) -> None:
    """Once a byte was released another worker may not be tried."""
    held = pair.hold()
    exchange = pair.begin(method=Method.STREAM)
    await pair.taken()
    pair.worker.send(pair.worker.chunk(held[0], b"one"))
    chunks = exchange.chunks()
    assert await anext(chunks) == b"one"
    pair.worker.hang_up()
    with pytest.raises(WorkerFailed) as lost:
        await anext(chunks)
    assert not lost.value.before_first_byte


async def test_output_nobody_took_is_dropped_when_the_attempt_fails(pair: Pair) -> None:
    """A stream that breaks before anything was released may go to another worker: what was opened is not handed on."""
    held = pair.hold()
    exchange = pair.begin(method=Method.STREAM)
    await pair.taken()
    pair.worker.send(pair.worker.chunk(held[0], b"one"))
    pair.worker.hang_up()
    with pytest.raises(WorkerFailed) as lost:
        await exchange.answer()
    assert lost.value.before_first_byte
    assert [chunk async for chunk in _until_failure(exchange)] == []


async def _until_failure(exchange) -> AsyncIterator[bytes]:  # type: ignore[no-untyped-def]
    try:
        async for chunk in exchange.chunks():
            yield chunk
    except WorkerFailed:
        return


async def test_a_slow_caller_cannot_make_a_stream_grow(pair: Pair) -> None:
    """Output that is not taken has a bound; beyond it the attempt fails and the worker is told to stop."""

    def flood(taken: Taken) -> list[pb.WorkerFrame]:
        return [pair.worker.chunk(taken, bytes(1 << 16)) for _ in range((MAX_BACKLOG_BYTES >> 16) + 2)]

    pair.worker.script = flood
    exchange = pair.begin(method=Method.STREAM)
    with pytest.raises(WorkerFailed) as caught:
        await exchange.answer()
    assert caught.value.reason is Reason.RESPONSE_TOO_LARGE
    assert await pair.cancelled() == exchange.call_id


async def test_halves_reach_the_journal_and_confirmations_the_worker(pair: Pair) -> None:
    """A signed batch is handed on whole, and the worker hears which halves are durable."""
    await pair.begin().answer()
    pair.worker.send(pair.worker.half_batch(b"its memo"))
    async with asyncio.timeout(SECONDS):
        arrival = await pair.gateway.arrivals.get()
    verified = verify_arrival(arrival)
    assert verified.halves[0].memo == b"its memo"
    digest = worker_half_digest(pair.worker.halves[0])
    pair.gateway.pool.halves_kept({pair.attested.worker_id: [digest], bytes(32): [digest]})
    async with asyncio.timeout(SECONDS):
        assert await pair.worker.kept.get() == digest


async def test_the_memo_is_asked_for_before_anything_of_the_call_is_queued(pair: Pair) -> None:
    """Whoever makes the memo hears of the attempt while nothing of it can have left."""
    order = pair.gateway.order(pair.attested, b"question")
    seen: list[tuple[int, int]] = []

    def memo(attempt: Attempt) -> bytes:
        link = pair.gateway.pool._links[attempt.worker_id]
        seen.append((len(link.exchanges()), link._queued))
        return b"memo"

    exchange = pair.gateway.pool.begin(dataclasses.replace(order, memo=memo), pair.gateway.now)
    assert seen == [(0, 0)]
    await exchange.answer()


async def test_nothing_begins_towards_a_worker_that_does_not_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before the memo is asked for: what never left was never begun."""
    monkeypatch.setattr(link_module, "MAX_QUEUED_BYTES", -1)

    def memo(attempt: Attempt) -> bytes:
        raise AssertionError("an attempt begins")

    with pytest.raises(WorkerFailed) as refused:
        pair.gateway.pool.begin(
            dataclasses.replace(pair.gateway.order(pair.attested, b"question"), memo=memo), pair.gateway.now
        )
    assert refused.value.reason is Reason.WORKER_OVERLOADED


async def test_a_greeted_worker_is_told_of_once_for_each_link(pair: Pair) -> None:
    """The journal hears that a worker is here, to wait for its halves no longer than it takes."""
    assert pair.gateway.linked == [pair.attested.worker_id]


async def test_a_draining_worker_finishes_and_takes_no_more(pair: Pair) -> None:
    """What is under way goes on; nothing new begins."""
    held = pair.hold()
    exchange = pair.begin()
    await pair.taken()
    pair.worker.send(pb.WorkerFrame(draining=pb.Draining()))
    await pair.gateway.until(lambda: not pair.gateway.pool.reachable(pair.attested.keyset_id))
    pair.worker.send(pair.worker.answer(held[0]))
    assert (await exchange.answer()).data == b"QUESTION"


@pytest.mark.parametrize(
    "frame",
    [
        pb.WorkerFrame(),
        pb.WorkerFrame(hello=pb.WorkerHello(worker_id=bytes(32))),
        pb.WorkerFrame(models=pb.Models(models=[pb.Model(name="m", engine_sha256=b"short")])),
    ],
    ids=["no kind", "second hello", "model that does not parse"],
)
async def test_a_frame_that_breaks_the_protocol_ends_the_link(pair: Pair, frame: pb.WorkerFrame) -> None:
    """It is refused, and the link is made anew."""
    pair.worker.send(frame)
    await pair.gateway.until(lambda: pair.gateway.metrics.events.get(DispatchEvent.LINK_REFUSED))
    await pair.gateway.reach(pair.attested)
    assert (await pair.begin().answer()).data == b"QUESTION"


async def test_answers_to_calls_nobody_made_are_dropped(pair: Pair) -> None:
    """An unknown call id is not an error: the call may have ended as its answer was on the way."""
    pair.worker.send(pb.WorkerFrame(answer=pb.Answer(call_id=99, frames=[b"x"], final=True)))
    pair.worker.send(pb.WorkerFrame(call_failed=pb.CallFailed(call_id=99)))
    assert (await pair.begin().answer()).data == b"QUESTION"


async def test_a_renewed_binding_of_the_same_keyset_drops_no_call(pair: Pair) -> None:
    """Renewal makes a session under the new lease; a call under way on the old one is answered."""
    held = pair.hold()
    exchange = pair.begin()
    await pair.taken()
    renewed = pair.worker.attested(provider="provider-b")
    assert renewed.keyset_id == pair.attested.keyset_id
    pair.gateway.admit(renewed)
    pair.worker.send(pair.worker.answer(held[0]))
    assert (await exchange.answer()).data == b"QUESTION"
    pair.worker.script = lambda taken: [pair.worker.answer(taken)]
    assert (await pair.begin().answer()).data == b"QUESTION"
    assert pair.gateway.metrics.events[DispatchEvent.SESSION] == 2


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
async def test_a_used_up_session_is_replaced_before_its_limit(direction: str) -> None:
    """The request after the last one of a session goes out on a new session."""
    gateway, worker = Gateway(max_requests=2), ScriptedWorker()
    async with DIRECTIONS[direction](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        await gateway.reach(attested)
        for _ in range(5):
            await gateway.pool.begin(gateway.order(attested), gateway.now).answer()
        sessions = [worker.calls.get_nowait().session_id for _ in range(5)]
        assert [sessions.count(one) for one in dict.fromkeys(sessions)] == [2, 2, 1]


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
async def test_a_hello_of_another_worker_ends_the_link(direction: str) -> None:
    """The certificate says who it is; a hello that says otherwise is refused."""
    gateway, worker = Gateway(), ScriptedWorker()
    worker.hello_id = bytes(32)
    async with DIRECTIONS[direction](worker, gateway):
        gateway.admit(worker.attested())
        await gateway.until(lambda: gateway.metrics.events.get(DispatchEvent.LINK_REFUSED))
        assert gateway.metrics.linked == 0


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
async def test_another_certificate_never_becomes_a_link(direction: str) -> None:
    """A peer that shows a key other than the attested one does not get past the handshake."""
    gateway, worker = Gateway(), ScriptedWorker()
    worker.shown = make_identity("worker", WORKER_NAME)
    async with DIRECTIONS[direction](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        if direction == "gateway dials":
            await gateway.until(lambda: gateway.metrics.events.get(DispatchEvent.LINK_FAILED))
        else:
            honest = ScriptedWorker()
            async with DIRECTIONS[direction](honest, gateway):
                gateway.admit(honest.attested())
                await gateway.reach(honest.attested())
        assert not gateway.pool.reachable(attested.keyset_id)


async def test_whatever_ends_a_dialled_link_the_worker_is_dialled_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error nobody foresaw is counted and named by its type, its text kept out, and costs one attempt."""
    gateway, worker = Gateway(), ScriptedWorker()
    unforeseen = iter([KeyError("a secret")])

    def credentials(identity: TLSIdentity, peer_der: bytes) -> grpc.ChannelCredentials:
        for error in unforeseen:
            raise error
        return channel_credentials(identity, peer_der)

    monkeypatch.setattr(worker_client, "channel_credentials", credentials)
    async with DIRECTIONS["gateway dials"](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        await gateway.reach(attested)
        assert gateway.metrics.events[DispatchEvent.LINK_FAILED] == 1
    (record,) = (record for record in caplog.records if record.message == "worker cannot be reached")
    assert record.__dict__["reason"] == "KeyError"
    assert "secret" not in caplog.text


async def test_an_engine_is_known_only_through_the_binding() -> None:
    """A worker cannot describe engines it was not attested with (here it has none)."""
    gateway, worker = Gateway(), ScriptedWorker(engines=())
    async with DIRECTIONS["gateway dials"](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        await gateway.reach(attested)
        with pytest.raises(WorkerFailed) as caught:
            await gateway.pool.begin(gateway.order(attested), gateway.now).answer()
        assert caught.value.reason is Reason.RECEIPT_INVALID
        assert gateway.pool.models.spec_of(ENGINE) is None


async def test_a_worker_that_dialled_in_is_not_dialled_as_well() -> None:
    """With an endpoint and a link of its own making there is one link, and it stays."""
    gateway, worker = Gateway(), ScriptedWorker()
    async with DIRECTIONS["worker dials"](worker, gateway):
        gateway.pool.admit(worker.attested())
        await gateway.reach(worker.attested())
        async with asyncio.timeout(SECONDS):
            nowhere = worker.attested(endpoint="127.0.0.1:1")
            gateway.admit(nowhere)
            for _ in range(3):
                reply = await gateway.pool.begin(gateway.order(nowhere), gateway.now).answer()
                assert reply.data == b"QUESTION"
        assert gateway.metrics.events[DispatchEvent.LINK_UP] == 1
        assert DispatchEvent.LINK_FAILED not in gateway.metrics.events


async def test_a_worker_that_left_is_neither_linked_nor_dialled() -> None:
    """When its last keyset leaves, the link ends, and a hello of it is refused."""
    gateway, worker = Gateway(), ScriptedWorker()
    async with DIRECTIONS["gateway dials"](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        await gateway.reach(attested)
        gateway.pool.leave(attested.keyset_id, Reason.LEASE_EXPIRED)
        await gateway.until(lambda: gateway.metrics.linked == 0)
        assert not gateway.pool.linked(attested.worker_id)
        assert gateway.pool.certificates() == []
        assert gateway.pool.admitted(attested.worker_id) is None
