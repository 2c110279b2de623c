# SPDX-License-Identifier: Apache-2.0
"""How a process ends: SIGTERM and SIGINT stop it at any moment, also while it still starts.

A process may wait long before it serves, for a registry that is away or a journal's lock. Until it serves, the first
signal cancels its start, which undoes what was begun; afterwards it sets the event that ends the service. Further
signals change nothing: what is under way is bounded by itself.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

T = TypeVar("T")


async def until_told(
    running: AbstractAsyncContextManager[T], serving: Callable[[T, asyncio.Event], Awaitable[None]]
) -> None:
    """Enters `running` and serves until `serving` returns; the event it is given is set when the process is told to."""
    loop = asyncio.get_running_loop()
    start = asyncio.current_task()
    stop = asyncio.Event()
    started = False

    def told() -> None:
        if not stop.is_set() and not started and start is not None:
            start.cancel()
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told)
    try:
        async with running as process:
            await asyncio.sleep(0)  # a cancellation that came with the last step of the start is met here
            started = True
            await serving(process, stop)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
