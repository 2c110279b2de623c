# SPDX-License-Identifier: Apache-2.0
"""The standing tasks of a process: cancelled together at its end, and an early end of one is everybody's."""

import asyncio
from collections.abc import Coroutine


class Chores:
    """Tasks that should never end by themselves. Half a worker helps nobody: `failed` tells when one has."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, chore: Coroutine[object, object, None]) -> None:
        """Starts a task."""
        task = asyncio.ensure_future(chore)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Cancels every task, the latest first, and waits for them."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.failed.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception()
        if error is not None:
            self.failed.set_exception(error)
