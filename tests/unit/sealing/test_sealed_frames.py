# SPDX-License-Identifier: Apache-2.0
"""Padding, frames and the order of a response; what is refused and by which name."""

import dataclasses
import struct

import pytest

from attestation.codec import cbor
from attestation.errors import Malformed, Reason, SealingError, Tampered, Truncated
from attestation.sealing.frames import (
    MAX_MESSAGE_BYTES,
    FrameKind,
    FrameSealer,
    padded_frames,
    padme,
)
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import MAX_FRAME_BYTES, MAX_PADDED_BYTES, Method
from attestation.sealing.request import RequestOpener
from attestation.sealing.response import ResponseSealer
from attestation.sealing.schedule import FrameKeys, request_keys, response_keys
from attestation.sealing.stream import ChunkReader, ChunkWriter, chunk_capacity
from tests.support.sealing import GatewaySide, Sent, WorkerSide, receive

KEYS = request_keys(bytes(32), bytes(32))


@pytest.fixture
def gateway() -> GatewaySide:
    """A gateway with a granted transport to one worker."""
    return GatewaySide(WorkerSide())


def frame(plain: bytes, *, index: int = 0, final: bool = True, keys: FrameKeys = KEYS) -> bytes:
    """A frame whose padded plaintext is given as it is, however wrong."""
    return keys.aead.encrypt(keys.nonce(index), plain, keys.aad(index, final))


def padded(kind: int, data: bytes, size: int = 512) -> bytes:
    """A correct padded plaintext."""
    return (struct.pack(">BI", kind, len(data)) + data).ljust(size, b"\x00")


def opener(max_bytes: int = MAX_MESSAGE_BYTES, quantum: int = 512) -> RequestOpener:
    """An opener of frames made with `KEYS`."""
    return RequestOpener(KEYS, quantum=quantum, max_bytes=max_bytes)


# ---- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "want"),
    [(1, 1), (8, 8), (9, 10), (512, 512), (513, 544), (1000, 1024), (65_541, 67_584), (614_405, 622_592)],
)
def test_padme_rounds_as_published(length: int, want: int) -> None:
    """At most log2(log2(length)) bits of the length remain."""
    assert padme(length) == want


@pytest.mark.parametrize(
    ("length", "quantum", "want"),
    [
        (0, 512, (512,)),
        (507, 512, (512,)),
        (508, 512, (1024,)),
        (600 * 1024, 512, (622_592,)),
        (100, 65_536, (65_536,)),
        (1_048_059, 512, (1_048_064, 512)),
        (3_000_000, 512, (1_048_064, 1_048_064, 918_528)),
    ],
)
def test_a_message_is_cut_and_padded_by_the_written_rule(length: int, quantum: int, want: tuple[int, ...]) -> None:
    """All frames but the last are full, and the total is Padmé's, rounded up to the quantum."""
    assert padded_frames(length, quantum) == want


# ---- one frame -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plain",
    [
        padded(1, b"data")[:-1] + b"\x01",
        padded(1, b"data")[:9] + b"\x01" + padded(1, b"")[10:],
        struct.pack(">BI", 1, 508).ljust(512, b"\x00"),
        struct.pack(">BI", 1, 0xFFFFFFFF).ljust(512, b"\x00"),
        padded(0, b""),
        padded(4, b""),
        padded(2, b"error in a request"),
        padded(1, b"", 1024),
    ],
    ids=["filler at end", "filler at start", "n too long", "n huge", "kind 0", "kind 4", "kind 2", "padded too far"],
)
def test_an_authentic_frame_out_of_form_is_malformed(plain: bytes) -> None:
    """Authentic bytes are still held to their form, and nothing follows a refusal."""
    request = opener()
    with pytest.raises(Malformed):
        request.feed(frame(plain), True)
    with pytest.raises(Malformed, match="follows"):
        request.feed(frame(padded(1, b""), index=1), True)
    with pytest.raises(Truncated):
        request.plaintext()


