# SPDX-License-Identifier: Apache-2.0
"""A scripted worker that does on the wire what a real one never would, linked to a gateway in either direction."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sealbid_wire.worker.v1 import worker_pb2 as pb
from sealbid_wire.worker.v1 import worker_pb2_grpc
from typing_extensions import override

from attestation.attested import AttestedWorker
from attestation.binding import Keyset, SuiteID
from attestation.errors import Reason
from attestation.rpc.pinning import (
    GATEWAY_NAME,
    WORKER_NAME,
    TLSIdentity,
    channel_credentials,
    channel_options,
    make_identity,
    server_credentials,
    server_options,
)
from attestation.sealing.batch import WORKER_HALF, sign_batch
from attestation.sealing.errors_signed import SignedError, sign_error
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.incoming import IncomingCall, OpenedCall
from attestation.sealing.replay import RequestIDs
from attestation.sealing.rotation import KeyRing
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration, suites_of
from attestation.tlog.merkle import leaf_hash
from gateway.errors import WorkerFailed
from tests.support.attested import NOW, attested_for_tests
from tests.support.dispatch import ENGINE, OFFER, SECONDS, Gateway
from tests.support.sealing import OffersNamed


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A call as the scripted worker got it."""

    call: pb.Call
    opened: OpenedCall
    plaintext: bytes


