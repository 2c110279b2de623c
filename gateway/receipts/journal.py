# SPDX-License-Identifier: Apache-2.0
"""The journal: takes outcomes and halves from the event loop and has a writer process make them durable in groups.

    gateway process                                  writer process (gateway.receipts.writer)
    begin(attempt)  ─┐
    record(outcome) ─┤
    admit(worker)   ─┼─▶ unsettled ─▶ pipe ─▶ gather (20-100 ms) ─▶ verify halves ─▶ one transaction
    halves(arrival) ─┘       ▲                                                       │
    kept(halves) ◀───────────┴──────────────── report ◀──────────────────────────────┘  fails: the same group again

Order of writes, and what a kill in between leaves (docs/spec.md, 11.4):
  1 the attempt in the pipe     2 its call leaves               3 the answer leaves           4 outcome in the pipe
  5 half in the pipe, signed    6 the transaction commits       7 the gateway has the report  8 the worker is told to
    forget, and forgets
The gateway killed before 1: no worker heard of the request, nothing is recorded or charged. Killed after 1 it loses
nothing: the writer commits what is in the pipe, then ends, the next writer waits for its lock, and settles what was
begun and has no outcome by the halves that workers kept, or as broken off. The writer killed anywhere: another is
started and gets everything not reported as settled; what was committed before changes nothing. Both killed before 6
lose what the group held: a request whose worker kept a half is settled from half and memo, which come after the next
hello; of any other nothing is left. A kill after 6 finds receipt and charge on disk; the half comes again, changes
nothing and is confirmed. A half is confirmed only once its request is recorded or its memo is on disk.

What is handed over stays here, encoded, until it is settled, and no longer. Being full is a signal the flow reads
before it admits, not a place where outcomes are lost; only halves are ever turned away, for their worker keeps them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from attestation.attested import AttestedWorker
from attestation.errors import SettingsError
from gateway.receipts.arrival import HalfArrival
from gateway.receipts.channel import Channel, Peer
from gateway.receipts.messages import Answer, Item, JournalEvent, Ready, Refused, Report, encode_item
from gateway.receipts.work import Begun, Greeted, WorkerKeys
from gateway.request import Outcome

_LOG = logging.getLogger("sealbid.gateway.journal")

CAPACITY: Final = 8192
MAX_HELD_BYTES: Final = 64 << 20
_READY_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 30.0
_RESTART_SECONDS: Final = 0.1
_MAX_RESTART_SECONDS: Final = 5.0

Kept: TypeAlias = Callable[[Mapping[bytes, Sequence[bytes]]], None]
Launch: TypeAlias = Callable[[], Peer]


class JournalMetrics(Protocol):
    """Where the journal counts. Called on the event loop."""

    def journal(self, event: str, count: int) -> None: ...


class Journal:
    """One per gateway process. All methods are called on the event loop and never block it."""

    def __init__(
        self,
        *,
        launch: Launch,
        kept: Kept,
        metrics: JournalMetrics,
        capacity: int = CAPACITY,
    ) -> None:
        """`launch` starts a writer; `kept` is told which halves each worker may forget: worker_id → half digests."""
        self._launch = launch
        self._kept = kept
        self._metrics = metrics
        self._capacity = capacity
        self._unsettled: deque[bytes] = deque()
        self._held = 0
        self._failing = False
        self._closing = False
        self._channel: Channel | None = None
        self._tending: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[bool] | None = None
        self._committed: asyncio.Future[None] | None = None
        self._delay = _RESTART_SECONDS

    @property
    def overloaded(self) -> bool:
        """True while nothing new should be admitted: too much is not durable yet, or the store does not commit."""
        return self._failing or len(self._unsettled) >= self._capacity or self._held >= MAX_HELD_BYTES

    @property
    def unsettled(self) -> int:
        """How many items were handed over and are not known to be durable."""
        return len(self._unsettled)

    async def start(self) -> None:
        """Starts the writer and returns when it may write. Raises `SettingsError` when it cannot."""
        self._committed = asyncio.get_running_loop().create_future()
        await self._connect()
        self._tending = asyncio.get_running_loop().create_task(self._tend())

    async def close(self) -> None:
        """Commits what was handed over, then stops. It gives up on a store that keeps failing: workers keep halves."""
        self._closing = True
        if self._tending is None:
            return
        if self._channel is not None:
            self._channel.finish()
        try:
            await asyncio.wait_for(self._tending, _CLOSE_SECONDS)
        except TimeoutError:
            _LOG.exception("journal writer did not end", extra={"unsettled": len(self._unsettled)})
            if self._channel is not None:
                self._channel.kill()
                await self._channel.ended()

    def begin(self, attempt: Begun) -> None:
        """Takes an attempt before its call leaves: it survives this process once this returns, short of a full pipe."""
        frame = self._hold(attempt)
        if self._channel is not None:
            self._channel.push(frame)

    def greeted(self, worker_id: bytes) -> None:
        """A worker linked: it returns what it kept for an earlier process."""
        self._put(Greeted(worker_id=worker_id))

    def record(self, outcome: Outcome) -> None:
        """Takes an outcome. It is never turned away: the flow asks `overloaded` before it admits a request."""
        self._put(outcome)

    def admit(self, worker: AttestedWorker) -> None:
        """Keeps what proves this worker's keys, ahead of the receipts that will cite it."""
        self._put(WorkerKeys.of(worker))

    def halves(self, arrival: HalfArrival) -> None:
        """Takes a batch of halves; turned away only when far more than the bound is held."""
        if len(self._unsettled) >= 2 * self._capacity or self._held >= 2 * MAX_HELD_BYTES:
            self._metrics.journal(JournalEvent.HALF_TURNED_AWAY, len(arrival.halves))
            return
        self._put(arrival)

    def next_commit(self) -> asyncio.Future[None]:
        """Done when the next group is durable. Shared by all who wait, so it is waited for and never cancelled."""
        assert self._committed is not None, "start comes first"
        return self._committed

    def _put(self, item: Item) -> None:
        frame = self._hold(item)
        if self._channel is not None:
            self._channel.send(frame)

    def _hold(self, item: Item) -> bytes:
        frame = encode_item(item)
        self._unsettled.append(frame)
        self._held += len(frame)
        return frame

    # The writer's life

    async def _connect(self) -> None:
        """Starts a writer and gives it all that is not settled. Raises `SettingsError` when it cannot write."""
        self._ready = ready = asyncio.get_running_loop().create_future()
        try:
            channel = Channel(self._launch(), self._receive)
        except OSError as error:
            raise SettingsError(f"journal writer cannot be started: {error.strerror}") from None
        ended = asyncio.ensure_future(channel.ended())
        starting: set[asyncio.Future[Any]] = {ready, ended}
        try:
            await asyncio.wait(starting, timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            channel.kill()  # nothing was handed to it yet
            raise
        if not ready.done():
            channel.kill()
            ready.set_exception(SettingsError("journal writer ended before it was ready, see its log"))
        if ready.exception() is not None:
            await ended
        ready.result()
        self._channel, self._ended, self._failing = channel, ended, False
        for frame in self._unsettled:
            channel.send(frame)
        if self._closing:
            channel.finish()

    async def _tend(self) -> None:
        """Keeps a writer running until the journal is closed."""
        while self._ended is not None:
            in_order = await self._ended
            self._channel = self._ended = None
            if self._closing and (in_order or not self._unsettled):
                return
            self._metrics.journal(JournalEvent.WRITER_LOST, 1)
            _LOG.error("journal writer ended, another is started", extra={"unsettled": len(self._unsettled)})
            while self._channel is None:
                await self._restart()

    async def _restart(self) -> None:
        """One attempt, later each time until a writer settles something."""
        await asyncio.sleep(self._delay)
        self._delay = min(2 * self._delay, _MAX_RESTART_SECONDS)
        try:
            await self._connect()
        except SettingsError as error:
            extra = {"reason": str(error.reason), "detail": error.message}
            _LOG.error("journal writer does not start", extra=extra)

    # What the writer says

    def _receive(self, answer: Answer) -> None:
        if isinstance(answer, Report):
            self._settle(answer)
        elif self._ready is not None and not self._ready.done():
            match answer:
                case Ready():
                    self._ready.set_result(None)
                case Refused(text=text):
                    self._ready.set_exception(SettingsError(text))

    def _settle(self, report: Report) -> None:
        for _ in range(min(report.settled, len(self._unsettled))):
            self._held -= len(self._unsettled.popleft())
        self._failing = report.failing
        for event, count in report.counts.items():
            self._metrics.journal(event, count)
        if report.kept:
            self._kept(report.kept)
        if report.failing:
            return
        self._delay = _RESTART_SECONDS
        done, self._committed = self._committed, asyncio.get_running_loop().create_future()
        if done is not None and not done.done():
            done.set_result(None)
