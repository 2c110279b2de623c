# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening are inverse, and replay state agrees with a model that forgets nothing."""

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import Malformed, Reason, Replayed, SealingError
from attestation.sealing.frames import HEAD_BYTES, padded_frames, padme
from attestation.sealing.header import MAX_PADDED_BYTES, Header, Method
from attestation.sealing.replay import WINDOW, ReplayWindow, RequestIDs
from attestation.sealing.request import RequestOpener, open_request
from attestation.sealing.schedule import FrameKeys
from attestation.sealing.stream import ChunkReader, ChunkWriter, PrefixCheck
from tests.support.sealing import NOW, GatewaySide, WorkerSide, receive

GATEWAY = GatewaySide(WorkerSide())
GATEWAY_ID = GATEWAY.gateway_id
QUANTA = st.integers(1, 130).map(lambda n: n * 512)


@settings(max_examples=150, deadline=None)
@given(question=st.binary(max_size=3000), answer=st.binary(max_size=3000), asked=QUANTA, answered=QUANTA)
def test_opening_is_the_inverse_of_sealing(question: bytes, answer: bytes, asked: int, answered: int) -> None:
    """Whatever goes in comes out, at any quantum, and both transcripts agree."""
    sent = GATEWAY.send(GATEWAY.seal(question, req_quantum=asked, resp_quantum=answered))
    opened = GATEWAY.open(sent)
    assert opened.request.plaintext() == question
    assert receive(sent, GATEWAY.worker.answer(opened, answer)) == answer


@settings(max_examples=8, deadline=None)
@given(size=st.integers(MAX_PADDED_BYTES - 40_000, 3 * MAX_PADDED_BYTES), quantum=st.sampled_from([512, 4096, 65_536]))
def test_messages_of_several_frames_open_too(size: int, quantum: int) -> None:
    """A message that needs several frames comes out whole."""
    data = bytes(range(251)) * (size // 251 + 1)
    sent = GATEWAY.send(GATEWAY.seal(data[:size], req_quantum=quantum))
    assert GATEWAY.open(sent).request.plaintext() == data[:size]


@settings(max_examples=400, deadline=None)
@given(length=st.integers(0, 40 * MAX_PADDED_BYTES), quantum=st.integers(1, MAX_PADDED_BYTES // 512))
def test_padding_holds_the_message_and_keeps_to_its_rule(length: int, quantum: int) -> None:
    """Frames are multiples of the quantum, hold the message, waste at most Padmé's eighth and one quantum."""
    quantum *= 512
    sizes = padded_frames(length, quantum)
    content = length + HEAD_BYTES * len(sizes)
    assert all(0 < size <= MAX_PADDED_BYTES and size % quantum == 0 for size in sizes)
    assert content <= sum(sizes) < max(512, padme(content)) + quantum
    assert padme(content) <= content * 9 // 8 + 1
    assert len(set(sizes[:-1])) <= 1


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.tuples(st.binary(max_size=1200), st.integers(0, 9)), max_size=12), cut=st.integers(0, 4000))
def test_streams_come_out_as_they_went_in(parts: list[tuple[bytes, int]], cut: int) -> None:
    """Chunks join to the output however it was written, and a repeated prefix is dropped exactly once."""
    writer, reader = ChunkWriter(512), ChunkReader()
    got = b"".join(reader.read(chunk) for output, tokens in parts for chunk in writer.write(output, tokens))
    whole = b"".join(output for output, _ in parts)
    assert got == whole
    cut = min(cut, len(whole))
    check = PrefixCheck(length=cut, sha256_of_prefix=hashlib.sha256(whole[:cut]).digest())
    assert b"".join(check.feed(output) for output, _ in parts) == whole[cut:]


@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(list(Method)), counts=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_request_may_be_wrapped_any_number_of_times(method: Method, counts: list[int]) -> None:
    """Each wrap has its own counter and its own response keys, and only the first execution is allowed."""
    request = GATEWAY.seal(method=method)
    wraps = [GATEWAY.send(request) for _ in counts]
    assert len({sent.wrapped.ref.counter for sent in wraps}) == len({sent.wrapped.wrap for sent in wraps}) == len(wraps)
    GATEWAY.open(wraps[0])
    for sent in wraps[1:]:
        with pytest.raises(Replayed):
            GATEWAY.open(sent)


@settings(max_examples=150, deadline=None)
@given(counters=st.lists(st.integers(0, 4000) | st.integers(1, 40), max_size=150))
def test_the_window_accepts_each_counter_once(counters: list[int]) -> None:
    """The bit mask agrees with a set of all counters and the written window."""
    window, seen = ReplayWindow(), set[int]()
    for counter in counters:
        highest = max(seen, default=0)
        fresh = counter >= 1 and counter not in seen and counter > highest - WINDOW
        try:
            window.check(counter)
        except Replayed:
            assert not fresh
        else:
            assert fresh
            window.check(counter)
            window.mark(counter)
            seen.add(counter)
    assert window.accepted == len(seen)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 12), st.integers(-100, 200), st.integers(-10, 150)), min_size=1, max_size=60
    )
)
def test_a_request_id_runs_once_whatever_the_clock_does(steps: list[tuple[int, int, int]]) -> None:
    """With an adversary at the clock, no (id, expiry) pair is accepted twice, and memory follows the live ones."""
    ids, ran = RequestIDs(), set[tuple[bytes, int]]()
    start = int(NOW.timestamp())
    for number, shift, life in steps:
        request_id, expires, now = bytes([number] * 16), start + life, NOW + timedelta(seconds=shift)
        try:
            ids.check(request_id, expires, gateway_id=GATEWAY_ID, now=now)
        except SealingError:
            continue
        assert (request_id, expires) not in ran
        assert expires > now.timestamp()
        ids.mark(request_id, expires, gateway_id=GATEWAY_ID)
        ran.add((request_id, expires))
    assert len(ids) <= len(ran)


