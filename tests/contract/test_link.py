# SPDX-License-Identifier: Apache-2.0
"""The worker link's contract over real sockets, whoever dialled: hello, calls, streams, ends of calls, halves."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from sealbid_oip.codec import decode_outputs, parse_response
from sealbid_oip.framing import MessageSplitter
from sealbid_oip.messages import ModelConfigResponse, ModelMetadataResponse, ModelStreamInferResponse
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import Reason
from attestation.sealing.batch import WORKER_HALF, HalfProof, verify_half
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Method
from attestation.tlog.merkle import leaf_hash, path_of
from tests.support.link import DIRECTIONS, GatewayPeer, PeerLink, add_one_request, prompt_request
from tests.support.worker import Workplace, a_worker

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


async def test_the_hello_names_the_worker_and_its_models(place: Workplace, link: PeerLink) -> None:
    """Identity, engine digest and the model's whole interface come with the first frame."""
    hello = await link.hello
    assert hello.worker_id == place.custody.worker_id
    models = {model.name: model for model in hello.models}
    assert {name: model.streams for name, model in models.items()} == {"add-one": False, "tiny": True}
    assert models["add-one"].engine_sha256 == place.worker.models["add-one"].engine_sha256
    assert ModelMetadataResponse.FromString(models["add-one"].metadata).inputs[0].name == "x"
    assert ModelConfigResponse.FromString(models["tiny"].config).config.model_transaction_policy.decoupled


async def test_a_sealed_request_gets_the_models_sealed_answer(place: Workplace, link: PeerLink) -> None:
    """The answer is the model's own, under a half that names this dispatch, these units and this binding."""
    answer = await (await link.call(add_one_request(rows=2))).answer()
    outputs = decode_outputs(parse_response(answer.data))
    np.testing.assert_array_equal(outputs["y"], np.arange(6, dtype=np.float32).reshape(2, 3) + 1)
    assert answer.status is WorkerStatus.OK
    assert answer.half.units == 2000
    assert answer.half.seq == 1
    assert answer.half.binding_digest == place.attested.binding_digest
    assert answer.half.engine_sha256 == place.worker.models["add-one"].engine_sha256


async def test_many_calls_share_one_link_and_one_session(link: PeerLink) -> None:
    """Concurrent calls are answered each to its own, on one session, with gapless numbers."""
    sent = [await link.call(add_one_request(columns=n + 1)) for n in range(16)]
    answers = [await one.answer() for one in sent]
    for n, answer in enumerate(answers):
        assert decode_outputs(parse_response(answer.data))["y"].shape == (1, n + 1)
    assert sorted(answer.half.seq for answer in answers) == list(range(1, 17))


async def test_an_established_session_needs_no_establishment(link: PeerLink) -> None:
    """After the first answer a call names its session only."""
    await (await link.call()).answer()
    link.peer.session.mark_established()
    sent = await link.call()
    assert not sent.call.HasField("session")
    assert (await sent.answer()).status is WorkerStatus.OK


async def test_a_request_in_several_messages_runs_when_its_last_frame_came(link: PeerLink) -> None:
    """Frames may follow the call in messages of their own."""
    sent = link.peer.prepare(add_one_request(columns=600_000))
    frames = list(sent.call.frames)
    assert len(frames) > 1
    del sent.call.frames[1:]
    sent.call.final = False
    await link.send(sent)
    for index, frame in enumerate(frames[1:], start=2):
        more = pb.CallFrames(call_id=sent.call.call_id, frames=[frame], final=index == len(frames))
        await link.write(pb.GatewayFrame(call_frames=more))
    answer = await sent.answer()
    assert decode_outputs(parse_response(answer.data))["y"].shape == (1, 600_000)


async def test_a_stream_gives_every_token_in_order(link: PeerLink) -> None:
    """Generation streams one response per token, billed one unit a prompt token and four a made one."""
    sent = await link.call(
        prompt_request(max_tokens=5, stop_token=-1),
        model="tiny",
        limits={"method": Method.STREAM, "flush_ms": 20},
    )
    answer = await sent.answer()
    assert answer.status is WorkerStatus.OK
    assert answer.half.units == 5 + 4 * 5
    splitter = MessageSplitter()
    steps = [ModelStreamInferResponse.FromString(message) for message in splitter.feed(bytes(sent.output))]
    splitter.finish()
    offsets = [decode_outputs(step.infer_response)["token_offset"].item() for step in steps]
    assert offsets == [0, 1, 2, 3, 4]
    assert {len(frame) for frame in sent.frames} == {512 + 16}


async def test_a_tensor_model_answers_a_stream_once(link: PeerLink) -> None:
    """ModelStreamInfer of a model that answers once gives that answer as a stream of one."""
    sent = await link.call(limits={"method": Method.STREAM, "flush_ms": 0})
    assert (await sent.answer()).half.units == 1000
    (message,) = MessageSplitter().feed(bytes(sent.output))
    assert decode_outputs(ModelStreamInferResponse.FromString(message).infer_response)["y"].shape == (1, 3)


async def test_halves_are_signed_in_a_batch_and_verify(place: Workplace, link: PeerLink) -> None:
    """The batch that follows an answer holds its half, and the signature covers it."""
    answer = await (await link.call()).answer()
    batch = await link.batch()
    (half,) = batch.halves
    assert half.half == answer.half_bytes
    assert batch.leaves[half.position] == leaf_hash(half.half)
    assert half.memo == b""
    check_batch(place, batch)


