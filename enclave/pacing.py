# SPDX-License-Identifier: Apache-2.0
"""When a stream's output leaves: the first at once, everything later on a fixed interval (ruling 22).

What is made between two ticks leaves together at the next, and a tick with nothing to send sends an empty frame, so
that the moment a token was made shows only to the grain of the interval. The end waits for its tick as well. While the
reader is slow ticks pass unused and output waits here, up to a limit at which the maker has to wait in turn.
"""

import asyncio
from typing import Final, Protocol

MAX_WAITING_BYTES: Final = 1 << 16


class Outlet(Protocol):
    """Where output goes: the stream's sealed frames, on its link."""

    def emit(self, output: bytes, tokens: int) -> None:
        """Sends output that completes so many tokens; empty output is sent too."""
        ...

    @property
    def congested(self) -> bool:
        """True while the reader does not keep up."""
        ...


class Pacer:
    """The output of one stream on its way out. Used from one event loop; `close` must be called in the end."""

    def __init__(self, outlet: Outlet, *, interval: float, loop: asyncio.AbstractEventLoop) -> None:
        """`interval` in seconds; with 0 nothing waits, which shows each token's moment."""
        self._outlet = outlet
        self._interval = interval
        self._loop = loop
        self._waiting = bytearray()
        self._tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._ticked = asyncio.Event()

    async def write(self, output: bytes, tokens: int) -> None:
        """Takes output; returns when there is room for more."""
        self._waiting += output
        self._tokens += tokens
        if self._timer is None or not self._interval:
            self._leave()
        if self._timer is None:
            self._next = self._loop.time()
            self._schedule()
        while len(self._waiting) > MAX_WAITING_BYTES:
            await self._tick()

    async def finish(self) -> None:
        """Returns at the tick with which all output has left."""
        if self._timer is None:
            return
        await self._tick()
        while self._waiting:
            await self._tick()

    def flush(self) -> None:
        """Sends what waits at once, because the stream ends early."""
        if self._waiting:
            self._leave()

    def close(self) -> None:
        """Stops the ticks."""
        if self._timer is not None:
            self._timer.cancel()

    async def _tick(self) -> None:
        self._ticked.clear()
        await self._ticked.wait()

    def _schedule(self) -> None:
        """Ticks keep to their grid even when one comes late, so lateness does not add up to a signal."""
        interval = self._interval or 0.001
        behind = max(0.0, self._loop.time() - self._next)
        self._next += interval * (1 + behind // interval)
        self._timer = self._loop.call_at(self._next, self._on_tick)

    def _on_tick(self) -> None:
        if not self._outlet.congested and (self._waiting or self._interval):
            self._leave()
        self._schedule()
        self._ticked.set()

    def _leave(self) -> None:
        output, tokens = bytes(self._waiting), self._tokens
        self._waiting[:] = bytes(len(self._waiting))
        self._waiting.clear()
        self._tokens = 0
        self._outlet.emit(output, tokens)
