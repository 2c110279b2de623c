# SPDX-License-Identifier: Apache-2.0
"""The threads that run one engine, and the hop there and back.

One queue in, one callback of the event loop out. The standard library's pool takes several locks and two futures for a
call, and each lock lets its thread wake only to find the interpreter taken: ten times the cost of the hop itself.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

_T = TypeVar("_T")
_Job: TypeAlias = Callable[[], None]


class EngineThreads:
    """A few threads that take work in the order it came. Used from one event loop; a context manager."""

    def __init__(self, count: int, *, name: str = "engine") -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: Final = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """What `work` returns or raises, on one of the threads. Cancelled before its turn, it does not run."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  whoever waits for the future judges it
                _tell(loop, _fail, future, error)
            else:
                _tell(loop, _finish, future, result)

        self._jobs.put(job)
        return future

    def close(self) -> None:
        """Waits for what was taken, then ends the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # while the thread waits, it must not hold the tensors of the last request


def _tell(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], *outcome: object) -> None:
    try:
        loop.call_soon_threadsafe(settle, *outcome)
    except RuntimeError:
        return  # the loop has ended, and with it whoever waited


def _finish(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[object]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