class ScriptedWorker:
    """Opens calls with real keys and then does what `script` says; by default it answers in upper case."""

    def __init__(self, *, engines: Sequence[bytes] = (ENGINE,), tls: TLSIdentity | None = None) -> None:
        self.tls = tls or make_identity("worker", WORKER_NAME)
        self.shown = self.tls
        """The identity its server really shows."""
        self.receipt_key = Ed25519PrivateKey.generate()
        self.engines = tuple(engines)
        self.ring = KeyRing(seen=RequestIDs())
        self.keyset = self.rotate()
        self.port = 0
        self.calls: asyncio.Queue[pb.Call] = asyncio.Queue()
        self.cancels: asyncio.Queue[int] = asyncio.Queue()
        self.kept: asyncio.Queue[bytes] = asyncio.Queue()
        self.halves: list[bytes] = []
        self.script: Callable[[Taken], Sequence[pb.WorkerFrame]] = lambda taken: [self.answer(taken)]
        self.refuse: Callable[[pb.Call], Sequence[pb.WorkerFrame]] | None = None
        self.hello_id: bytes | None = None
        self.writes: asyncio.Queue[pb.WorkerFrame | None] = asyncio.Queue()

    def rotate(self, generation: int = 1) -> Keyset:
        """A new generation of keys, used from now on beside the earlier ones."""
        pairs = (HPKEKeyPair.generate(SuiteID.X25519),)
        self.keyset = Keyset(
            suites=suites_of(pairs),
            receipt_key=self.receipt_key.public_key().public_bytes_raw(),
            tls_spki_sha256=self.tls.spki_sha256,
            generation=generation,
        )
        generation_of_keys = KeyGeneration(keyset=self.keyset, keypairs=pairs)
        self.ring.install(generation_of_keys, not_after=int(NOW.timestamp()) + 3600, now=NOW)
        return self.keyset

    def attested(self, **changes: Any) -> AttestedWorker:
        """The worker as a gateway's own verification would have built it."""
        given: dict[str, Any] = {
            "engines": tuple(sorted(self.engines)),
            "endpoint": f"127.0.0.1:{self.port}" if self.port else "",
            "certificate_der": self.tls.certificate_der,
            "expires": NOW + timedelta(hours=1),
        }
        return attested_for_tests(self.keyset, **(given | changes))

    # What it sends

    def send(self, *frames: pb.WorkerFrame) -> None:
        """Sends frames of its own accord."""
        for frame in frames:
            self.writes.put_nowait(frame)

    def hang_up(self) -> None:
        """Ends the link."""
        self.writes.put_nowait(None)

    def answer(
        self,
        taken: Taken,
        *,
        data: bytes | None = None,
        status: WorkerStatus = WorkerStatus.OK,
        frames: Sequence[bytes] | None = None,
        final: bool = True,
        **half: object,
    ) -> pb.WorkerFrame:
        """An answer with a half, in which fields may be wrong."""
        if frames is None and status is WorkerStatus.OK:
            frames = taken.opened.response.message(taken.plaintext.upper() if data is None else data)
        elif frames is None:
            frames = [taken.opened.response.error("TENSOR_SHAPE", "inputs[0].shape is [1], want [2]")]
        made = dataclasses.replace(self.half(taken, status), **half)
        self.halves.append(made.encode())
        trailer = taken.opened.response.trailer(status, made.encode())
        return pb.WorkerFrame(answer=pb.Answer(call_id=taken.call.call_id, frames=[*frames, trailer], final=final))

    def half(self, taken: Taken, status: WorkerStatus) -> Any:
        """The truthful half of a call."""
        return taken.opened.half(
            worker_id=self.keyset.worker_id,
            keyset_id=self.keyset.keyset_id,
            binding_digest=bytes(32),
            engine_sha256=ENGINE,
            units=1000,
            status=status,
            started=1,
            ended=2,
            seq=len(self.halves) + 1,
        )

    def chunk(self, taken: Taken, data: bytes) -> pb.WorkerFrame:
        """Output of a stream."""
        frames = taken.opened.response.chunk(data, 1)
        return pb.WorkerFrame(answer=pb.Answer(call_id=taken.call.call_id, frames=frames, final=False))

    def signed_refusal(self, call: pb.Call, reason: Reason, **changes: object) -> pb.WorkerFrame:
        """CallFailed with a signed error."""
        error = SignedError(
            reason=reason,
            session_id=call.session_id,
            header_sha256=_header_sha256(call),
            keyset_id=self.keyset.keyset_id,
        )
        signed = sign_error(self.receipt_key, dataclasses.replace(error, **changes))  # type: ignore[arg-type]
        failed = pb.CallFailed(call_id=call.call_id, signed_error=signed, reason=reason.value)
        return pb.WorkerFrame(call_failed=failed)

    def half_batch(self, *memos: bytes) -> pb.WorkerFrame:
        """All halves so far in one signed batch."""
        given = [*memos, *[b""] * (len(self.halves) - len(memos))]
        pairs = enumerate(zip(self.halves, given, strict=True))
        halves = [pb.Half(position=place, half=half, memo=memo) for place, (half, memo) in pairs]
        signature = sign_batch(self.receipt_key, WORKER_HALF, self.halves).cose
        leaves = [leaf_hash(half) for half in self.halves]
        return pb.WorkerFrame(half_batch=pb.HalfBatch(root_signature=signature, leaves=leaves, halves=halves))

    # Its end of a link

    async def run(self, read: Any, write: Any, gateway: Gateway) -> None:
        """Speaks first, then serves until hung up or left."""
        transport = GrantedTransport(gateway_id=gateway.gateway_id, gateway_key=gateway.public_key)
        self.writes = asyncio.Queue()
        self.send(pb.WorkerFrame(hello=pb.WorkerHello(worker_id=self.hello_id or self.keyset.worker_id)))
        reader = asyncio.ensure_future(self._read(read, transport))
        reader.add_done_callback(lambda _: self.hang_up())
        try:
            while (frame := await self.writes.get()) is not None:
                await write(frame)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, read: Any, transport: GrantedTransport) -> None:
        parts: dict[int, pb.Call] = {}
        async for frame in _frames(read):
            kind = frame.WhichOneof("kind")
            if kind == "call":
                parts[frame.call.call_id] = frame.call
                self._take(frame.call, transport)
            elif kind == "call_frames":
                call = parts[frame.call_frames.call_id]
                call.frames.extend(frame.call_frames.frames)
                call.final = frame.call_frames.final
                self._take(call, transport)
            elif kind == "cancel":
                self.cancels.put_nowait(frame.cancel.call_id)
            elif kind == "halves_kept":
                for digest in frame.halves_kept.half_sha256:
                    self.kept.put_nowait(digest)

    def _take(self, call: pb.Call, transport: GrantedTransport) -> None:
        if not call.final:
            return
        self.calls.put_nowait(call)
        if self.refuse is not None:
            self.send(*self.refuse(call))
            return
        if call.session.grant:
            transport.admit(call.session.grant, now=NOW)
        opened = self.ring.open(_incoming(call), transport=transport, offers=OffersNamed({OFFER}), now=NOW)
        for index, frame in enumerate(call.frames[1:], start=1):
            opened.request.feed(frame, index == len(call.frames) - 1)
        self.send(*self.script(Taken(call=call, opened=opened, plaintext=opened.request.plaintext())))


