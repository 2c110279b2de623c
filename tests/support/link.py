# SPDX-License-Identifier: Apache-2.0
"""A gateway's end of the worker link over real sockets, in either direction, made of the sender's side of sealing.

It does what a gateway does and, where a test asks, what one must not do: every message can be changed before it goes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import grpc
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sealbid_oip.codec import encode_request
from sealbid_wire.worker.v1 import worker_pb2 as pb
from sealbid_wire.worker.v1 import worker_pb2_grpc
from typing_extensions import override

from attestation.binding import SuiteID
from attestation.codec.labels import sha256
from attestation.identity import gateway_id_of
from attestation.rpc.pinning import (
    GATEWAY_NAME,
    WORKER_NAME,
    channel_credentials,
    channel_options,
    make_identity,
    peer_spki,
    server_credentials,
    server_options,
)
from attestation.sealing.header import Method, RequestLimits
from attestation.sealing.request import SealedRequest, seal_request
from attestation.sealing.response import Answer
from attestation.sealing.session import Role, SenderSession, WrappedCall
from enclave.dialling import Dialler
from enclave.gateways import KnownGateway
from enclave.listening import MESSAGE_OPTIONS
from tests.support.sealing import RecordingGuard
from tests.support.worker import Workplace

SECONDS = 20
"""How long anything may take before a test counts as hung."""


def add_one_request(rows: int = 1, columns: int = 3) -> bytes:
    """A request the `add-one` model answers."""
    x = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    return encode_request("add-one", {"x": x}).SerializeToString()


def prompt_request(prompt: bytes = b"hello", **parameters: int) -> bytes:
    """A request the `tiny` model answers."""
    text = np.array([prompt], np.object_)
    return encode_request("tiny", {"prompt": text}, parameters=parameters).SerializeToString()


async def until(holds: Callable[[], bool]) -> None:
    """Waits for something another task brings about without saying so."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass(kw_only=True)
class Sent:
    """One attempt on its way, with what opens its answer and what came back."""

    call: pb.Call
    request: SealedRequest
    wrapped: WrappedCall
    dispatch_sha256: bytes
    output: bytearray = field(default_factory=bytearray)
    failed: pb.CallFailed | None = None
    frames: list[bytes] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self) -> Answer:
        """The opened answer, checked against everything the sender knows."""
        await self.end()
        assert self.failed is None, f"call failed: {self.failed}"
        return self.wrapped.opener.finish(dispatch_sha256=self.dispatch_sha256)

    async def failure(self) -> pb.CallFailed:
        """How the call failed before anything was sealed for it."""
        await self.end()
        assert self.failed is not None, "call was answered"
        return self.failed

    async def end(self) -> None:
        """Waits for whatever ends the call."""
        async with asyncio.timeout(SECONDS):
            await self.done.wait()

    async def some_output(self) -> None:
        """Waits for a frame of a stream."""
        async with asyncio.timeout(SECONDS):
            await self.moved.wait()

    def take(self, answer: pb.Answer) -> None:
        """Feeds response frames to the opener."""
        self.frames.extend(answer.frames)
        for index, frame in enumerate(answer.frames):
            last = answer.final and index == len(answer.frames) - 1
            self.output += self.wrapped.opener.feed(frame, last).data
        self.moved.set()
        if answer.final:
            self.done.set()


