# SPDX-License-Identifier: Apache-2.0
"""One call at the worker, from its opened first frame to its sealed final one (docs/spec.md, 7 and 9.2).

    opening ──last request frame──▶ running ──▶ ended: data, or an error frame, and always a trailer with a half
       └──refused, cancelled or late──▶ ended without a half: nothing ran, and nothing could be sealed for it

Every call that reached `running` ends with exactly one half, whatever happens to it: bad input, a failing engine, the
deadline, a cancel, a lost link. What went wrong is said inside the seal: to the gateway a refused call looks like a
short answer. Texts name fields and kinds, never a value. Deadlines run on the monotonic clock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from sealbid_oip.codec import encode_response, wrap_stream_response
from sealbid_oip.errors import OIPError
from sealbid_oip.framing import prefix_message
from sealbid_oip.generation import encode_step, read_sampling

from attestation.errors import Reason, SealbidError, SealingError
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import Method
from attestation.sealing.incoming import OpenedCall
from enclave.keys import Tenure
from enclave.opening import open_request
from enclave.pacing import Pacer
from enclave.served import ServedModel

_LOG = logging.getLogger("enclave.calls")

ROW_UNITS: Final = 1000
PROMPT_TOKEN_UNITS: Final = 1
MADE_TOKEN_UNITS: Final = 4

_STATUS: Final = {
    Reason.ENGINE_FAILED: WorkerStatus.ENGINE_FAILED,
    Reason.INTERNAL: WorkerStatus.ENGINE_FAILED,
    Reason.DEADLINE_EXCEEDED: WorkerStatus.DEADLINE,
    Reason.WORKER_OVERLOADED: WorkerStatus.OVERLOADED,
    Reason.DRAINING: WorkerStatus.OVERLOADED,
}
"""What a failure counts as; any other reason is the caller's fault."""

_STOPPED: Final = {
    WorkerStatus.CANCELLED: ("CANCELLED", "call is cancelled, want a caller that waits"),
    WorkerStatus.DEADLINE: (Reason.DEADLINE_EXCEEDED.value, "deadline is past, want more time for the call"),
}


