# SPDX-License-Identifier: Apache-2.0
"""The worker's end of a link without sockets: its bounds, its back-pressure, and what its logs hold."""

import asyncio
import base64
import logging
import os
from collections import deque
from collections.abc import AsyncIterator

import numpy as np
import pytest
from sealbid_oip.codec import Array, Arrays, encode_request
from sealbid_oip.generation import Sampling
from sealbid_oip.spec import ModelSpec, TensorSpec
from sealbid_wire.worker.v1 import worker_pb2 as pb
from typing_extensions import override

from attestation.errors import Malformed, NotGenuine, Reason
from attestation.rpc.duplex import TOGETHER_BYTES, together
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Method
from enclave.engines.interface import Cancellation, Engine, EngineError, TokenStream
from enclave.link import Link, LinkLimits, pump
from enclave.worker import WorkerLimits
from tests.support.link import SECONDS, GatewayPeer, PeerLink, add_one_request, prompt_request, until
from tests.support.worker import LINK_LIMITS, SERVING, Workplace, a_worker

STREAM = {"method": Method.STREAM, "flush_ms": 1}
ENDLESS = prompt_request(max_tokens=4096, stop_token=-1)


class Wire:
    """A link joined to a gateway peer by two queues; the gateway may stop reading."""

    def __init__(self, place: Workplace, *, limits: LinkLimits = LINK_LIMITS, peer: GatewayPeer | None = None) -> None:
        self.peer = peer or GatewayPeer(place)
        self.link = Link(gateway=self.peer.known, worker=place.worker, limits=limits, clock=place.clock, dialled=False)
        self.to_worker: asyncio.Queue[list[pb.GatewayFrame] | None] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.gateway = PeerLink(self.peer, lambda frame: self.to_worker.put([frame]))
        self.task = asyncio.ensure_future(pump(self.link, read=self.to_worker.get, write=self._write))

    async def _write(self, data: bytes) -> None:
        await self.reads.wait()
        for frame in pb.LinkResponse.FromString(data).frames:
            self.gateway.take(frame)

    async def end(self) -> None:
        """The gateway hangs up."""
        await self.to_worker.put(None)
        async with asyncio.timeout(SECONDS):
            await self.task


@pytest.fixture
async def place() -> AsyncIterator[Workplace]:
    """A worker without a listener."""
    async with a_worker(listen=False) as workplace:
        yield workplace


async def failed_as(gateway: PeerLink, sent_reason: Reason, **call: object) -> None:
    """A call is refused for this reason."""
    assert (await (await gateway.call(**call)).failure()).reason == sent_reason


async def turns(count: int = 200) -> None:
    """Lets everything that can run on this loop run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_link_takes_so_many_calls_at_once(place: Workplace) -> None:
    """Beyond its limit a call is refused by name, and taken again once one has ended."""
    wire = Wire(place, limits=LinkLimits(max_calls=1, max_held_bytes=1 << 20, max_queued_bytes=1 << 20))
    await wire.gateway.greet()
    first = await wire.gateway.call(ENDLESS, model="tiny", limits=STREAM)
    await first.some_output()
    await failed_as(wire.gateway, Reason.WORKER_OVERLOADED)
    await wire.gateway.cancel(first)
    await first.answer()
    assert (await (await wire.gateway.call()).answer()).status is WorkerStatus.OK
    await wire.end()


async def test_a_worker_takes_so_many_calls_over_all_links() -> None:
    """The worker's own limit holds whichever link a call comes by."""
    limits = WorkerLimits(max_calls=1, max_request_bytes=1 << 20, max_unconfirmed=16)
    async with a_worker(listen=False, worker_limits=limits) as place:
        wire, other = Wire(place), Wire(place)
        await wire.gateway.greet()
        await other.gateway.greet()
        first = await wire.gateway.call(ENDLESS, model="tiny", limits=STREAM)
        await first.some_output()
        await failed_as(other.gateway, Reason.WORKER_OVERLOADED)
        await wire.end()
        await other.end()


async def test_requests_may_hold_so_much_memory(place: Workplace) -> None:
    """A call whose frames would go over the link's budget is refused before it is opened; later frames end theirs."""
    wire = Wire(place, limits=LinkLimits(max_calls=8, max_held_bytes=1_500_000, max_queued_bytes=1 << 20))
    await wire.gateway.greet()
    big = add_one_request(columns=600_000)
    await failed_as(wire.gateway, Reason.WORKER_OVERLOADED, request=wire.peer.seal(big, "add-one"))
    sent = wire.peer.prepare(big)
    frames = list(sent.call.frames)
    del sent.call.frames[1:]
    sent.call.final = False
    await wire.gateway.send(sent)
    more = pb.CallFrames(call_id=sent.call.call_id, frames=frames[1:], final=True)
    await wire.to_worker.put([pb.GatewayFrame(call_frames=more)])
    assert (await sent.failure()).reason == Reason.WORKER_OVERLOADED
    assert (await (await wire.gateway.call()).answer()).half.seq == 1
    await wire.end()


