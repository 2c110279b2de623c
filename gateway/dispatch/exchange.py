# SPDX-License-Identifier: Apache-2.0
"""One attempt of one sealed request on one worker: what was sent, what comes back, how it ends (docs/spec.md, 7, 11.3).

    open ──trailer that checks out──▶ replied           ──cancel──▶ open, waiting a little for the worker's half
       └──link lost · refused · late · a frame or half that does not hold──▶ failed

No task and no queue belongs to an exchange: frames are opened as the link hands them over, one future wakes whoever
waits. Output of a stream that nobody takes is bounded; beyond it the attempt fails. An exchange that failed before it
released a byte drops what it had opened, so another worker may be tried.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from attestation.errors import Reason, SealbidError
from attestation.sealing.frames import FrameKind
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import Method
from attestation.sealing.request import SealedRequest
from attestation.sealing.response import Answer, ResponseOpener
from gateway.errors import WorkerFailed
from gateway.request import Attempt

CANCEL_SECONDS: Final = 5.0
"""How long the half of a cancelled attempt is waited for; after that it comes by re-delivery."""

MAX_BACKLOG_BYTES: Final = 4 << 20
"""Output of one stream that its caller has not taken yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt to make. `memo` closes what a restart needs, given the attempt as it will travel."""

    keyset_id: bytes
    request: SealedRequest = field(repr=False)
    attempt: int
    award: bytes = field(repr=False)
    award_sha256: bytes
    transcript: bytes = field(repr=False)
    offer_id: bytes
    price_nanos: int
    deadline: float
    """Event-loop time."""
    memo: Callable[[Attempt], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer, its half checked. `data` is the plaintext of a unary answer; `error` is (reason, message)."""

    data: bytes = field(repr=False)
    status: WorkerStatus
    half: bytes = field(repr=False)
    error: tuple[str, str] | None


class Wire(Protocol):
    """The exchange's way to its worker."""

    def cancel(self, call_id: int) -> None:
        """Tells the worker to end the call early."""
        ...

    def forget(self, call_id: int) -> None:
        """Frames of the call that still come are dropped."""
        ...


class Observer(Protocol):
    """Is told how exchanges went, for sessions, counts and reports."""

    def answered(self, exchange: "Exchange") -> None:
        """An answer opened: the worker holds the session."""
        ...

    def disbelieved(self, exchange: "Exchange", reason: Reason) -> None:
        """The worker sent something that does not hold."""
        ...

    def refused(self, exchange: "Exchange", signed_error: bytes, reason: str) -> WorkerFailed:
        """The worker opened nothing and says why; gives the failure this amounts to."""
        ...

    def late(self, exchange: "Exchange") -> None:
        """The deadline passed first."""
        ...