class PeerLink:
    """One open link as the gateway sees it."""

    def __init__(self, peer: "GatewayPeer", write: Callable[[pb.GatewayFrame], Awaitable[None]]) -> None:
        self.peer = peer
        self.write = write
        self.sent: dict[int, Sent] = {}
        self.hello: asyncio.Future[pb.WorkerHello] = asyncio.get_running_loop().create_future()
        self.batches: asyncio.Queue[pb.HalfBatch] = asyncio.Queue()
        self.draining = asyncio.Event()
        self.ended: asyncio.Future[grpc.StatusCode | None] = asyncio.get_running_loop().create_future()

    async def greet(self, gateway_id: bytes | None = None) -> pb.WorkerHello:
        """Says hello and waits for the worker's."""
        hello = pb.GatewayHello(gateway_id=gateway_id or self.peer.gateway_id)
        await self.write(pb.GatewayFrame(hello=hello))
        async with asyncio.timeout(SECONDS):
            return await asyncio.shield(self.hello)

    async def send(self, sent: Sent) -> Sent:
        """Sends a prepared call as it is."""
        self.sent[sent.call.call_id] = sent
        await self.write(pb.GatewayFrame(call=sent.call))
        return sent

    async def call(self, plaintext: bytes | None = None, /, **changes: object) -> Sent:
        """Prepares and sends a call; see `GatewayPeer.prepare`."""
        return await self.send(self.peer.prepare(plaintext, **changes))  # type: ignore[arg-type]

    async def cancel(self, sent: Sent) -> None:
        """Cancels a call."""
        await self.write(pb.GatewayFrame(cancel=pb.Cancel(call_id=sent.call.call_id)))

    async def confirm(self, *halves: bytes) -> None:
        """Confirms halves as durable."""
        kept = pb.HalvesKept(half_sha256=[sha256(half) for half in halves])
        await self.write(pb.GatewayFrame(halves_kept=kept))

    async def batch(self) -> pb.HalfBatch:
        """The next signed batch."""
        async with asyncio.timeout(SECONDS):
            return await self.batches.get()

    async def end(self) -> grpc.StatusCode | None:
        """Waits until the worker has ended the link; its status, if the worker is the server."""
        async with asyncio.timeout(SECONDS):
            return await asyncio.shield(self.ended)

    def take(self, frame: pb.WorkerFrame) -> None:
        """What the worker sent."""
        kind = frame.WhichOneof("kind")
        if kind == "hello":
            self.hello.set_result(frame.hello)
        elif kind == "answer":
            self.sent[frame.answer.call_id].take(frame.answer)
        elif kind == "call_failed":
            sent = self.sent[frame.call_failed.call_id]
            sent.failed = frame.call_failed
            sent.done.set()
        elif kind == "half_batch":
            self.batches.put_nowait(frame.half_batch)
        elif kind == "draining":
            self.draining.set()

    async def run(self, read: Callable[[], Awaitable[Iterable[pb.WorkerFrame] | None]]) -> None:
        """Takes frames until the worker ends the link."""
        try:
            while (frames := await read()) is not None:
                for frame in frames:
                    self.take(frame)
        except grpc.aio.AioRpcError as error:
            self.ended.set_result(error.code())
        finally:
            if not self.ended.done():
                self.ended.set_result(None)


class GatewayPeer:
    """One gateway: its keys, its session with the worker, and the calls it makes."""

    def __init__(self, place: Workplace, *, suite: SuiteID = SuiteID.X25519) -> None:
        self.place = place
        self.suite = suite
        self.signing_key = Ed25519PrivateKey.generate()
        self.tls = make_identity("gateway", GATEWAY_NAME)
        self.gateway_id = gateway_id_of(self.public_key)
        self.known = KnownGateway(
            gateway_id=self.gateway_id,
            signing_key=self.public_key,
            certificate_der=self.tls.certificate_der,
            spki_sha256=self.tls.spki_sha256,
        )
        self.session = self.open_session()
        self._calls = 0

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key."""
        return self.signing_key.public_key().public_bytes_raw()

    def open_session(self, role: Role = Role.GATEWAY) -> SenderSession:
        """A fresh session with the worker's current keys."""
        key = self.place.attested.key((self.suite,))
        return SenderSession(
            key, role=role, max_requests=role.max_requests, guard=RecordingGuard(), entropy=os.urandom, now=self.now
        )

    @property
    def now(self):  # type: ignore[no-untyped-def]
        """The worker's wall time."""
        return self.place.clock.now

    def seal(self, plaintext: bytes, model: str, **changes: object) -> SealedRequest:
        """A sealed request for nobody yet."""
        fields: dict[str, object] = {
            "method": Method.INFER,
            "model": model,
            "intent_sha256": bytes(32),
            "policy_sha256": self.place.attested.policy_sha256,
            "max_price_nanos": 1000,
            "expires": int(self.now.timestamp()) + 60,
        }
        return seal_request(RequestLimits(**(fields | changes)), plaintext, entropy=os.urandom)  # type: ignore[arg-type]

    def prepare(
        self,
        plaintext: bytes | None = None,
        *,
        model: str = "add-one",
        request: SealedRequest | None = None,
        session: SenderSession | None = None,
        memo: bytes = b"memo",
        grant: bool = True,
        limits: dict[str, object] | None = None,
        **dispatch: object,
    ) -> Sent:
        """A call with everything in order, but for what the test changes."""
        request = request or self.seal(plaintext or add_one_request(), model, **(limits or {}))
        session = session or self.session
        wrapped = session.wrap(request, now=self.now)
        terms: dict[str, object] = {
            "attempt": 1,
            "award_sha256": bytes(32),
            "offer_id": self.place.placed[model].offer_id if model in self.place.placed else bytes(32),
            "price_nanos": 500,
            "gateway_id": self.gateway_id,
            "deadline_ms": SECONDS * 1000,
        }
        signed = self.session.dispatch(wrapped.ref, **(terms | dispatch))  # type: ignore[arg-type]
        self._calls += 1
        call = pb.Call(
            call_id=self._calls,
            header=request.header_bytes,
            session_id=session.session_id,
            counter=wrapped.ref.counter,
            wrap=wrapped.wrap,
            dispatch=signed.dispatch,
            dispatch_tag=signed.tag,
            frames=request.frames,
            final=True,
            memo=memo,
        )
        if session.establishment is not None:
            info, ciphertext = session.establishment
            call.session.info, call.session.ciphertext = info, ciphertext
            if grant and session.role is Role.GATEWAY:
                call.session.grant = session.grant(self.signing_key, expires=int(self.now.timestamp()) + 3600)
        return Sent(call=call, request=request, wrapped=wrapped, dispatch_sha256=signed.digest)


