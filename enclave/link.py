# SPDX-License-Identifier: Apache-2.0
"""One link between this worker and one gateway: frames in, frames out, whoever dialled (docs/spec.md, 11).

    first frame each way: hello      then, in any order and for many calls at once
    gateway  Call CallFrames Cancel HalvesKept          worker  Answer CallFailed HalfBatch Draining

The transport has authenticated the gateway before a link exists; the hello must name the same one. What breaks the
protocol (no hello, a second one, an unknown kind of frame, a call id in use) ends the link; what is wrong with one call
ends that call. Nothing here grows without bound: calls, bytes of requests not yet answered, and bytes waiting to be
read all have limits, and reading pauses while the gateway does not read.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sealbid_oip.messages import ModelConfigResponse
from sealbid_oip.spec import model_config, model_metadata
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, NotGenuine, Reason, SealbidError, SealingError
from attestation.rpc.duplex import in_parts, run_both, together
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import MAX_FRAME_BYTES
from attestation.sealing.incoming import IncomingCall
from enclave.calls import Call
from enclave.gateways import KnownGateway
from enclave.halves import MAX_MEMO_BYTES, Half
from enclave.served import ServedModel
from enclave.worker import Worker

MAX_MESSAGE_BYTES: Final = 8 << 20
"""What one received message may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """Bounds of one link."""

    max_calls: int
    max_held_bytes: int
    """Request bytes of calls not yet answered."""
    max_queued_bytes: int
    """Bytes not yet read by the gateway at which reading pauses and streams wait."""