async def test_unconfirmed_halves_come_again_after_a_hello(place: Workplace, link: PeerLink) -> None:
    """A gateway that comes back gets every half it has not confirmed, with its memo, and no other."""
    kept = await (await link.call(memo=b"one")).answer()
    await link.batch()
    lost = await (await link.call(memo=b"two")).answer()
    await link.batch()
    await link.confirm(kept.half_bytes)
    async with DIRECTIONS["gateway dials"](link.peer) as again:
        await again.greet()
        batch = await again.batch()
        assert [(half.half, half.memo) for half in batch.halves] == [(lost.half_bytes, b"two")]
        check_batch(place, batch)
        await again.confirm(lost.half_bytes)
        async with asyncio.timeout(20):
            await place.worker.confirmed()


async def test_a_lost_link_cancels_its_calls_and_keeps_their_halves(place: Workplace) -> None:
    """The half of a call whose link broke says CANCELLED and is delivered after the next hello."""
    peer = GatewayPeer(place)
    async with DIRECTIONS["gateway dials"](peer) as first:
        await first.greet()
        sent = await first.call(
            prompt_request(max_tokens=4096, stop_token=-1),
            model="tiny",
            limits={"method": Method.STREAM, "flush_ms": 5},
        )
        await sent.some_output()
    async with DIRECTIONS["gateway dials"](peer) as second:
        await second.greet()
        batch = await second.batch()
        half = WorkerHalf.decode(batch.halves[0].half)
        assert half.status is WorkerStatus.CANCELLED
        assert half.header_sha256 == sent.request.header_sha256
        assert batch.halves[0].memo == b"memo"


async def test_a_cancelled_stream_ends_with_a_half_for_what_was_made(link: PeerLink) -> None:
    """Cancelling ends the stream inside the seal; the half counts the tokens made until then."""
    sent = await link.call(
        prompt_request(max_tokens=4096, stop_token=-1), model="tiny", limits={"method": Method.STREAM, "flush_ms": 5}
    )
    await sent.some_output()
    await link.cancel(sent)
    answer = await sent.answer()
    assert answer.status is WorkerStatus.CANCELLED
    assert answer.error is not None
    assert 9 <= answer.half.units < 5 + 4 * 4096


async def test_the_deadline_ends_a_call_inside_the_seal(link: PeerLink) -> None:
    """Time runs from the dispatch's arrival on the worker's own clock."""
    sent = await link.call(
        prompt_request(max_tokens=4096, stop_token=-1),
        model="tiny",
        limits={"method": Method.STREAM, "flush_ms": 5},
        deadline_ms=50,
    )
    answer = await sent.answer()
    assert answer.status is WorkerStatus.DEADLINE
    assert answer.error is not None
    assert answer.error.reason == Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("plaintext", "model", "reason"),
    [
        (b"\xff not protobuf", "add-one", Reason.MALFORMED),
        (prompt_request(), "add-one", Reason.MODEL_UNKNOWN),
        (add_one_request(rows=17), "add-one", Reason.TENSOR_SHAPE),
        (prompt_request(max_tokens=0), "tiny", Reason.PARAMETER_INVALID),
        (prompt_request(), "tiny", Reason.UNSUPPORTED),
    ],
)
async def test_bad_input_is_refused_inside_the_seal(
    link: PeerLink, plaintext: bytes, model: str, reason: Reason
) -> None:
    """What is wrong with a request is told to its sender only, with a half of no units."""
    streams = model == "tiny" and reason is not Reason.UNSUPPORTED
    limits = {"method": Method.STREAM} if streams else {}
    answer = await (await link.call(plaintext, model=model, limits=limits)).answer()
    assert answer.status is WorkerStatus.INVALID
    assert answer.error is not None
    assert answer.error.reason == reason
    assert answer.half.units == 0


async def test_a_hello_of_another_gateway_ends_the_link(place: Workplace) -> None:
    """The hello must name the gateway whose certificate opened the link."""
    async with DIRECTIONS["gateway dials"](GatewayPeer(place)) as link:
        await link.write(pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=bytes(32))))
        assert await link.end() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("frame", [pb.GatewayFrame(), pb.GatewayFrame(cancel=pb.Cancel(call_id=1))])
async def test_a_link_that_does_not_begin_with_a_hello_ends(place: Workplace, frame: pb.GatewayFrame) -> None:
    """Nothing is taken from a gateway that has not said who it is."""
    async with DIRECTIONS["gateway dials"](GatewayPeer(place)) as link:
        await link.write(frame)
        assert await link.end() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_call_id_in_use_ends_the_link(place: Workplace) -> None:
    """Two calls of one id could not be told apart."""
    async with DIRECTIONS["gateway dials"](GatewayPeer(place)) as link:
        await link.greet()
        stream = {"method": Method.STREAM, "flush_ms": 5}
        sent = await link.call(prompt_request(max_tokens=4096, stop_token=-1), model="tiny", limits=stream)
        await sent.some_output()
        await link.write(pb.GatewayFrame(call=sent.call))
        assert await link.end() is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_unknown_gateway_does_not_get_in(place: Workplace) -> None:
    """A certificate that no known gateway has fails in the handshake."""
    stranger = GatewayPeer(place)
    async with DIRECTIONS["gateway dials"](stranger) as link:
        place.gateways.replace([])
        await_status = asyncio.ensure_future(link.end())
        with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)):
            await link.write(pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=stranger.gateway_id)))
        assert await await_status is grpc.StatusCode.UNAVAILABLE


def check_batch(place: Workplace, batch: pb.HalfBatch) -> None:
    """Every half of the batch is signed by the worker's receipt key."""
    for half in batch.halves:
        proof = HalfProof(
            cose=batch.root_signature,
            index=half.position,
            size=len(batch.leaves),
            path=tuple(path_of(list(batch.leaves), half.position)),
        )
        verify_half(half.half, proof, public_key=place.attested.keyset.receipt_key, purpose=WORKER_HALF)
