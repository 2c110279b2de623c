# SPDX-License-Identifier: Apache-2.0
"""The worker link's refusals over real sockets, whoever dialled: each by its reason, with nothing executed or burnt."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.codec.labels import labelled_sha256, sha256
from attestation.errors import Reason
from attestation.sealing.errors_signed import open_error
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import Method
from tests.support.link import DIRECTIONS, GatewayPeer, PeerLink, Sent, add_one_request, prompt_request
from tests.support.worker import ASK_NANOS, Workplace, a_worker

pytestmark = pytest.mark.net


@pytest.fixture
async def place() -> AsyncIterator[Workplace]:
    """A worker serving `add-one` and `tiny`."""
    async with a_worker() as workplace:
        yield workplace


@pytest.fixture(params=sorted(DIRECTIONS))
async def link(request: pytest.FixtureRequest, place: Workplace) -> AsyncIterator[PeerLink]:
    """A greeted link in each direction."""
    async with DIRECTIONS[request.param](GatewayPeer(place)) as opened:
        await opened.greet()
        yield opened


async def refused(sent: Sent, reason: Reason, *, signed: bool, place: Workplace) -> None:
    """The call failed for this reason, believably if signed, and left no half."""
    failed = await sent.failure()
    assert failed.reason == reason
    assert bool(failed.signed_error) == signed
    if signed:
        error = open_error(
            failed.signed_error,
            receipt_key=place.attested.keyset.receipt_key,
            session_id=sent.call.session_id,
            header_sha256=labelled_sha256("request", sent.call.header),
        )
        assert error.reason is reason
        assert error.keyset_id == place.attested.keyset_id


@pytest.mark.parametrize(
    ("change", "reason", "signed"),
    [
        ("flip a frame", Reason.TAMPERED, False),
        ("flip the wrap", Reason.TAMPERED, False),
        ("swap two frames", Reason.TAMPERED, False),
        ("drop the final frame", Reason.TAMPERED, False),
        ("no frames", Reason.MALFORMED, False),
        ("long memo", Reason.MALFORMED, False),
        ("broken header", Reason.DISPATCH_REFUSED, True),
        ("wrong tag", Reason.DISPATCH_REFUSED, True),
        ("another session", Reason.UNKNOWN_SESSION, True),
        ("no grant", Reason.NOT_GRANTED, True),
        ("another counter", Reason.DISPATCH_REFUSED, True),
    ],
)
async def test_a_damaged_call_is_refused_by_its_reason_and_burns_nothing(
    place: Workplace, link: PeerLink, change: str, reason: Reason, signed: bool
) -> None:
    """Nothing of a call that does not open is executed or remembered: the genuine one passes afterwards."""
    sent = link.peer.prepare(add_one_request(columns=600_000))
    genuine = pb.Call.FromString(sent.call.SerializeToString())
    damage(sent.call, change, link)
    await link.send(sent)
    await refused(sent, reason, signed=signed, place=place)
    sent.call, sent.failed = genuine, None
    sent.done.clear()
    await link.send(sent)
    assert (await sent.answer()).half.seq == 1


def damage(call: pb.Call, change: str, link: PeerLink) -> None:
    """Changes one thing about a call in order."""
    frames = list(call.frames)
    if change == "flip a frame":
        call.frames[0] = flip(frames[0])
    elif change == "flip the wrap":
        call.wrap = flip(call.wrap)
    elif change == "swap two frames":
        call.frames[0], call.frames[1] = frames[1], frames[0]
    elif change == "drop the final frame":
        del call.frames[1:]
    elif change == "no frames":
        del call.frames[:]
    elif change == "long memo":
        call.memo = bytes(4097)
    elif change == "broken header":
        call.header = flip(call.header)
    elif change == "wrong tag":
        call.dispatch_tag = flip(call.dispatch_tag)
    elif change == "another session":
        call.ClearField("session")
        call.session_id = sha256(b"another")
    elif change == "no grant":
        call.session.grant = b""
    elif change == "another counter":
        call.counter += 1
    else:
        raise AssertionError(change)


def flip(data: bytes) -> bytes:
    """One bit changed, in the middle."""
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


async def test_a_truncated_request_times_out_and_leaves_no_half(place: Workplace, link: PeerLink) -> None:
    """A request whose last frame never comes ends at its deadline, and no half exists for it."""
    sent = link.peer.prepare(add_one_request(columns=600_000), deadline_ms=50)
    del sent.call.frames[1:]
    sent.call.final = False
    await link.send(sent)
    await refused(sent, Reason.DEADLINE_EXCEEDED, signed=False, place=place)
    assert (await (await link.call()).answer()).half.seq == 1


async def test_a_later_frame_that_does_not_open_ends_the_call(place: Workplace, link: PeerLink) -> None:
    """Tampering after the first frame is named too, and nothing runs."""
    sent = link.peer.prepare(add_one_request(columns=600_000))
    sent.call.frames[1] = flip(sent.call.frames[1])
    await link.send(sent)
    await refused(sent, Reason.TAMPERED, signed=False, place=place)
    assert (await (await link.call()).answer()).half.seq == 1


async def test_a_replayed_call_is_refused(place: Workplace, link: PeerLink) -> None:
    """The same bytes a second time are refused, whether the counter or the request id tells."""
    sent = await link.call()
    await sent.answer()
    again = pb.Call.FromString(sent.call.SerializeToString())
    again.call_id = 1000
    replay = Sent(call=again, request=sent.request, wrapped=sent.wrapped, dispatch_sha256=sent.dispatch_sha256)
    await link.send(replay)
    await refused(replay, Reason.DUPLICATE_REQUEST, signed=True, place=place)


async def test_a_request_wrapped_again_is_a_duplicate(place: Workplace, link: PeerLink) -> None:
    """A new wrap, even in a new session, does not run a request twice."""
    first = await link.call()
    await first.answer()
    link.peer.session = link.peer.open_session()
    await refused(await link.call(request=first.request), Reason.DUPLICATE_REQUEST, signed=True, place=place)


@pytest.mark.parametrize(
    "dispatch",
    [
        {"price_nanos": 1001},
        {"price_nanos": ASK_NANOS - 1},
        {"offer_id": bytes(32)},
        {"gateway_id": bytes(32)},
    ],
    ids=["over the sealed cap", "under the ask", "not its own offer", "another gateway"],
)
async def test_a_dispatch_outside_the_limits_is_refused(
    place: Workplace, link: PeerLink, dispatch: dict[str, object]
) -> None:
    """The worker holds a gateway to what the caller sealed and to what itself offered."""
    await refused(await link.call(**dispatch), Reason.DISPATCH_REFUSED, signed=True, place=place)


async def test_an_offer_for_another_model_is_refused(place: Workplace, link: PeerLink) -> None:
    """The cheap model's offer does not buy the other."""
    sent = await link.call(offer_id=place.placed["tiny"].offer_id)
    await refused(sent, Reason.DISPATCH_REFUSED, signed=True, place=place)


