# SPDX-License-Identifier: Apache-2.0
"""Any flipped bit, reordered, dropped, repeated or spliced frame and any replay is refused by name, marking nothing."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import Malformed, NotGenuine, Reason, Replayed, SealingError, Tampered, Truncated, WrongKey
from attestation.sealing.header import Method
from attestation.sealing.incoming import IncomingCall, OpenedCall
from tests.support.sealing import AWARD, OFFER, OWN_OFFERS, GatewaySide, Sent, WorkerSide, receive

GATEWAY = GatewaySide(WorkerSide())
OTHER = GatewaySide(WorkerSide())
FIELDS = ("session_id", "info", "ct", "header", "wrap", "dispatch", "tag", "frame")
NAMED = (Malformed, Tampered, WrongKey, Replayed, Truncated)
REASONS = {
    Reason.MALFORMED, Reason.TAMPERED, Reason.WRONG_KEY, Reason.DISPATCH_REFUSED, Reason.UNKNOWN_SESSION,
    Reason.KEY_RETIRED, Reason.NOT_GRANTED, Reason.SESSION_CLOSED, Reason.REPLAYED,
}  # fmt: skip


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """The bytes with one bit changed."""
    altered = bytearray(data)
    altered[at % len(data)] ^= 1 << bit
    return bytes(altered)


@settings(max_examples=120, deadline=None)
@given(field=st.sampled_from(FIELDS), at=st.integers(0, 5000), bit=st.integers(0, 7), known=st.booleans())
def test_any_flipped_bit_of_a_call_is_refused_and_burns_nothing(field: str, at: int, bit: int, known: bool) -> None:
    """Whatever bit of a call is changed, the worker refuses by name, and the genuine call opens afterwards."""
    gateway = GATEWAY if known else GatewaySide(GATEWAY.worker)
    sent = gateway.send()
    if known:
        gateway.open(gateway.send())
        sent = dataclasses.replace(sent, call=sent.with_(info=b"", ct=b""))
        field = field if getattr(sent.call, field) else "session_id"
    altered = sent.with_(**{field: flipped(getattr(sent.call, field), at, bit)})
    with pytest.raises(SealingError) as raised:
        gateway.open(altered)
    assert raised.value.reason in REASONS
    assert gateway.open(sent).request.plaintext() == b"question"


@settings(max_examples=60, deadline=None)
@given(delta=st.integers(-5, 70_000).filter(bool), final=st.booleans())
def test_another_counter_or_final_flag_is_refused(delta: int, final: bool) -> None:
    """The counter is in the dispatch and the wrap, the final flag in the frame."""
    sent = GATEWAY.send()
    changes: dict[str, Any] = {"final": False} if final else {"counter": max(0, sent.call.counter + delta)}
    if changes.get("counter") == sent.call.counter:
        return
    with pytest.raises(SealingError) as raised:
        GATEWAY.open(sent.with_(**changes))
    assert raised.value.reason in REASONS
    GATEWAY.open(sent)


@settings(max_examples=80, deadline=None)
@given(names=st.sets(st.sampled_from(FIELDS), min_size=1, max_size=len(FIELDS) - 1), other_session=st.booleans())
def test_no_mixture_of_two_calls_opens_as_anything_but_one_of_them(names: set[str], other_session: bool) -> None:
    """Fields spliced from another request, or another session's, never make a third request."""
    one = GATEWAY.send(GATEWAY.seal(b"one"))
    second = GatewaySide(GATEWAY.worker, signing_key=GATEWAY.signing_key) if other_session else GATEWAY
    two = second.send(second.seal(b"two"))
    mixed = one.with_(**{name: getattr(two.call, name) for name in names})
    if mixed in (one.call, two.call) or (not other_session and names <= {"info", "ct", "session_id"}):
        return
    with pytest.raises(SealingError) as raised:
        GATEWAY.open(mixed)
    assert raised.value.reason in REASONS
    assert GATEWAY.open(one).request.plaintext() == b"one"


def frames_of(data: bytes) -> tuple[Sent, OpenedCall, list[bytes]]:
    """A stream's response frames, several with data, the trailer last."""
    sent = GATEWAY.send(GATEWAY.seal(method=Method.STREAM))
    opened = GATEWAY.open(sent)
    frames = opened.response.chunk(data, 3)
    return sent, opened, GATEWAY.worker.answer(opened, b"", frames=frames)


def feed(sent: Sent, frames: Sequence[tuple[bytes, bool]]) -> None:
    """Feeds frames with their final flags and asks for the answer."""
    for frame, final in frames:
        sent.wrapped.opener.feed(frame, final)
    sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256)