class Link:
    """The worker's end of one link. `receive` takes frames, `next` gives those to send, `close` ends it."""

    def __init__(
        self, *, gateway: KnownGateway, worker: Worker, limits: LinkLimits, clock: Callable[[], datetime], dialled: bool
    ) -> None:
        """`dialled` is True when this worker opened the link, and so speaks first."""
        self.gateway: Final = gateway
        self._worker = worker
        self._limits = limits
        self._clock = clock
        self._transport = GrantedTransport(gateway_id=gateway.gateway_id, gateway_key=gateway.signing_key)
        self._grant = b""
        self._calls: dict[int, _Line] = {}
        self._held = 0
        self._out: deque[bytes] = deque()
        self._queued = 0
        self._again: Iterator[list[Half]] = iter(())
        self._greeted = False
        self._spoken = False
        self._closed = False
        self._wake = asyncio.Event()
        self._roomy = asyncio.Event()
        self._roomy.set()
        if dialled:
            self._speak()

    @property
    def congested(self) -> bool:
        """True while the gateway does not read what is sent."""
        return self._queued > self._limits.max_queued_bytes

    def receive(self, frame: pb.GatewayFrame) -> None:
        """Takes one frame of the gateway.

        Raises:
            Malformed, NotGenuine: the link must end; the calls of the link end with it.
        """
        kind = frame.WhichOneof("kind")
        if (kind == "hello") == self._greeted:
            raise Malformed(f"link frame is {kind or 'of no known kind'}, want one hello and that first")
        if kind == "call":
            self._begin(frame.call)
        elif kind == "call_frames":
            self._feed(frame.call_frames)
        elif kind == "cancel":
            self._cancel(frame.cancel.call_id)
        elif kind == "halves_kept":
            self._worker.confirm(self.gateway.gateway_id, frame.halves_kept.half_sha256)
        elif kind == "hello":
            self._greet(frame.hello)
        else:
            raise Malformed("link frame is of no known kind, want one of this version")

    async def next(self) -> bytes | None:
        """The next message to send; waits for one. None when the link is closed.

        `LinkResponse` and `AttachRequest` have the same bytes, so it serves whichever side opened the stream.
        """
        while not self._closed:
            if self._out:
                data = together(self._out)
                self._queued -= len(data)
                if not self.congested:
                    self._roomy.set()
                return data
            halves = next(self._again, None)
            if halves is not None:
                return _half_batch(halves, with_memo=True).SerializeToString()
            self._wake.clear()
            await self._wake.wait()
        return None

    async def room(self) -> None:
        """Returns once the gateway has read enough for more to be taken from it."""
        while self.congested and not self._closed:
            self._roomy.clear()
            await self._roomy.wait()

    def close(self) -> None:
        """Ends the link: its calls are cancelled, their halves wait for the gateway's next hello."""
        if self._closed:
            return
        self._closed = True
        self._worker.detach(self.gateway.gateway_id, self)
        for line in list(self._calls.values()):
            line.stop(WorkerStatus.CANCELLED)
        self._calls.clear()
        self._out.clear()
        self._wake.set()
        self._roomy.set()

    def deliver(self, halves: Sequence[Half], *, with_memo: bool) -> None:
        """Sends signed halves of one batch."""
        self._send(_half_batch(halves, with_memo=with_memo))

    def announce_draining(self) -> None:
        """Says that no new calls are taken."""
        message = pb.LinkResponse()
        message.frames.add().draining.SetInParent()
        self._send(message)

    def answer(self, call_id: int, frames: Sequence[bytes], *, final: bool) -> None:
        """Sends response frames, a few MiB to a message."""
        if final:
            self._forget(call_id)
        parts = in_parts(frames)
        for index, part in enumerate(parts, start=1):
            message = pb.LinkResponse()
            answer = message.frames.add().answer  # filled in place: handing a message to another would copy every frame
            answer.call_id = call_id
            answer.frames.extend(part)
            answer.final = final and index == len(parts)
            self._send(message)

    def fail(self, call_id: int, reason: Reason, signed_error: bytes = b"") -> None:
        """Says that a call ended before anything could be sealed for it."""
        self._forget(call_id)
        message = pb.LinkResponse()
        failed = message.frames.add().call_failed
        failed.call_id = call_id
        failed.signed_error = signed_error
        failed.reason = reason.value
        self._send(message)

    def _greet(self, hello: pb.GatewayHello) -> None:
        if hello.gateway_id != self.gateway.gateway_id:
            message = f"hello.gateway_id is not {self.gateway.gateway_id.hex()}, whose certificate opened the link"
            raise NotGenuine(Reason.UNAUTHENTICATED, message)
        self._greeted = True
        if not self._spoken:
            self._speak()
        self._again = self._worker.attach(self.gateway.gateway_id, self)
        if self._worker.draining:
            self.announce_draining()
        self._wake.set()

    def _speak(self) -> None:
        self._spoken = True
        message = pb.LinkResponse()
        hello = message.frames.add().hello
        hello.worker_id = self._worker.custody.worker_id
        hello.models.extend(map(_model, self._worker.models.values()))
        self._send(message)

    def _begin(self, message: pb.Call) -> None:
        if message.call_id in self._calls:
            raise Malformed("call.call_id is in use, want one unique on this link")
        line = _Line(self, message.call_id)
        try:
            self._admit(line, message)
        except SealbidError as error:
            self._refuse(message, error)

    def _admit(self, line: "_Line", message: pb.Call) -> None:
        incoming = _incoming(message)
        if len(self._calls) >= self._limits.max_calls:
            raise SealingError(Reason.WORKER_OVERLOADED, f"calls on this link are {len(self._calls)}, want fewer")
        self._admit_grant(message.session.grant)
        self._calls[message.call_id] = line
        self._hold(line, message.frames)
        line.call = self._worker.begin(incoming, transport=self._transport, memo=message.memo, line=line, link=self)
        if len(message.frames) > 1:
            line.call.feed(message.frames[1:], final=message.final)

    def _admit_grant(self, grant: bytes) -> None:
        """A grant rides on every call until the first answer; the same bytes are verified once."""
        if grant and grant != self._grant:
            self._transport.admit(grant, now=self._clock())
            self._grant = grant

    def _refuse(self, message: pb.Call, error: SealbidError) -> None:
        header_sha256 = labelled_sha256("request", message.header)
        signed = self._worker.refusal(error.reason, session_id=message.session_id, header_sha256=header_sha256)
        self.fail(message.call_id, error.reason, signed)

    def _feed(self, message: pb.CallFrames) -> None:
        """Frames of a call that has ended are dropped: its end crossed them on the way."""
        line = self._calls.get(message.call_id)
        if line is None or line.call is None:
            return
        try:
            self._hold(line, message.frames)
        except SealingError as error:
            line.call.reject(error.reason)
            return
        line.call.feed(message.frames, final=message.final)

    def _cancel(self, call_id: int) -> None:
        line = self._calls.get(call_id)
        if line is not None:
            line.stop(WorkerStatus.CANCELLED)

    def _hold(self, line: "_Line", frames: Sequence[bytes]) -> None:
        size = sum(map(len, frames))
        if self._held + size > self._limits.max_held_bytes:
            raise SealingError(Reason.WORKER_OVERLOADED, f"requests on this link hold {self._held} bytes, want fewer")
        self._held += size
        line.held += size

    def _forget(self, call_id: int) -> None:
        line = self._calls.pop(call_id, None)
        if line is not None:
            self._held -= line.held

    def _send(self, message: pb.LinkResponse) -> None:
        if self._closed:
            return
        data = message.SerializeToString()
        self._out.append(data)
        self._queued += len(data)
        self._wake.set()