async def test_an_expired_header_is_refused(place: Workplace, link: PeerLink) -> None:
    """A request kept back past its time is not run."""
    sent = link.peer.prepare()
    place.clock.forward(61)
    await refused(await link.send(sent), Reason.DISPATCH_REFUSED, signed=True, place=place)


async def test_without_a_lease_nothing_is_served(place: Workplace, link: PeerLink) -> None:
    """When the lease ends the worker refuses by that name, and serves again under the next one."""
    place.rotate(seconds=100)
    link.peer.session = link.peer.open_session()
    sent = link.peer.prepare()
    place.clock.forward(101)
    await refused(await link.send(sent), Reason.LEASE_EXPIRED, signed=False, place=place)
    place.rotate()
    place.offer("add-one")
    link.peer.session = link.peer.open_session()
    assert (await (await link.call()).answer()).status is WorkerStatus.OK


async def test_rotation_serves_the_old_keys_for_ten_minutes(place: Workplace, link: PeerLink) -> None:
    """A session of the generation before goes on for the grace, then its key is retired by a signed word."""
    await (await link.call()).answer()
    old = link.peer.session
    before = place.attested
    place.rotate()
    during = await (await link.call()).answer()
    assert during.half.keyset_id == before.keyset_id
    place.clock.forward(601)
    place.offer("add-one")
    await refused(await link.call(session=old), Reason.KEY_RETIRED, signed=True, place=place)


