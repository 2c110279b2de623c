# SPDX-License-Identifier: Apache-2.0
"""The sealed response of one worker to one attempt (docs/spec.md, 7).

    INFER   data+ trailer  |  error trailer                padded as one message
    STREAM  data* trailer  |  data* error trailer           every frame one quantum, its data a chunk (`stream`)
    error   = CBOR {0: reason tstr, 1: message tstr}        one quantum
    trailer = CBOR {0: status, 1: worker half}              one quantum, the only final frame

The keys come from the session with that one worker, so no other worker and no gateway can make the answer. The
worker's half rides inside as the last frame: it cannot be withheld from whoever got the answer. Refused beside what
`frames` refuses: another order of frames, a status that does not fit them, and a half that is not about this call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from attestation.codec import cbor
from attestation.codec.fields import numbered, octets, text
from attestation.errors import Malformed, Reason, SealingError, Truncated
from attestation.sealing.frames import FrameKind, FrameOpener, FrameSealer, OpenedFrame, Transcript, check_layout
from attestation.sealing.halves import WorkerHalf, WorkerStatus, code
from attestation.sealing.header import Header, Method
from attestation.sealing.schedule import FrameKeys
from attestation.sealing.stream import ChunkReader, ChunkWriter

MAX_REASON_CHARACTERS: Final = 64
MAX_MESSAGE_TEXT_BYTES: Final = 400


class ResponseSealer:
    """Seals one response in order; what it refuses is a mistake of the worker's own code."""

    __slots__ = ("_chunks", "_failed", "_method", "_quantum", "_sealer", "_sent")

    def __init__(self, keys: FrameKeys, *, method: Method, quantum: int) -> None:
        self._sealer = FrameSealer(keys)
        self._chunks = ChunkWriter(quantum)
        self._method = method
        self._quantum = quantum
        self._sent = False
        self._failed = False

    def message(self, data: bytes) -> list[bytes]:
        """All data frames of a unary answer."""
        self._require(self._method is Method.INFER and not self._sent, "a second message or a message in a stream")
        self._sent = True
        return self._sealer.message(data, self._quantum, final=False)

    def chunk(self, output: bytes, tokens: int = 0) -> list[bytes]:
        """The frames of the next output of a stream, which completes `tokens` tokens; one empty frame for no output."""
        self._require(self._method is Method.STREAM, "a chunk in a unary response")
        return [
            self._sealer.seal(FrameKind.DATA, data, self._quantum, final=False)
            for data in self._chunks.write(output, tokens)
        ]

    def error(self, reason: str, message: str) -> bytes:
        """The frame that says why there is no answer, or no more of it. Long messages are cut, not refused."""
        self._require(not (self._method is Method.INFER and self._sent), "an error after a unary message")
        self._failed = True
        short = message.encode()[:MAX_MESSAGE_TEXT_BYTES].decode(errors="ignore")
        data = cbor.encode({0: text(reason, "error.reason", MAX_REASON_CHARACTERS), 1: short})
        return self._sealer.seal(FrameKind.ERROR, data, self._quantum, final=False)

    def transcript(self) -> Transcript:
        """What the worker's half says of the response: its frames so far, all but the trailer."""
        return self._sealer.transcript()

    def trailer(self, status: WorkerStatus, half: bytes) -> bytes:
        """The final frame. `half` is the encoded worker half; its signature follows later, outside the seal."""
        unary = self._method is Method.INFER
        if (status is WorkerStatus.OK) == self._failed or (unary and self._sent != (status is WorkerStatus.OK)):
            raise Malformed(f"trailer status is {int(status)}, which does not fit the frames before it")
        data = cbor.encode({0: int(status), 1: half})
        return self._sealer.seal(FrameKind.TRAILER, data, self._quantum, final=True)

    def _require(self, allowed: bool, what: str) -> None:
        if self._failed or not allowed:
            raise Malformed(f"response has {what}, or a frame after an error")