@settings(max_examples=100, deadline=None)
@given(order=st.permutations(range(5)), drop=st.integers(0, 5), repeat=st.integers(0, 5), last_final=st.booleans())
def test_reordered_dropped_or_repeated_frames_are_refused(
    order: list[int], drop: int, repeat: int, last_final: bool
) -> None:
    """Only the frames as sealed, each once, in order, make an answer."""
    sent, _, sealed = frames_of(os.urandom(1700))
    genuine = [(frame, index == len(sealed) - 1) for index, frame in enumerate(sealed)]
    assert len(genuine) == 5
    frames = [genuine[index] for index in order]
    if drop < 5:
        frames.pop(drop)
    if repeat < len(frames):
        frames.insert(repeat, frames[repeat])
    if not last_final:
        frames[-1] = (frames[-1][0], False)
    if frames == genuine:
        feed(sent, frames)
        return
    with pytest.raises(NAMED):
        feed(sent, frames)


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 4), at=st.integers(0, 527), bit=st.integers(0, 7))
def test_any_flipped_bit_of_an_answer_is_tampering(index: int, at: int, bit: int) -> None:
    """A changed answer is no answer, and nothing after it is released."""
    sent, _, sealed = frames_of(os.urandom(1700))
    sealed[index] = flipped(sealed[index], at, bit)
    with pytest.raises(Tampered):
        feed(sent, [(frame, n == 4) for n, frame in enumerate(sealed)])
    with pytest.raises(Malformed):
        sent.wrapped.opener.feed(sealed[4], True)
    with pytest.raises(Truncated):
        sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256)


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(0, 4), flag=st.booleans())
def test_a_truncated_answer_is_refused_by_name(kept: int, flag: bool) -> None:
    """A stream that ends early is truncated; calling its last frame final is tampering."""
    sent, _, sealed = frames_of(os.urandom(1700))
    frames = [(frame, flag and index == kept - 1) for index, frame in enumerate(sealed[:kept])]
    with pytest.raises(Tampered if flag and kept else Truncated):
        feed(sent, frames)


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(1, 2), flag=st.booleans())
def test_a_truncated_request_is_refused_by_name(kept: int, flag: bool) -> None:
    """A request without its final frame has no plaintext."""
    request = GATEWAY.seal(os.urandom(2_200_000))
    opener = GATEWAY.worker.ring.open(
        GATEWAY.send(request).call, transport=GATEWAY.transport, offers=OWN_OFFERS, now=GATEWAY.session._started
    ).request
    assert len(request.frames) == 3
    if kept == 2:
        if flag:
            with pytest.raises(Tampered):
                opener.feed(request.frames[1], True)
        else:
            opener.feed(request.frames[1], False)
    with pytest.raises(Truncated):
        opener.plaintext()


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 1), same_session=st.booleans())
def test_frames_of_another_answer_do_not_splice(index: int, same_session: bool) -> None:
    """Neither another request's frame, another session's, nor another attempt's of the same request."""
    other = GATEWAY if same_session else OTHER
    request = GATEWAY.seal()
    sent = GATEWAY.send(request)
    theirs = other.send(other.seal() if same_session else request)
    mine = GATEWAY.worker.answer(GATEWAY.open(sent), b"mine")
    mine[index] = other.worker.answer(other.open(theirs), b"theirs")[index]
    with pytest.raises(Tampered):
        receive(sent, mine)


@settings(max_examples=60, deadline=None)
@given(replays=st.lists(st.integers(0, 9), min_size=1, max_size=10))
def test_every_replay_is_refused(replays: list[int]) -> None:
    """In whatever order recorded calls return, none runs twice."""
    calls = [GATEWAY.send() for _ in range(10)]
    for sent in reversed(calls):
        GATEWAY.open(sent)
    for index in replays:
        with pytest.raises(Replayed):
            GATEWAY.open(calls[index])


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 300), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_grant_is_refused(at: int, bit: int) -> None:
    """A changed grant is malformed, not genuine or not this gateway's."""
    gateway = GatewaySide(GATEWAY.worker)
    grant = gateway.session.grant(gateway.signing_key, expires=1 << 40)
    with pytest.raises((SealingError, NotGenuine)):
        gateway.transport.admit(flipped(grant, at, bit), now=gateway.session._started)


def test_the_fields_of_a_call_are_all_covered_here() -> None:
    """A field added to a call must be added to these tests."""
    names = {field.name for field in dataclasses.fields(IncomingCall)}
    assert names == {*FIELDS, "counter", "final"}
    assert AWARD != OFFER