async def test_another_gateways_session_is_not_granted_here(place: Workplace, link: PeerLink) -> None:
    """A session granted to one gateway is of no use on another's link."""
    await (await link.call()).answer()
    thief = GatewayPeer(place)
    async with DIRECTIONS["gateway dials"](thief) as other:
        await other.greet()
        stolen = link.peer.prepare()
        stolen.call.ClearField("session")
        await refused(await other.send(stolen), Reason.NOT_GRANTED, signed=True, place=place)


async def test_slots_are_a_promise(place: Workplace, link: PeerLink) -> None:
    """With every slot of an offer taken the next call is refused, believably, and one that ends makes room."""
    place.offer("tiny", slots=1, seq=2)
    stream: dict[str, object] = {"method": Method.STREAM, "flush_ms": 5}
    long = prompt_request(max_tokens=4096, stop_token=-1)
    first = await link.call(long, model="tiny", limits=stream)
    await first.some_output()
    second = await link.call(long, model="tiny", limits=stream)
    await refused(second, Reason.WORKER_OVERLOADED, signed=True, place=place)
    await link.cancel(first)
    await first.answer()
    third = await link.call(prompt_request(max_tokens=1), model="tiny", limits=stream)
    assert (await third.answer()).status is WorkerStatus.OK


async def test_a_call_the_worker_will_not_run_leaves_no_mark(place: Workplace, link: PeerLink) -> None:
    """Refused for its price, its model or want of a slot, a request costs nobody a place among the ids remembered: the
    same one, on the same counter, runs once its dispatch is right and a slot is free."""
    place.offer("tiny", slots=1, seq=2)
    stream: dict[str, object] = {"method": Method.STREAM, "flush_ms": 5}
    running = await link.call(prompt_request(max_tokens=4096, stop_token=-1), model="tiny", limits=stream)
    await running.some_output()
    sent = link.peer.prepare(prompt_request(max_tokens=1), model="tiny", limits=stream)
    await refused(await link.send(sent), Reason.WORKER_OVERLOADED, signed=True, place=place)
    for wrong in ({"price_nanos": ASK_NANOS - 1}, {"offer_id": place.placed["add-one"].offer_id}):
        other = link.peer.prepare(request=sent.request, model="tiny", **wrong)
        await refused(await link.send(other), Reason.DISPATCH_REFUSED, signed=True, place=place)
    await link.cancel(running)
    await running.answer()
    again = pb.Call.FromString(sent.call.SerializeToString())
    again.call_id = 1000
    retry = Sent(call=again, request=sent.request, wrapped=sent.wrapped, dispatch_sha256=sent.dispatch_sha256)
    assert (await (await link.send(retry)).answer()).status is WorkerStatus.OK


async def test_a_request_that_ran_is_a_duplicate_even_without_a_free_slot(place: Workplace, link: PeerLink) -> None:
    """Its sender is not told, believably, that nothing was executed for want of a slot."""
    place.offer("tiny", slots=1, seq=2)
    stream: dict[str, object] = {"method": Method.STREAM, "flush_ms": 5}
    running = await link.call(prompt_request(max_tokens=4096, stop_token=-1), model="tiny", limits=stream)
    await running.some_output()
    again = await link.call(request=running.request, model="tiny")
    await refused(again, Reason.DUPLICATE_REQUEST, signed=True, place=place)


async def test_draining_refuses_new_calls_and_finishes_old_ones(place: Workplace, link: PeerLink) -> None:
    """A worker that stops says so, answers what is under way, and its halves are signed before it is quiet."""
    stream: dict[str, object] = {"method": Method.STREAM, "flush_ms": 5}
    running = await link.call(prompt_request(max_tokens=200, stop_token=-1), model="tiny", limits=stream)
    await running.some_output()
    place.worker.drain()
    async with asyncio.timeout(20):
        await link.draining.wait()
    await refused(await link.call(), Reason.DRAINING, signed=False, place=place)
    assert (await running.answer()).status is WorkerStatus.OK
    async with asyncio.timeout(20):
        await place.worker.drained()
    assert (await link.batch()).halves[0].half