def _header_sha256(call: pb.Call) -> bytes:
    return _incoming(call).header_sha256


def _incoming(call: pb.Call) -> IncomingCall:
    return IncomingCall(
        session_id=call.session_id,
        info=call.session.info,
        ct=call.session.ciphertext,
        header=call.header,
        counter=call.counter,
        wrap=call.wrap,
        dispatch=call.dispatch,
        tag=call.dispatch_tag,
        frame=call.frames[0],
        final=len(call.frames) == 1,
    )


async def _frames(read: Any) -> AsyncIterator[pb.GatewayFrame]:
    while (frames := await read()) is not None:
        for frame in frames:
            yield frame


@asynccontextmanager
async def listening(worker: ScriptedWorker, gateway: Gateway) -> AsyncIterator[None]:
    """The worker serves; the gateway's client dials it."""

    class Service(worker_pb2_grpc.WorkerServiceServicer):
        @override
        async def Link(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
            async def read() -> Iterable[pb.GatewayFrame] | None:
                request = await context.read()
                return request.frames if isinstance(request, pb.LinkRequest) else None

            await worker.run(read, lambda frame: context.write(pb.LinkResponse(frames=[frame])), gateway)

    server = grpc.aio.server(options=server_options())
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(Service(), server)
    credentials = server_credentials(worker.shown, lambda: [gateway.tls.certificate_der])
    worker.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield
    finally:
        await gateway.close()
        await server.stop(None)


@asynccontextmanager
async def dialling(worker: ScriptedWorker, gateway: Gateway) -> AsyncIterator[None]:
    """The gateway's hub serves; the worker dials it, again and again."""
    port = await gateway.listen()

    async def dial() -> None:
        credentials = channel_credentials(worker.shown, gateway.tls.certificate_der)
        options = [*channel_options(GATEWAY_NAME), ("grpc.use_local_subchannel_pool", 1)]
        while True:
            async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
                call = worker_pb2_grpc.GatewayServiceStub(channel).Attach()

                async def read(call: Any = call) -> Iterable[pb.GatewayFrame] | None:
                    response = await call.read()
                    return response.frames if isinstance(response, pb.AttachResponse) else None

                async def write(frame: pb.WorkerFrame, call: Any = call) -> None:
                    await call.write(pb.AttachRequest(frames=[frame]))

                try:
                    await worker.run(read, write, gateway)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                    await asyncio.sleep(0.01)
                finally:
                    call.cancel()

    task = asyncio.ensure_future(dial())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gateway.close()


DIRECTIONS = {"gateway dials": listening, "worker dials": dialling}


@dataclass
class Pair:
    """A gateway linked to a scripted worker."""

    gateway: Gateway
    worker: ScriptedWorker
    attested: AttestedWorker

    def begin(self, plaintext: bytes = b"question", **changes: object):  # type: ignore[no-untyped-def]
        """Begins one attempt."""
        order = self.gateway.order(self.attested, plaintext, **changes)  # type: ignore[arg-type]
        return self.gateway.pool.begin(order, self.gateway.now)

    async def failure(self, **changes: float) -> WorkerFailed:
        """How one attempt fails."""
        with pytest.raises(WorkerFailed) as caught:
            await self.begin(b"question", **changes).answer()
        return caught.value

    async def taken(self) -> pb.Call:
        """The next call the worker got."""
        async with asyncio.timeout(SECONDS):
            return await self.worker.calls.get()

    async def cancelled(self) -> int:
        """The next call the worker was told to end."""
        async with asyncio.timeout(SECONDS):
            return await self.worker.cancels.get()

    def hold(self) -> "list[Taken]":
        """Makes the worker take calls and answer none."""
        held: list[Taken] = []

        def keep(taken: Taken) -> list[pb.WorkerFrame]:
            held.append(taken)
            return []

        self.worker.script = keep
        return held