class Exchange:
    """See the module. `answer` is for unary calls and for the end of a stream whose `chunks` were taken."""

    def __init__(
        self,
        *,
        attempt: Attempt,
        method: Method,
        opener: ResponseOpener,
        engines: Collection[bytes],
        session_id: bytes,
        header_sha256: bytes,
        wire: Wire,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        deadline: float,
    ) -> None:
        self.attempt: Final = attempt
        self.session_id: Final = session_id
        self.header_sha256: Final = header_sha256
        self.call_id = 0
        self._method = method
        self._opener = opener
        self._engines = engines
        self._wire = wire
        self._observer = observer
        self._loop = loop
        self._chunks: deque[bytes] = deque()
        self._backlog = 0
        self._released = False
        self._cancelled = False
        self._reply: Reply | None = None
        self._failure: WorkerFailed | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer = loop.call_at(deadline, self._expire)

    @property
    def dispatch(self) -> bytes:
        """The dispatch as it travelled."""
        return self.attempt.dispatch

    @property
    def dispatch_sha256(self) -> bytes:
        """`dd`, by which the worker's half names this attempt."""
        return self.attempt.dispatch_sha256

    @property
    def reply(self) -> Reply | None:
        """The reply, once it is whole."""
        return self._reply

    @property
    def ended(self) -> bool:
        """True once there is a reply or a failure."""
        return self._reply is not None or self._failure is not None

    async def answer(self) -> Reply:
        """The whole answer. May be awaited again, also after a cancel.

        Raises:
            WorkerFailed: this attempt gives none; it says whether another worker, or the same, may be tried.
        """
        while self._reply is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._reply

    async def chunks(self) -> AsyncIterator[bytes]:
        """Output bytes of a stream as they come; afterwards `reply` is set. Raises as `answer`."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._backlog -= len(chunk)
                self._released = True
                yield chunk
            if self._failure is not None:
                raise self._failure
            if self._reply is not None:
                return
            await self._wait()

    def cancel(self) -> None:
        """The caller went away: ends the work at the worker. What it did by then comes with `answer`."""
        if self.ended or self._cancelled:
            return
        self._cancelled = True
        self._chunks.clear()
        self._wire.cancel(self.call_id)
        self._timer.cancel()
        self._timer = self._loop.call_later(CANCEL_SECONDS, self._expire)

    # What the link calls

    def receive(self, frames: Sequence[bytes], *, final: bool) -> None:
        """Opens response frames. What does not hold ends the attempt, and the worker is told to stop."""
        if self.ended:
            return
        try:
            last = len(frames) - 1
            for index, frame in enumerate(frames):
                opened = self._opener.feed(frame, final and index == last)
                if opened.kind is FrameKind.DATA and self._method is Method.STREAM and opened.data:
                    self._keep(opened.data)
            if final:
                self._finish(self._opener.finish(dispatch_sha256=self.dispatch_sha256))
        except SealbidError as error:
            self._wire.cancel(self.call_id)
            self._observer.disbelieved(self, error.reason)
            self.fail(WorkerFailed(error.reason, error.message))
            return
        if self._backlog > MAX_BACKLOG_BYTES:
            self._wire.cancel(self.call_id)
            message = f"output not taken is {self._backlog} bytes, want at most {MAX_BACKLOG_BYTES}"
            self.fail(WorkerFailed(Reason.RESPONSE_TOO_LARGE, message))
        else:
            self._wake()

    def refuse(self, signed_error: bytes, reason: str) -> None:
        """The worker opened nothing of the call."""
        if not self.ended:
            self.fail(self._observer.refused(self, signed_error, reason))

    def fail(self, failure: WorkerFailed) -> None:
        """Ends the attempt without an answer. Ignored once it has ended."""
        if self.ended:
            return
        if self._released:
            failure = WorkerFailed(
                failure.reason, failure.message, before_first_byte=False, retry_same=False, detail=failure.detail
            )
        else:
            self._chunks.clear()
        self._failure = failure
        self._end()

    def _keep(self, data: bytes) -> None:
        if not self._cancelled:
            self._chunks.append(data)
            self._backlog += len(data)

    def _finish(self, answer: Answer) -> None:
        if answer.status is WorkerStatus.OK and answer.half.engine_sha256 not in self._engines:
            got = answer.half.engine_sha256.hex()
            raise SealbidError(Reason.RECEIPT_INVALID, f"worker_half.engine_sha256 is {got}, want an attested engine")
        error = None if answer.error is None else (answer.error.reason, answer.error.message)
        self._reply = Reply(data=answer.data, status=answer.status, half=answer.half_bytes, error=error)
        self._end()
        self._observer.answered(self)

    def _expire(self) -> None:
        if not self._cancelled:
            self._wire.cancel(self.call_id)
        self._observer.late(self)
        self.fail(WorkerFailed(Reason.DEADLINE_EXCEEDED, "worker did not answer within the deadline"))

    def _end(self) -> None:
        self._timer.cancel()
        self._wire.forget(self.call_id)
        self._wake()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