class Line(Protocol):
    """The call's way back on its link."""

    @property
    def congested(self) -> bool:
        """True while the gateway does not read what is sent."""
        ...

    def answer(self, frames: Sequence[bytes], *, final: bool) -> None:
        """Sends response frames."""
        ...

    def fail(self, reason: Reason) -> None:
        """Says that the call ended before anything could be sealed for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a call ended, for counting: status and units are None and 0 where nothing ran."""

    status: WorkerStatus | None
    units: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a call needs of its worker."""

    clock: Callable[[], datetime]
    write_half: Callable[[Callable[[int], bytes]], bytes]
    """Numbers and keeps the half that the given function encodes for its number."""
    ended: Callable[[Ending], None]


class Call:
    """One call. `feed` and `stop` are called by its link; everything else happens by itself."""

    def __init__(
        self,
        *,
        opened: OpenedCall,
        tenure: Tenure,
        model: ServedModel,
        line: Line,
        desk: Desk,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._opened = opened
        self._tenure = tenure
        self._model = model
        self._line = line
        self._desk = desk
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._executing = False
        self._stopped: WorkerStatus | None = None
        self._over = False
        self._units = 0
        self._began = loop.time()
        self._started = int(desk.clock().timestamp())
        self._deadline = self._began + opened.dispatch.deadline_ms / 1000
        self._timer = loop.call_at(self._deadline, self.stop, WorkerStatus.DEADLINE)
        if opened.request.complete:
            self._run()

    @property
    def over(self) -> bool:
        """True once the call has ended."""
        return self._over

    def feed(self, frames: Sequence[bytes], *, final: bool) -> None:
        """Opens more request frames; with the final one the call starts to run.

        A frame that does not open ends the call: it is reported by its reason, and nothing has run.
        """
        if self._over or self._task is not None:
            return
        last = len(frames) - 1
        try:
            for index, frame in enumerate(frames):
                self._opened.request.feed(frame, final and index == last)
        except SealingError as error:
            self.reject(error.reason)
            return
        if final and not self._opened.request.complete:
            self.reject(Reason.TRUNCATED)
        elif self._opened.request.complete:
            self._run()

    def stop(self, status: WorkerStatus) -> None:
        """Ends the call early, as CANCELLED or DEADLINE. Ignored once it has ended."""
        if self._over or self._stopped is not None:
            return
        self._stopped = status
        if self._task is None:
            self.reject(Reason.DEADLINE_EXCEEDED if status is WorkerStatus.DEADLINE else Reason.WORKER_FAILED)
        elif self._executing:
            self._task.cancel()
        # A task cancelled before its first step never runs, and the call would never end; that step looks for itself.

    def reject(self, reason: Reason) -> None:
        """Ends a call that has not run yet, without a half. Ignored once it runs."""
        if self._task is None and not self._over:
            self._close()
            self._line.fail(reason)
            self._desk.ended(Ending(status=None, units=0, seconds=self._loop.time() - self._began))

    def _run(self) -> None:
        self._task = self._loop.create_task(self._execute())

    async def _execute(self) -> None:
        """The root of the call's task: whatever happens in it becomes a status."""
        if self._told_to_stop:
            self._end_stopped()
            return
        self._executing = True
        try:
            frames = await self._unary() if self._method is Method.INFER else await self._stream()
        except asyncio.CancelledError:
            self._end_stopped()
        except OIPError as error:
            self._end_with_error(WorkerStatus.INVALID, error.reason.value, str(error))
        except SealbidError as error:
            self._end_with_error(_STATUS.get(error.reason, WorkerStatus.INVALID), error.reason.value, error.message)
        except Exception as error:  # noqa: BLE001  a task root; the text of a foreign error may hold a value
            _LOG.error("call failed", extra={"error": type(error).__name__, "model": self._model.name})
            self._end_with_error(WorkerStatus.ENGINE_FAILED, Reason.INTERNAL.value, "worker failed, want an answer")
        else:
            self._end(WorkerStatus.OK, frames)

    async def _unary(self) -> list[bytes]:
        return self._opened.response.message(await self._infer())

    async def _infer(self) -> bytes:
        """The serialized answer of a tensor model."""
        request, rows, inputs = open_request(self._opened, self._model.spec)
        outputs = await self._model.infer(inputs, tenant=self._opened.dispatch.gateway_id, deadline=self._deadline)
        data = encode_response(request, self._model.spec, outputs, max_bytes=self._model.max_response_bytes)
        self._units = rows * ROW_UNITS
        return data

    async def _stream(self) -> list[bytes]:
        pacer = Pacer(self, interval=self._opened.header.limits.flush_ms / 1000, loop=self._loop)
        try:
            if self._model.spec.decoupled:
                await self._generate(pacer)
            else:
                await pacer.write(prefix_message(wrap_stream_response(await self._infer())), 0)
            await pacer.finish()
        except BaseException:
            pacer.flush()
            raise
        finally:
            pacer.close()
        return []

    async def _generate(self, pacer: Pacer) -> None:
        request, _, inputs = open_request(self._opened, self._model.spec)
        sampling = read_sampling(request.parameters)
        stream = self._model.start(inputs, sampling, deadline=self._deadline)
        self._units = stream.prompt_tokens * PROMPT_TOKEN_UNITS
        async with aclosing(stream.steps):
            async for step in stream.steps:
                self._units += MADE_TOKEN_UNITS
                await pacer.write(prefix_message(wrap_stream_response(encode_step(request, self._model.spec, step))), 1)

    @property
    def congested(self) -> bool:
        """True while the gateway does not read what is sent."""
        return self._line.congested

    def emit(self, output: bytes, tokens: int) -> None:
        """Seals and sends output of a stream."""
        self._line.answer(self._opened.response.chunk(output, tokens), final=False)

    def _end_stopped(self) -> None:
        status = self._stopped or WorkerStatus.CANCELLED
        self._end_with_error(status, *_STOPPED[status])

    def _end_with_error(self, status: WorkerStatus, reason: str, message: str) -> None:
        self._end(status, [self._opened.response.error(reason, message)])

    def _end(self, status: WorkerStatus, frames: list[bytes]) -> None:
        """Seals the trailer over the half and sends all that is left."""
        half = self._desk.write_half(lambda seq: self._half(status, seq))
        frames.append(self._opened.response.trailer(status, half))
        self._close()
        self._line.answer(frames, final=True)
        self._desk.ended(Ending(status=status, units=self._units, seconds=self._loop.time() - self._began))

    def _half(self, status: WorkerStatus, seq: int) -> bytes:
        half = self._opened.half(
            worker_id=self._tenure.keyset.worker_id,
            keyset_id=self._tenure.keyset.keyset_id,
            binding_digest=self._tenure.binding_digest,
            engine_sha256=self._model.engine_sha256,
            units=self._units,
            status=status,
            started=self._started,
            ended=int(self._desk.clock().timestamp()),
            seq=seq,
        )
        return half.encode()

    def _close(self) -> None:
        self._over = True
        self._timer.cancel()

    @property
    def _told_to_stop(self) -> bool:
        return self._stopped is not None

    @property
    def _method(self) -> Method:
        return self._opened.header.limits.method