class Frame(NamedTuple):
    """What one response frame gave the sender: output bytes for data, empty bytes for the rest."""

    kind: FrameKind
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerError:
    """Why a worker gave no answer, in its words: a reason code and a text, both from inside the seal."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete response. `data` is the whole plaintext of a unary answer and empty for a stream."""

    status: WorkerStatus
    half: WorkerHalf
    half_bytes: bytes
    data: bytes
    error: AnswerError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the sender knows of the half before it sees it."""

    worker_id: bytes
    keyset_id: bytes
    header: Header
    request: Callable[[], Transcript]


class ResponseOpener:
    """Opens the frames of one response as they arrive."""

    __slots__ = ("_chunks", "_error", "_expected", "_frames", "_half", "_opener", "_received", "_status")

    def __init__(self, keys: FrameKeys, *, expected: Expected, max_bytes: int) -> None:
        self._opener = FrameOpener(keys, name="response", max_bytes=max_bytes, too_large=Reason.RESPONSE_TOO_LARGE)
        self._expected = expected
        self._chunks = ChunkReader()
        self._frames: list[OpenedFrame] = []
        self._received = 0
        self._error: AnswerError | None = None
        self._status: WorkerStatus | None = None
        self._half = b""

    @property
    def complete(self) -> bool:
        """True once the trailer was opened."""
        return self._status is not None

    def feed(self, frame: bytes, final: bool) -> Frame:
        """The next frame's kind and, for data, its output bytes.

        Raises:
            Malformed, Tampered, SealingError: see `FrameOpener.open` and the module; the response is over.
        """
        opened = self._opener.open(frame, final=final)
        try:
            data = self._accept(opened, final)
        except SealingError:
            self._opener.close()
            raise
        self._received += 1
        return Frame(opened.kind, data)

    def finish(self, *, dispatch_sha256: bytes) -> Answer:
        """The whole answer, its half checked against all the sender knows.

        Raises:
            Truncated: no trailer came.
            SealingError: the half is about another call, worker or transcript (RECEIPT_INVALID).
        """
        if self._status is None:
            message = f"response ended after {self._received} frames without its trailer"
            raise Truncated(Reason.TRUNCATED, message)
        half = WorkerHalf.decode(self._half)
        self._check_half(half, dispatch_sha256)
        data = self._frames[0].data if len(self._frames) == 1 else b"".join(frame.data for frame in self._frames)
        return Answer(status=self._status, half=half, half_bytes=self._half, data=data, error=self._error)

    def _accept(self, opened: OpenedFrame, final: bool) -> bytes:
        if final != (opened.kind is FrameKind.TRAILER):
            raise Malformed(f"response frame has kind {int(opened.kind)}, want 3 in the final frame and only there")
        limits = self._expected.header.limits
        unary_data = limits.method is Method.INFER and opened.kind is FrameKind.DATA
        if not unary_data and opened.size != limits.resp_quantum:
            raise Malformed(f"response frame is padded to {opened.size}, want {limits.resp_quantum}")
        if opened.kind is FrameKind.TRAILER:
            self._accept_trailer(opened)
        elif self._error is not None:
            raise Malformed("response has a frame between its error and its trailer")
        elif opened.kind is FrameKind.ERROR:
            self._error = _decode_error(opened.data)
        elif not unary_data:
            return self._chunks.read(opened.data)
        else:
            self._frames.append(opened)
            return opened.data
        return b""

    def _accept_trailer(self, opened: OpenedFrame) -> None:
        items = numbered(cbor.decode(opened.data), "trailer", 2)
        status = code(items[0], WorkerStatus, "trailer.status")
        ok = status is WorkerStatus.OK
        unary = self._expected.header.limits.method is Method.INFER
        if ok == (self._error is not None) or (unary and ok != bool(self._frames)):
            raise Malformed(f"trailer.status is {int(status)}, which does not fit the frames before it")
        if self._frames:
            check_layout(self._frames, self._expected.header.limits.resp_quantum, "response")
        self._half = octets(items[1], "trailer.worker_half")
        self._status = status

    def _check_half(self, half: WorkerHalf, dispatch_sha256: bytes) -> None:
        request, response = self._expected.request(), self._opener.transcript()
        _same(half, "worker_id", self._expected.worker_id)
        _same(half, "keyset_id", self._expected.keyset_id)
        _same(half, "dispatch_sha256", dispatch_sha256)
        _same(half, "header_sha256", self._expected.header.digest)
        _same(half, "req_ct", request.ct_sha256)
        _same(half, "req_commit", request.commit)
        _same(half, "resp_ct", response.ct_sha256)
        _same(half, "resp_commit", response.commit)
        if half.status is not self._status:
            raise _wrong_half("status")


def _decode_error(data: bytes) -> AnswerError:
    items = numbered(cbor.decode(data), "error", 2)
    reason = text(items[0], "error.reason", MAX_REASON_CHARACTERS)
    return AnswerError(reason=reason, message=text(items[1], "error.message", MAX_MESSAGE_TEXT_BYTES))


def _same(half: WorkerHalf, name: str, want: bytes) -> None:
    if getattr(half, name) != want:
        raise _wrong_half(name)


def _wrong_half(name: str) -> SealingError:
    return SealingError(Reason.RECEIPT_INVALID, f"worker_half.{name} is not that of this call")
