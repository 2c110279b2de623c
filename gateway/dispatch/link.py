# SPDX-License-Identifier: Apache-2.0
"""One link to one worker: bytes in, bytes out, whoever dialled (docs/spec.md, 11).

    first frame each way: hello      then, in any order and for many calls at once
    gateway  Call CallFrames Cancel HalvesKept          worker  Answer CallFailed HalfBatch Draining Models

The transport authenticated the worker before a link exists; its hello must name the same one. A frame that breaks the
protocol ends the link; what is wrong with one call ends that call. Messages of both directions have the same bytes
whichever side opened the stream, so a link knows neither channel nor server. What waits to be written is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import Malformed, NotGenuine, Reason
from attestation.rpc.duplex import in_parts, run_both, together
from gateway.dispatch.catalog import MAX_MODELS, ServedModel, read_model
from gateway.dispatch.exchange import Exchange
from gateway.dispatch.sessions import ControlSession
from gateway.errors import WorkerFailed
from gateway.receipts.arrival import HalfArrival

MAX_QUEUED_BYTES: Final = 64 << 20
MAX_UNKEPT_HALVES: Final = 1 << 17
"""Twice what a worker may keep for one gateway; one that sends more is not one of ours."""


_KEPT_PER_MESSAGE: Final = 4096
_SERIALS: Final = count(1)


class LinkOwner(Protocol):
    """Who is told what a worker says beyond its answers."""

    def greeted(self, link: "Link", models: Sequence[ServedModel]) -> None:
        """The worker said hello, or replaced its models; calls may be made."""
        ...

    def drained(self, link: "Link") -> None:
        """The worker takes no new calls on this link."""
        ...

    def halves(self, link: "Link", arrival: HalfArrival) -> None:
        """A signed batch of halves came."""
        ...


class Link:
    """The gateway's end of one link. `receive` takes messages, `next` gives those to send, `close` ends it."""

    def __init__(
        self, *, worker_id: bytes, receipt_key: bytes, gateway_id: bytes, owner: LinkOwner, dialled: bool
    ) -> None:
        """`dialled` is True when this gateway opened the link, and so speaks first."""
        self.serial: Final = next(_SERIALS)
        self.worker_id: Final = worker_id
        self._receipt_key = receipt_key
        self._gateway_id = gateway_id
        self._owner = owner
        self._exchanges: dict[int, Exchange] = {}
        self._calls = count(1)
        self._out: deque[bytes] = deque()
        self._queued = 0
        self._unkept = 0
        self._spoken = False
        self._greeted = False
        self._draining = False
        self._closed = False
        self._wake: asyncio.Future[None] | None = None
        if dialled:
            self._speak()

    @property
    def ready(self) -> bool:
        """True while the worker takes new calls."""
        return self._greeted and not self._draining and not self._closed

    @property
    def closed(self) -> bool:
        """True once the link has ended."""
        return self._closed

    def check_room(self) -> None:
        """Whether a call may be queued: asked before anything is made for it.

        Raises:
            WorkerFailed: WORKER_OVERLOADED, the worker does not read.
        """
        if self._queued > MAX_QUEUED_BYTES:
            message = f"bytes waiting for the worker are {self._queued}, want at most {MAX_QUEUED_BYTES}"
            raise WorkerFailed(Reason.WORKER_OVERLOADED, message)

    def start(
        self,
        exchange: Exchange,
        *,
        header: bytes,
        frames: Sequence[bytes],
        session: ControlSession,
        counter: int,
        wrap: bytes,
        tag: bytes,
        memo: bytes,
    ) -> None:
        """Sends a call, for which `check_room` found room. Its answer goes to `exchange`."""
        exchange.call_id = next(self._calls)
        first, *rest = in_parts(frames)
        message_out = pb.LinkRequest()
        call = message_out.frames.add().call
        call.call_id = exchange.call_id
        call.header = header
        call.session_id = session.session_id
        if not session.held_on(self.serial):
            call.session.info = session.info
            call.session.ciphertext = session.ciphertext
            call.session.grant = session.grant
        call.counter = counter
        call.wrap = wrap
        call.dispatch = exchange.dispatch
        call.dispatch_tag = tag
        call.frames.extend(first)
        call.final = not rest
        call.memo = memo
        self._exchanges[exchange.call_id] = exchange
        self._send(message_out)
        for index, part in enumerate(rest, start=1):
            more = pb.LinkRequest()
            following = more.frames.add().call_frames
            following.call_id = exchange.call_id
            following.frames.extend(part)
            following.final = index == len(rest)
            self._send(more)

    def cancel(self, call_id: int) -> None:
        """Tells the worker to end a call early."""
        message = pb.LinkRequest()
        message.frames.add().cancel.call_id = call_id
        self._send(message)

    def forget(self, call_id: int) -> None:
        """Drops what still comes for a call."""
        self._exchanges.pop(call_id, None)

    def keep(self, digests: Sequence[bytes]) -> None:
        """Tells the worker that these halves are durable."""
        self._unkept = max(0, self._unkept - len(digests))
        for start in range(0, len(digests), _KEPT_PER_MESSAGE):
            message = pb.LinkRequest()
            message.frames.add().halves_kept.half_sha256.extend(digests[start : start + _KEPT_PER_MESSAGE])
            self._send(message)

    def receive(self, data: bytes) -> None:
        """Takes one message of the worker.

        Raises:
            Malformed, NotGenuine: the link must end; its calls end with it.
        """
        try:
            frames = pb.LinkResponse.FromString(data).frames
        except DecodeError:
            raise Malformed("link message does not parse") from None
        for frame in frames:
            self._take(frame)

    def _take(self, frame: pb.WorkerFrame) -> None:
        kind = frame.WhichOneof("kind")
        if (kind == "hello") == self._greeted:
            raise Malformed(f"link frame is {kind or 'of no known kind'}, want one hello and that first")
        if kind == "answer":
            self._answer(frame.answer)
        elif kind == "half_batch":
            self._half_batch(frame.half_batch)
        elif kind == "call_failed":
            self._failed(frame.call_failed)
        elif kind == "draining":
            self._draining = True
            self._owner.drained(self)
        elif kind == "models":
            self._owner.greeted(self, _models(frame.models.models))
        elif kind == "hello":
            self._greet(frame.hello)
        else:
            raise Malformed("link frame is of no known kind, want one of this version")

    async def next(self) -> bytes | None:
        """The next message to send; waits for one. None when the link is closed."""
        while not self._out:
            if self._closed:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        data = together(self._out)
        self._queued -= len(data)
        return data

    def close(self) -> None:
        """Ends the link and with it every call that has no answer yet."""
        if self._closed:
            return
        self._closed = True
        self._out.clear()
        self._queued = 0
        for exchange in list(self._exchanges.values()):
            exchange.fail(WorkerFailed(Reason.WORKER_FAILED, "link to the worker was lost"))
        self._exchanges.clear()
        self._stir()

    def exchanges(self) -> tuple[Exchange, ...]:
        """The calls under way."""
        return tuple(self._exchanges.values())

    def _speak(self) -> None:
        self._spoken = True
        message = pb.LinkRequest()
        message.frames.add().hello.gateway_id = self._gateway_id
        self._send(message)

    def _greet(self, hello: pb.WorkerHello) -> None:
        if hello.worker_id != self.worker_id:
            message = f"hello.worker_id is not {self.worker_id.hex()}, whose certificate opened the link"
            raise NotGenuine(Reason.UNAUTHENTICATED, message)
        models = _models(hello.models)
        self._greeted = True
        if not self._spoken:
            self._speak()
        self._owner.greeted(self, models)

    def _answer(self, answer: pb.Answer) -> None:
        exchange = self._exchanges.get(answer.call_id)
        if exchange is not None:
            exchange.receive(answer.frames, final=answer.final)

    def _failed(self, failed: pb.CallFailed) -> None:
        exchange = self._exchanges.get(failed.call_id)
        if exchange is not None:
            exchange.refuse(failed.signed_error, failed.reason)

    def _half_batch(self, batch: pb.HalfBatch) -> None:
        self._unkept += len(batch.halves)
        if self._unkept > MAX_UNKEPT_HALVES:
            raise Malformed(f"halves not yet durable are {self._unkept}, want at most {MAX_UNKEPT_HALVES}")
        arrival = HalfArrival(
            worker_id=self.worker_id,
            receipt_key=self._receipt_key,
            cose=batch.root_signature,
            leaves=tuple(batch.leaves),
            halves=[(half.position, half.half, half.memo) for half in batch.halves],
        )
        self._owner.halves(self, arrival)

    def _send(self, message: pb.LinkRequest) -> None:
        if self._closed:
            return
        data = message.SerializeToString()
        self._out.append(data)
        self._queued += len(data)
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def pump(
    link: Link, *, read: Callable[[], Awaitable[bytes | None]], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Moves messages both ways until either side ends, then closes the link. `read` gives None at the end.

    Raises:
        SealbidError: the worker broke the protocol.
    """

    async def incoming() -> None:
        while (data := await read()) is not None:
            link.receive(data)

    async def outgoing() -> None:
        while (data := await link.next()) is not None:
            await write(data)

    await run_both(incoming(), outgoing(), close=link.close)


def _models(models: Iterable[pb.Model]) -> list[ServedModel]:
    listed = list(models)
    if len(listed) > MAX_MODELS:
        raise Malformed(f"hello.models are {len(listed)}, want at most {MAX_MODELS}")
    return [
        read_model(name=model.name, engine_sha256=model.engine_sha256, config=model.config, streams=model.streams)
        for model in listed
    ]