@pytest.mark.parametrize("size", [0, 16, 511 + 16, 513 + 16])
def test_a_frame_that_is_no_multiple_of_512_is_malformed(size: int) -> None:
    """Length is checked before any key is used."""
    with pytest.raises(Malformed, match="multiple"):
        opener().feed(bytes(size), True)


def test_a_frame_over_one_mebibyte_is_refused() -> None:
    """FRAME_TOO_LARGE, before any key is used; the largest frame that is padded rightly passes."""
    with pytest.raises(SealingError) as raised:
        opener().feed(bytes(MAX_FRAME_BYTES + 1), True)
    assert raised.value.reason is Reason.FRAME_TOO_LARGE
    sealed = FrameSealer(KEYS).message(bytes(MAX_PADDED_BYTES), 512, final=True)
    assert [len(one) for one in sealed] == [MAX_PADDED_BYTES + 16, 528]
    assert opener().feed(sealed[0], False) == bytes(MAX_PADDED_BYTES - 5)


def test_more_data_than_allowed_is_refused() -> None:
    """A limit on the sum bounds the memory a sender can take."""
    with pytest.raises(SealingError) as raised:
        opener(max_bytes=3).feed(frame(padded(1, b"four")), True)
    assert raised.value.reason is Reason.REQUEST_TOO_LARGE


def test_a_message_cut_otherwise_is_malformed() -> None:
    """Frames that are not full before the last would show more than the rule allows."""
    request = opener()
    request.feed(frame(padded(1, b"one"), final=False), False)
    with pytest.raises(Malformed, match="padded"):
        request.feed(frame(padded(1, b"two"), index=1), True)


def test_a_frame_that_is_not_full_before_the_last_is_malformed() -> None:
    """The lengths may fit, and the data still be cut otherwise than the rule says."""
    size, request = MAX_PADDED_BYTES, opener()
    request.feed(frame(padded(1, bytes(size - 6), size), final=False), False)
    with pytest.raises(Malformed, match="not full"):
        request.feed(frame(padded(1, b"ab"), index=1), True)


def test_a_sealer_refuses_frames_after_its_final_one_and_data_beyond_its_size() -> None:
    """Mistakes of our own are refused too."""
    sealer = FrameSealer(KEYS)
    with pytest.raises(Malformed):
        sealer.seal(FrameKind.DATA, bytes(508), 512, final=True)
    sealer.seal(FrameKind.DATA, b"", 512, final=True)
    with pytest.raises(Malformed):
        sealer.seal(FrameKind.DATA, b"", 512, final=True)


@pytest.mark.parametrize(
    "direction", [request_keys(bytes(32), bytes(32)), response_keys(bytes(32), bytes(32), 1, bytes(32))]
)
def test_keys_never_appear_in_a_repr(direction: FrameKeys) -> None:
    """No log line that prints a value prints a key."""
    assert direction.salt.hex() not in repr(direction)
    assert repr(direction.salt) not in repr(direction)


def test_a_sealed_request_never_shows_its_content_key(gateway: GatewaySide) -> None:
    """The content key is left out of the repr."""
    request = gateway.seal()
    assert repr(request.cek) not in repr(request)


# ---- a whole response ------------------------------------------------------------------------------------------------


def begin(gateway: GatewaySide, method: Method = Method.INFER) -> tuple[Sent, ResponseSealer]:
    """A call under way and its response."""
    sent = gateway.send(gateway.seal(method=method))
    return sent, gateway.open(sent).response


def test_an_error_travels_under_the_seal(gateway: GatewaySide) -> None:
    """The worker's reason and text reach the sender, the status fits, and no data comes with it."""
    sent = gateway.send()
    opened = gateway.open(sent)
    frames = [opened.response.error("TENSOR_SHAPE", "shape is [2], want [1]")]
    frames = gateway.worker.answer(opened, b"", frames=frames, status=WorkerStatus.INVALID)
    for index, one in enumerate(frames):
        sent.wrapped.opener.feed(one, index == 1)
    answer = sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256)
    assert (answer.status, answer.data) == (WorkerStatus.INVALID, b"")
    assert answer.error is not None
    assert (answer.error.reason, answer.error.message) == ("TENSOR_SHAPE", "shape is [2], want [1]")


