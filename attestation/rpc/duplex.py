# SPDX-License-Identifier: Apache-2.0
"""What both ends of a worker link share: directions end together, frames are cut into messages (docs/spec.md, 11)."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

PART_BYTES: Final = 2 << 20
"""Frames of one message; receivers take messages of 8 MiB at least."""

TOGETHER_BYTES: Final = 256 << 10
"""Messages that wait are sent as one up to this size: beyond it copying costs more than another write."""


async def run_both(
    incoming: Coroutine[Any, Any, None], outgoing: Coroutine[Any, Any, None], *, close: Callable[[], None]
) -> None:
    """Runs both directions until either ends, then calls `close` and ends the other. Raises what the first raised."""
    tasks = [asyncio.ensure_future(incoming), asyncio.ensure_future(outgoing)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def together(waiting: deque[bytes]) -> bytes:
    """Takes the first waiting message and those behind it that fit `TOGETHER_BYTES` with it, as one message.

    Every link message is `repeated frames`, and serialized messages of that form add up by concatenation. Under load
    this is most of what a link costs: a write and a wake-up for many calls, not for each.
    """
    first = waiting.popleft()
    size = len(first)
    if not waiting or size + len(waiting[0]) > TOGETHER_BYTES:
        return first
    taken = [first]
    while waiting and size + len(waiting[0]) <= TOGETHER_BYTES:
        size += len(waiting[0])
        taken.append(waiting.popleft())
    return b"".join(taken)


def in_parts(frames: Sequence[bytes]) -> list[list[bytes]]:
    """The frames in messages of at most `PART_BYTES`, or of one frame; no frames are one empty message."""
    parts: list[list[bytes]] = [[]]
    size = 0
    for frame in frames:
        if parts[-1] and size + len(frame) > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(frame)
        size += len(frame)
    return parts
