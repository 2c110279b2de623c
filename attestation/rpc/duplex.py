# SPDX-License-Identifier: Apache-2.0
"""What both ends of a worker link share: directions end together, frames are cut into messages (docs/spec.md, 11)."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

PART_BYTES: Final = 2 << 20
"""Frames of one message; receivers take messages of 8 MiB at least."""


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
