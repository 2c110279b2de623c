# SPDX-License-Identifier: Apache-2.0
"""The threads that run an engine: where work runs, how it ends, and what they keep of it."""

import asyncio
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from enclave.batching.threads import EngineThreads


@pytest.fixture
def threads() -> Iterator[EngineThreads]:
    """One thread."""
    with EngineThreads(1) as one:
        yield one


async def test_work_runs_on_another_thread_and_gives_its_result(threads: EngineThreads) -> None:
    """The event loop's thread never runs an engine."""
    assert await threads.run(threading.get_ident) != threading.get_ident()


async def test_an_error_reaches_whoever_waits_and_the_thread_goes_on(threads: EngineThreads) -> None:
    """One failure is one request's."""

    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await threads.run(fail)
    assert await threads.run(lambda: 7) == 7


async def test_work_runs_in_the_order_it_came(threads: EngineThreads) -> None:
    """Nothing is overtaken on one thread."""
    order: list[int] = []
    await asyncio.gather(*(threads.run(partial(order.append, number)) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_work_cancelled_before_its_turn_does_not_run(threads: EngineThreads) -> None:
    """Nobody waits for it any more."""
    gate, ran = threading.Event(), []
    first = threads.run(gate.wait)
    second = threads.run(lambda: ran.append(True))
    second.cancel()
    gate.set()
    await first
    await threads.run(lambda: None)
    assert ran == []


async def test_work_cancelled_while_it_runs_ends_quietly(threads: EngineThreads) -> None:
    """Its result is dropped, and the thread takes the next."""
    begun, gate = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait()

    waiting = threads.run(work)
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    gate.set()
    assert await threads.run(lambda: 1) == 1


async def test_an_idle_thread_holds_nothing_of_its_last_work(threads: EngineThreads) -> None:
    """A request's tensors are free once its answer is out, not when the next request comes."""

    class Tensor:
        pass

    tensor = Tensor()
    gone = weakref.ref(tensor)
    await threads.run(partial(id, tensor))
    del tensor
    await threads.run(lambda: None)
    assert gone() is None


def test_closing_waits_for_work_that_was_taken() -> None:
    """What an engine began it ends, also when the event loop has gone."""
    gate, ended = threading.Event(), []
    threads = EngineThreads(1)

    def work() -> None:
        gate.wait()
        ended.append(True)

    async def leave() -> None:
        threads.run(work)

    asyncio.run(leave())
    gate.set()
    threads.close()
    assert ended == [True]