def test_a_stream_may_end_in_an_error_after_output(gateway: GatewaySide) -> None:
    """What was streamed before stays; the trailer says how it ended."""
    sent = gateway.send(gateway.seal(method=Method.STREAM))
    opened = gateway.open(sent)
    frames = [*opened.response.chunk(b"some", 1), opened.response.error("ENGINE_FAILED", "engine ended")]
    frames = gateway.worker.answer(opened, b"", frames=frames, status=WorkerStatus.ENGINE_FAILED)
    got = [sent.wrapped.opener.feed(one, index == 2) for index, one in enumerate(frames)]
    assert got[0] == (FrameKind.DATA, b"some")
    assert sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256).status is WorkerStatus.ENGINE_FAILED


def test_a_worker_cannot_seal_a_response_out_of_order(gateway: GatewaySide) -> None:
    """A message twice, a chunk in a unary response, an error after a message, a status that does not fit."""
    _, unary = begin(gateway)
    with pytest.raises(Malformed):
        unary.chunk(b"")
    with pytest.raises(Malformed):
        unary.trailer(WorkerStatus.OK, b"")
    unary.message(b"")
    for act in (
        lambda: unary.message(b""),
        lambda: unary.error("X", ""),
        lambda: unary.trailer(WorkerStatus.INVALID, b""),
    ):
        with pytest.raises(Malformed):
            act()
    _, stream = begin(gateway, Method.STREAM)
    stream.error("X", "")
    for act in (lambda: stream.chunk(b""), lambda: stream.error("X", ""), lambda: stream.trailer(WorkerStatus.OK, b"")):
        with pytest.raises(Malformed):
            act()


def forge(sent: Sent, gateway: GatewaySide, *plain: tuple[bytes, bool]) -> None:
    """Feeds the sender authentic frames of any form."""
    ref = sent.wrapped.ref
    keys = response_keys(gateway.session._prk, ref.session_id, ref.counter, ref.header_sha256)
    for index, (data, final) in enumerate(plain):
        sent.wrapped.opener.feed(frame(data, index=index, final=final, keys=keys), final)


DATA, ERROR = padded(1, b"data"), padded(2, cbor.encode({0: "X", 1: ""}))
TRAILER = padded(3, cbor.encode({0: 0, 1: b""}))
CHUNK = padded(1, ChunkWriter(512).write(b"x", 1)[0])


@pytest.mark.parametrize(
    ("method", "frames"),
    [
        (Method.INFER, [(DATA, True)]),
        (Method.INFER, [(DATA, False), (TRAILER, False)]),
        (Method.INFER, [(TRAILER, True)]),
        (Method.INFER, [(DATA, False), (ERROR, False), (TRAILER, True)]),
        (Method.INFER, [(ERROR, False), (ERROR, False)]),
        (Method.INFER, [(ERROR, False), (DATA, False)]),
        (Method.INFER, [(ERROR, False), (TRAILER, True)]),
        (Method.INFER, [(DATA, False), (padded(3, cbor.encode({0: 0, 1: b""}), 1024), True)]),
        (Method.INFER, [(DATA, False), (padded(3, cbor.encode({0: 9, 1: b""})), True)]),
        (Method.INFER, [(DATA, False), (padded(3, cbor.encode({0: 0})), True)]),
        (Method.INFER, [(padded(2, cbor.encode({0: "X"})), False)]),
        (Method.INFER, [(padded(1, b"", 1024), False), (TRAILER, True)]),
        (Method.STREAM, [(padded(1, ChunkWriter(512).write(b"x", 1)[0], 1024), False)]),
        (Method.STREAM, [(DATA, False)]),
        (Method.STREAM, [(padded(1, cbor.encode({0: 0, 1: bytes(32)})), False)]),
        (Method.STREAM, [(CHUNK, False), (ERROR, False), (CHUNK, False)]),
    ],
)
def test_a_response_out_of_order_is_malformed(
    gateway: GatewaySide, method: Method, frames: list[tuple[bytes, bool]]
) -> None:
    """Even a worker that holds the keys is held to the order of frames, and the response is over."""
    sent = gateway.send(gateway.seal(method=method))
    with pytest.raises(Malformed):
        forge(sent, gateway, *frames)
    assert not sent.wrapped.opener.complete
    with pytest.raises(Malformed, match="follows"):
        sent.wrapped.opener.feed(bytes(528), False)