@asynccontextmanager
async def dialled_by_gateway(peer: GatewayPeer) -> AsyncIterator[PeerLink]:
    """The link as the gateway opens it."""
    place = peer.place
    place.gateways.replace([peer.known])
    credentials = channel_credentials(peer.tls, place.custody.tls.certificate_der)
    options = [*channel_options(WORKER_NAME), *MESSAGE_OPTIONS]
    async with grpc.aio.secure_channel(f"127.0.0.1:{place.port}", credentials, options=options) as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).Link()

        async def write(frame: pb.GatewayFrame) -> None:
            await call.write(pb.LinkRequest(frames=[frame]))

        async def read() -> Iterable[pb.WorkerFrame] | None:
            response = await call.read()
            if response is grpc.aio.EOF:
                code = await call.code()
                if code is not grpc.StatusCode.OK:
                    link.ended.set_result(code)
                return None
            return cast("pb.LinkResponse", response).frames

        link = PeerLink(peer, write)
        task = asyncio.ensure_future(link.run(read))
        try:
            yield link
        finally:
            call.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def dialled_by_worker(peer: GatewayPeer) -> AsyncIterator[PeerLink]:
    """The link as the worker opens it; the gateway takes the first one that is opened."""
    place = peer.place
    place.gateways.replace([peer.known])
    opened: asyncio.Future[PeerLink] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    class Hub(worker_pb2_grpc.GatewayServiceServicer):
        @override
        async def Attach(self, request_iterator, context):  # type: ignore[no-untyped-def, override]
            assert peer_spki(context) == place.custody.tls.spki_sha256
            if opened.done():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "one link is enough")

            async def write(frame: pb.GatewayFrame) -> None:
                await context.write(pb.AttachResponse(frames=[frame]))

            async def read() -> Iterable[pb.WorkerFrame] | None:
                request = await context.read()
                return None if request is grpc.aio.EOF else request.frames

            link = PeerLink(peer, write)
            opened.set_result(link)
            tasks = [asyncio.ensure_future(link.run(read)), asyncio.ensure_future(leave.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    server = grpc.aio.server(options=[*server_options(), *MESSAGE_OPTIONS])
    worker_pb2_grpc.add_GatewayServiceServicer_to_server(Hub(), server)
    credentials = server_credentials(peer.tls, lambda: [place.custody.tls.certificate_der])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    dialler = Dialler(
        worker=place.worker,
        gateways=place.gateways,
        limits=place.limits,
        clock=place.clock,
        address=f"127.0.0.1:{port}",
        gateway_id=peer.gateway_id,
    )
    task = asyncio.ensure_future(dialler.run())
    try:
        async with asyncio.timeout(SECONDS):
            link = await opened
        yield link
    finally:
        leave.set()
        task.cancel()
        await asyncio.wait([task])
        await server.stop(None)


DIRECTIONS = {"gateway dials": dialled_by_gateway, "worker dials": dialled_by_worker}
