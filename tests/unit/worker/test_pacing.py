# SPDX-License-Identifier: Apache-2.0
"""The pacing of streams, on an event loop whose time the test moves."""

import asyncio
from collections.abc import Callable
from typing import cast

from enclave.pacing import MAX_WAITING_BYTES, Pacer


class Clock:
    """The two methods of an event loop that pacing uses, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((when, call))
        clock = self

        class Handle:
            def cancel(self) -> None:
                clock.timers.clear()

        return cast("asyncio.TimerHandle", Handle())

    def advance(self, to: float) -> None:
        """Moves time and runs the one timer that is due by then."""
        self.now = to
        due = [timer for timer in self.timers if timer[0] <= to]
        self.timers = [timer for timer in self.timers if timer[0] > to]
        for _, call in due:
            call()


class Sink:
    """An outlet that remembers when what left."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.left: list[tuple[float, bytes, int]] = []
        self.congested = False

    def emit(self, output: bytes, tokens: int) -> None:
        self.left.append((round(self.clock.now, 3), output, tokens))


def paced(interval: float = 0.02) -> tuple[Clock, Sink, Pacer]:
    clock = Clock()
    sink = Sink(clock)
    return clock, sink, Pacer(sink, interval=interval, loop=cast("asyncio.AbstractEventLoop", clock))


async def test_the_first_output_leaves_at_once_and_later_output_at_ticks() -> None:
    """Two tokens made within one interval leave together, at the end of it."""
    clock, sink, pacer = paced()
    await pacer.write(b"one", 1)
    clock.now = 100.003
    await pacer.write(b"two", 1)
    await pacer.write(b"three", 1)
    assert sink.left == [(100.0, b"one", 1)]
    clock.advance(100.02)
    assert sink.left[1:] == [(100.02, b"twothree", 2)]


async def test_an_idle_tick_sends_an_empty_frame() -> None:
    """A gap between tokens does not show."""
    clock, sink, pacer = paced()
    await pacer.write(b"one", 1)
    clock.advance(100.02)
    clock.advance(100.04)
    assert sink.left[1:] == [(100.02, b"", 0), (100.04, b"", 0)]


async def test_ticks_keep_to_their_grid_after_a_late_one() -> None:
    """A tick that runs late moves no later tick."""
    clock, _, pacer = paced()
    await pacer.write(b"one", 1)
    clock.advance(100.055)
    assert [round(when, 3) for when, _ in clock.timers] == [100.06]


async def test_the_end_waits_for_its_tick() -> None:
    """Finishing returns at a tick, with everything gone."""
    clock, sink, pacer = paced()
    await pacer.write(b"one", 1)
    await pacer.write(b"two", 1)
    done = asyncio.ensure_future(pacer.finish())
    await asyncio.sleep(0)
    assert not done.done()
    clock.advance(100.02)
    await done
    assert [output for _, output, _ in sink.left] == [b"one", b"two"]
    pacer.close()
    assert clock.timers == []


async def test_a_slow_reader_stops_the_maker_and_loses_nothing() -> None:
    """While the outlet is congested nothing leaves, the maker waits at the limit, and all leaves afterwards."""
    clock, sink, pacer = paced()
    await pacer.write(b"", 0)
    sink.congested = True
    blocked = asyncio.ensure_future(pacer.write(bytes(MAX_WAITING_BYTES + 1), 1))
    await asyncio.sleep(0)
    clock.advance(100.02)
    await asyncio.sleep(0)
    assert not blocked.done()
    sink.congested = False
    clock.advance(100.04)
    await blocked
    assert [len(output) for _, output, _ in sink.left] == [0, MAX_WAITING_BYTES + 1]


async def test_an_early_end_sends_what_waits() -> None:
    """A cancelled stream gives what was made, so that what is charged was also sent."""
    _, sink, pacer = paced()
    await pacer.write(b"one", 1)
    await pacer.write(b"two", 1)
    pacer.flush()
    pacer.flush()
    assert [output for _, output, _ in sink.left] == [b"one", b"two"]


async def test_without_an_interval_everything_leaves_at_once() -> None:
    """A caller that sealed no interval waits for none."""
    _, sink, pacer = paced(interval=0.0)
    await pacer.write(b"one", 1)
    await pacer.write(b"two", 1)
    assert [output for _, output, _ in sink.left] == [b"one", b"two"]