def test_the_table_of_ids_is_bounded() -> None:
    """A full table refuses, and serves again when ids expire."""
    ids = RequestIDs(capacity=4)
    at = int(NOW.timestamp())
    for number in range(2):
        ids.check(bytes([number] * 16), at + 10, gateway_id=GATEWAY_ID, now=NOW)
        ids.mark(bytes([number] * 16), at + 10, gateway_id=GATEWAY_ID)
    with pytest.raises(SealingError) as raised:
        ids.check(bytes([2] * 16), at + 10, gateway_id=GATEWAY_ID, now=NOW)
    assert raised.value.reason is Reason.WORKER_OVERLOADED
    ids.check(bytes([2] * 16), at + 20, gateway_id=GATEWAY_ID, now=NOW + timedelta(seconds=10))
    assert len(ids) == 0


def filled_by(gateway_id: bytes, ids: RequestIDs, expires: int) -> int:
    """How many ids of this gateway are remembered before it is refused for its share."""
    for number in range(1000):
        request_id = gateway_id[:14] + number.to_bytes(2, "big")
        try:
            ids.check(request_id, expires, gateway_id=gateway_id, now=NOW)
        except SealingError as error:
            return number if error.reason is Reason.WORKER_OVERLOADED else -1
        ids.mark(request_id, expires, gateway_id=gateway_id)
    return -1


def test_no_gateway_fills_the_table_of_ids_against_another() -> None:
    """Each that sends all it can ends at half of what the others left, until its ids expire; a newcomer is served."""
    ids, at, shares = RequestIDs(capacity=256), int(NOW.timestamp()), list[int]()
    for gateway in range(7):
        shares.append(filled_by(bytes([gateway] * 32), ids, at + 10))
    assert shares == [128, 64, 32, 16, 8, 4, 2]
    ids.check(b"m" * 16, at + 10, gateway_id=GATEWAY_ID, now=NOW)
    ids.check(b"m" * 16, at + 20, gateway_id=bytes(32), now=NOW + timedelta(seconds=10))
    assert len(ids) == 0


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=2000))
def test_an_opener_needs_no_more_than_header_and_content_key(data: bytes) -> None:
    """A request opens from its header bytes and content key alone, which is what a wrap conveys."""
    request = GATEWAY.seal(data)
    opener: RequestOpener = open_request(request.cek, Header.decode(request.header_bytes))
    assert opener.feed(request.frames[0], True) == data
    assert opener.transcript() == request.transcript
    with pytest.raises(Malformed):
        opener.feed(request.frames[0], True)
    assert isinstance(opener._opener._keys, FrameKeys)