def test_the_status_of_the_half_is_the_trailers(gateway: GatewaySide) -> None:
    """A worker does not say OK to the caller and something else to the receipt."""
    sent = gateway.send()
    frames = gateway.worker.answer(gateway.open(sent), b"", status=WorkerStatus.OK)
    assert receive(sent, frames) == b""
    sent = gateway.send()
    opened = gateway.open(sent)
    data = opened.response.message(b"")
    half = opened.half(
        worker_id=gateway.worker.keyset.worker_id, keyset_id=gateway.worker.keyset.keyset_id, binding_digest=bytes(32),
        engine_sha256=bytes(32), units=0, status=WorkerStatus.DEADLINE, started=0, ended=0, seq=0,
    )  # fmt: skip
    with pytest.raises(SealingError, match="status"):
        receive(sent, [*data, opened.response.trailer(WorkerStatus.OK, half.encode())])


def test_a_response_over_the_senders_limit_is_refused(gateway: GatewaySide) -> None:
    """A worker cannot fill its sender's memory."""
    request = gateway.seal()
    sent = gateway.send(request)
    wrapped = gateway.session.wrap(request, now=gateway.session._started, max_response_bytes=2)
    with pytest.raises(SealingError) as raised:
        forge(dataclasses.replace(sent, wrapped=wrapped), gateway, (DATA, False))
    assert raised.value.reason is Reason.RESPONSE_TOO_LARGE


# ---- chunks ----------------------------------------------------------------------------------------------------------


def test_a_chunk_fits_its_frame_at_any_offset() -> None:
    """The largest chunk at the largest token offset still fits 512 bytes."""
    writer = ChunkWriter(512)
    writer._tokens = (1 << 64) - 1
    chunks = writer.write(bytes(chunk_capacity(512) * 2 + 1), 0)
    assert len(chunks) == 3
    assert max(len(chunk) for chunk in chunks) <= 512 - 5


def test_a_chunk_whose_running_hash_differs_diverges() -> None:
    """A chunk dropped or replaced inside the worker shows at the next one."""
    first, second = (ChunkWriter(512).write(output, 1) for output in (b"a", b"b"))
    reader = ChunkReader()
    assert reader.read(first[0]) == b"a"
    with pytest.raises(SealingError) as raised:
        reader.read(second[0])
    assert raised.value.reason is Reason.STREAM_DIVERGED


def test_token_offsets_never_fall() -> None:
    """An offset below the last one is malformed."""
    writer, reader = ChunkWriter(512), ChunkReader()
    chunks = [*writer.write(b"ab", 2), *writer.write(b"c", 1)]
    items = cbor.decode(chunks[1])
    assert isinstance(items, dict)
    assert items[0] == 2
    reader.read(chunks[0])
    reader.read(chunks[1])
    with pytest.raises(Malformed, match="token_offset"):
        reader.read(cbor.encode({**items, 0: 1}))


def test_a_frame_of_the_other_direction_does_not_open(gateway: GatewaySide) -> None:
    """A request frame sent back as an answer is tampering."""
    sent = gateway.send()
    with pytest.raises(Tampered):
        sent.wrapped.opener.feed(sent.call.frame, False)
