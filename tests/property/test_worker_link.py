# SPDX-License-Identifier: Apache-2.0
"""Whatever a gateway sends, the worker's end of the link answers by a named refusal or ends by a named error."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import Reason, SealbidError
from enclave.link import Link
from tests.support.link import GatewayPeer, add_one_request
from tests.support.worker import LINK_LIMITS, a_worker

REASONS = {reason.value for reason in Reason}
SOME = st.binary(max_size=80)
SESSIONS = st.builds(pb.SessionOpen, info=SOME, ciphertext=SOME, grant=SOME)
CALLS = st.builds(
    pb.Call,
    call_id=st.integers(0, 2),
    header=SOME,
    session_id=SOME,
    session=st.none() | SESSIONS,
    counter=st.integers(0, 2**64 - 1),
    wrap=SOME,
    dispatch=SOME,
    dispatch_tag=SOME,
    frames=st.lists(SOME, max_size=3),
    final=st.booleans(),
    memo=SOME,
)
MORE = st.builds(pb.CallFrames, call_id=st.integers(0, 2), frames=st.lists(SOME, max_size=3), final=st.booleans())
FRAMES = st.one_of(
    CALLS.map(lambda call: pb.GatewayFrame(call=call)),
    MORE.map(lambda more: pb.GatewayFrame(call_frames=more)),
    st.integers(0, 2).map(lambda call_id: pb.GatewayFrame(cancel=pb.Cancel(call_id=call_id))),
    st.lists(SOME, max_size=3).map(lambda kept: pb.GatewayFrame(halves_kept=pb.HalvesKept(half_sha256=kept))),
    SOME.map(lambda gateway_id: pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=gateway_id))),
    st.just(pb.GatewayFrame()),
)
FIELDS = ("header", "session_id", "wrap", "dispatch", "dispatch_tag", "info", "ciphertext", "grant", "frame")


async def outputs(link: Link) -> list[pb.WorkerFrame]:
    """What the worker has to say now."""
    found: list[pb.WorkerFrame] = []
    while link._out:
        data = await link.next()
        assert data is not None
        found.extend(pb.LinkResponse.FromString(data).frames)
    return found


@settings(max_examples=150, deadline=None)
@given(frames=st.lists(FRAMES, max_size=6))
def test_a_link_is_total(frames: list[pb.GatewayFrame]) -> None:
    """Frames of any content end in refusals with a reason code, or in one error of ours that ends the link."""

    async def run() -> None:
        async with a_worker("add-one", listen=False) as place:
            peer = GatewayPeer(place)
            link = Link(gateway=peer.known, worker=place.worker, limits=LINK_LIMITS, clock=place.clock, dialled=False)
            link.receive(pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=peer.gateway_id)))
            for frame in frames:
                try:
                    link.receive(frame)
                except SealbidError:
                    break
            said = await outputs(link)
            assert said[0].WhichOneof("kind") == "hello"
            assert all(frame.call_failed.reason in REASONS for frame in said[1:])
            link.close()

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from(FIELDS), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_in_a_call_is_refused_by_name(field: str, at: int, bit: int) -> None:
    """Every byte of a call is authenticated or checked: nothing runs, and the genuine call still does."""

    async def run() -> None:
        async with a_worker("add-one", listen=False) as place:
            peer = GatewayPeer(place)
            link = Link(gateway=peer.known, worker=place.worker, limits=LINK_LIMITS, clock=place.clock, dialled=False)
            link.receive(pb.GatewayFrame(hello=pb.GatewayHello(gateway_id=peer.gateway_id)))
            sent = peer.prepare(add_one_request())
            changed = pb.Call.FromString(sent.call.SerializeToString())
            flip(changed, field, at, bit)
            link.receive(pb.GatewayFrame(call=changed))
            said = await outputs(link)
            assert [frame.WhichOneof("kind") for frame in said] == ["hello", "call_failed"]
            assert said[1].call_failed.reason in REASONS
            link.receive(pb.GatewayFrame(call=sent.call))
            assert await outputs(link) == []
            data = await link.next()
            assert data is not None
            sent.take(pb.LinkResponse.FromString(data).frames[0].answer)
            assert (await sent.answer()).half.seq == 1
            link.close()

    asyncio.run(run())


def flip(call: pb.Call, field: str, at: int, bit: int) -> None:
    """Flips one bit of one of the call's byte strings."""
    if field == "frame":
        call.frames[0] = flipped(call.frames[0], at, bit)
    elif field in {"info", "ciphertext", "grant"}:
        setattr(call.session, field, flipped(getattr(call.session, field), at, bit))
    else:
        setattr(call, field, flipped(getattr(call, field), at, bit))


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """`data` with one bit changed."""
    changed = bytearray(data)
    changed[at % len(changed)] ^= 1 << bit
    return bytes(changed)