class _Line:
    """One call's place on its link."""

    __slots__ = ("_call_id", "_link", "call", "held")

    def __init__(self, link: Link, call_id: int) -> None:
        self._link = link
        self._call_id = call_id
        self.call: Call | None = None
        self.held = 0

    @property
    def congested(self) -> bool:
        return self._link.congested

    def answer(self, frames: Sequence[bytes], *, final: bool) -> None:
        self._link.answer(self._call_id, frames, final=final)

    def fail(self, reason: Reason) -> None:
        self._link.fail(self._call_id, reason)

    def stop(self, status: WorkerStatus) -> None:
        if self.call is not None:
            self.call.stop(status)


async def pump(
    link: Link,
    *,
    read: Callable[[], Awaitable[Iterable[pb.GatewayFrame] | None]],
    write: Callable[[bytes], Awaitable[None]],
) -> None:
    """Moves frames both ways until either side ends; closes the link. `read` gives None at the end.

    Raises:
        SealbidError: the gateway broke the protocol.
    """

    async def incoming() -> None:
        while (frames := await read()) is not None:
            for frame in frames:
                link.receive(frame)
            if link.congested:
                await link.room()

    async def outgoing() -> None:
        while (data := await link.next()) is not None:
            await write(data)

    await run_both(incoming(), outgoing(), close=link.close)


def _incoming(message: pb.Call) -> IncomingCall:
    """The call's parts, after the sizes that no later parser bounds."""
    if len(message.memo) > MAX_MEMO_BYTES:
        raise Malformed(f"call.memo has {len(message.memo)} bytes, want at most {MAX_MEMO_BYTES}")
    if not message.frames or any(len(frame) > MAX_FRAME_BYTES for frame in message.frames):
        raise Malformed(f"call.frames are {len(message.frames)}, want at least one and each at most {MAX_FRAME_BYTES}")
    return IncomingCall(
        session_id=message.session_id,
        info=message.session.info,
        ct=message.session.ciphertext,
        header=message.header,
        counter=message.counter,
        wrap=message.wrap,
        dispatch=message.dispatch,
        tag=message.dispatch_tag,
        frame=message.frames[0],
        final=message.final and len(message.frames) == 1,
    )


def _half_batch(halves: Sequence[Half], *, with_memo: bool) -> pb.LinkResponse:
    root = halves[0].root
    if root is None:
        raise ValueError("half is delivered before its batch is signed")
    message = pb.LinkResponse()
    batch = message.frames.add().half_batch
    batch.root_signature = root.signature
    batch.leaves.extend(root.leaves)
    for half in halves:
        batch.halves.add(position=half.position, half=half.encoded, memo=half.memo if with_memo else b"")
    return message


def _model(model: ServedModel) -> pb.Model:
    return pb.Model(
        name=model.name,
        engine_sha256=model.engine_sha256,
        metadata=model_metadata(model.spec).SerializeToString(),
        config=ModelConfigResponse(config=model_config(model.spec)).SerializeToString(),
        streams=model.spec.decoupled,
    )