async def test_a_request_over_the_limit_is_refused(place: Workplace) -> None:
    """More plaintext than one request may have is named as that."""
    limits = WorkerLimits(max_calls=8, max_request_bytes=1000, max_unconfirmed=16)
    async with a_worker(listen=False, worker_limits=limits) as small:
        wire = Wire(small)
        await wire.gateway.greet()
        sent = await wire.gateway.call(add_one_request(columns=1000))
        assert (await sent.failure()).reason == Reason.REQUEST_TOO_LARGE
        await wire.end()


async def test_a_gateway_that_confirms_nothing_is_refused_at_its_cap() -> None:
    """Unconfirmed halves fill the gateway's own share; confirming one makes room for one."""
    limits = WorkerLimits(max_calls=8, max_request_bytes=1 << 20, max_unconfirmed=1)
    async with a_worker(listen=False, worker_limits=limits) as place:
        wire = Wire(place)
        await wire.gateway.greet()
        answer = await (await wire.gateway.call()).answer()
        await failed_as(wire.gateway, Reason.WORKER_OVERLOADED)
        await wire.gateway.confirm(answer.half_bytes)
        assert (await (await wire.gateway.call()).answer()).half.seq == 2
        await wire.end()


async def test_a_gateway_that_does_not_read_is_not_read_from(place: Workplace) -> None:
    """Behind an unread answer over the limit, further frames stay where they are until the gateway reads."""
    wire = Wire(place, limits=LinkLimits(max_calls=8, max_held_bytes=1 << 23, max_queued_bytes=1000))
    await wire.gateway.greet()
    wire.reads.clear()
    sent = [await wire.gateway.call(add_one_request(columns=5000)) for _ in range(4)]
    await until(lambda: wire.link.congested)
    sent += [await wire.gateway.call(add_one_request(columns=5000)) for _ in range(3)]
    await turns()
    assert wire.to_worker.qsize() >= 2
    wire.reads.set()
    for one in sent:
        assert (await one.answer()).status is WorkerStatus.OK
    await wire.end()


async def test_a_stream_nobody_reads_stops_making_tokens(place: Workplace) -> None:
    """A slow reader stops its stream's maker instead of filling the worker's memory, and loses nothing."""
    wire = Wire(place, limits=LinkLimits(max_calls=8, max_held_bytes=1 << 20, max_queued_bytes=2000))
    await wire.gateway.greet()
    wire.reads.clear()
    sent = await wire.gateway.call(
        prompt_request(max_tokens=1500, stop_token=-1), model="tiny", limits={"method": Method.STREAM, "flush_ms": 1}
    )
    await until(lambda: wire.link.congested)
    await turns()
    assert not sent.frames
    assert wire.link._queued < 200_000
    wire.reads.set()
    answer = await sent.answer()
    assert answer.status is WorkerStatus.OK
    assert answer.half.units == 5 + 4 * 1500
    await wire.end()


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([pb.GatewayFrame()], Malformed),
        ([pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=bytes(32)))], NotGenuine),
        ([None, pb.GatewayFrame()], Malformed),
        ([None, None], Malformed),
        ([pb.GatewayFrame(halves_kept=pb.HalvesKept(half_sha256=[bytes(32)]))], Malformed),
    ],
    ids=["no kind", "another gateway", "no kind later", "two hellos", "no hello"],
)
async def test_what_breaks_the_protocol_ends_the_link(
    place: Workplace, frames: list[pb.GatewayFrame | None], error: type[Exception]
) -> None:
    """None stands for a proper hello."""
    wire = Wire(place)
    hello = pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=wire.peer.gateway_id))
    for frame in frames:
        await wire.to_worker.put([hello if frame is None else frame])
    with pytest.raises(error):
        async with asyncio.timeout(SECONDS):
            await wire.task


async def test_frames_for_calls_that_are_over_are_dropped(place: Workplace) -> None:
    """They crossed the end of their call on the way; the link goes on."""
    wire = Wire(place)
    await wire.gateway.greet()
    for frame in (
        pb.GatewayFrame(cancel=pb.Cancel(call_id=77)),
        pb.GatewayFrame(call_frames=pb.CallFrames(call_id=77, frames=[b"x"], final=True)),
        pb.GatewayFrame(halves_kept=pb.HalvesKept(half_sha256=[b"short", bytes(32)])),
    ):
        await wire.to_worker.put([frame])
    assert (await (await wire.gateway.call()).answer()).status is WorkerStatus.OK
    await wire.end()


async def test_a_call_cancelled_in_the_message_that_brought_it_ends_like_any_other(place: Workplace) -> None:
    """It has an answer with a half, and gives its slot back: a gateway cannot use up a worker by cancelling at once."""
    wire = Wire(place)
    await wire.gateway.greet()
    sent = wire.peer.prepare()
    wire.gateway.sent[sent.call.call_id] = sent
    cancel = pb.Cancel(call_id=sent.call.call_id)
    await wire.to_worker.put([pb.GatewayFrame(call=sent.call), pb.GatewayFrame(cancel=cancel)])
    answer = await sent.answer()
    assert (answer.status, answer.half.units) == (WorkerStatus.CANCELLED, 0)
    async with asyncio.timeout(SECONDS):
        await place.worker.drained()
    await wire.end()


class Broken(Engine):
    """An engine that fails in the way it is told to, citing its input as bad engines do."""

    digest = b"b" * 32

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    @override
    def load(self, model: bytes, expected_sha256: bytes) -> None: ...

    @override
    def describe(self) -> ModelSpec:
        tensor = TensorSpec(name="x", datatype="UINT8", shape=(-1,))
        return ModelSpec(name="broken", platform="none", inputs=(tensor,), outputs=(tensor,), max_batch_size=4)

    @override
    def run(self, batch: Arrays, *, cancellation: Cancellation | None = None) -> dict[str, Array]:
        raise self._failure

    @override
    def stream(self, inputs: Arrays, sampling: Sampling, *, cancellation: Cancellation | None = None) -> TokenStream:
        raise self._failure

    @override
    def close(self) -> None: ...


@pytest.mark.parametrize("engine_error", [True, False])
async def test_a_failing_engine_says_so_inside_the_seal_and_no_log_holds_the_payload(
    caplog: pytest.LogCaptureFixture, engine_error: bool
) -> None:
    """The status is ENGINE_FAILED with no units; neither logs nor link show a byte of what was sent."""
    caplog.set_level(logging.DEBUG)
    marker = os.urandom(64)
    failure = EngineError(Reason.ENGINE_FAILED, "run failed") if engine_error else ValueError(marker.hex())
    async with a_worker(engines=[Broken(failure)], listen=False, serving=SERVING) as place:
        wire = Wire(place)
        await wire.gateway.greet()
        x = np.frombuffer(marker, np.uint8).reshape(1, -1)
        request = encode_request("broken", {"x": x}).SerializeToString()
        sent = await wire.gateway.call(request, model="broken")
        answer = await sent.answer()
        assert answer.status is WorkerStatus.ENGINE_FAILED
        assert answer.half.units == 0
        await wire.end()
    shown = "\n".join(str(record.__dict__) for record in caplog.records) + str(answer.error)
    for form in (str(marker), marker.hex(), base64.b64encode(marker).decode()):
        assert form not in shown


async def test_halves_for_a_link_that_was_dead_unnoticed_reach_the_next_one(place: Workplace) -> None:
    """A gateway that died greets anew before its old link is known to be gone: once it is, nothing is held back."""
    old = Wire(place)
    await old.gateway.greet()
    old.reads.clear()
    sent = await old.gateway.call(ENDLESS, model="tiny", limits=STREAM)
    await turns()
    new = Wire(place, peer=old.peer)
    await new.gateway.greet()
    await old.gateway.cancel(sent)
    await until(lambda: place.worker.unconfirmed == 1)
    await asyncio.sleep(0.1)  # signed by now, and sent on the link its call came by
    assert new.gateway.batches.empty()
    old.reads.set()
    old.link.close()
    batch = await new.gateway.batch()
    half = WorkerHalf.decode(batch.halves[0].half)
    assert (half.header_sha256, half.status) == (sent.request.header_sha256, WorkerStatus.CANCELLED)
    assert batch.halves[0].memo == b"memo"
    await old.end()
    await new.end()


def test_messages_that_wait_travel_together_up_to_a_size() -> None:
    """Waiting messages become one that holds their frames in order; a large one goes alone, unjoined and uncopied."""

    def message(call_id: int, size: int) -> bytes:
        answer = pb.Answer(call_id=call_id, frames=[bytes(size)])
        return pb.LinkResponse(frames=[pb.WorkerFrame(answer=answer)]).SerializeToString()

    small = [message(number, 100) for number in range(5)]
    large = message(5, TOGETHER_BYTES)
    waiting = deque([*small, large, *small])
    first = pb.LinkResponse.FromString(together(waiting))
    assert [frame.answer.call_id for frame in first.frames] == [0, 1, 2, 3, 4]
    assert together(waiting) is large
    assert together(waiting) == b"".join(small)
    assert not waiting
