# SPDX-License-Identifier: Apache-2.0
"""The writer's end of the pipes: reads what a gateway handed over, writes what became of it; blocking, one thread.

What arrives while the writer gathers or commits stays in the pipe, where it costs nobody a wake-up and outlives the
gateway. A gateway that has gone is the end of the pipe; a frame it left unfinished is dropped.
"""

import os
import select
import time
from typing import Final

from gateway.receipts.messages import Answer, Item, encode_answer, take_items

_READ_BYTES: Final = 1 << 20
_ROUND_BYTES: Final = 1 << 23
_BUSY_BYTES: Final = 1 << 19
"""So much at once is half of a full pipe: gathering longer would only hold the gateway up."""


class Inbox:
    """Items of one gateway."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._arrived, self._gone = select.poll(), select.poll()
        self._arrived.register(descriptor, select.POLLIN)
        self._gone.register(descriptor, 0)
        self._buffer = bytearray()
        self._busy = False
        self.ended = False
        """True once the gateway has gone and everything was taken."""

    def wait(self, seconds: float | None) -> None:
        """Returns when something arrived, the gateway has gone, or the time is over."""
        self._arrived.poll(None if seconds is None else seconds * 1000)

    def gather(self, seconds: float) -> None:
        """Lets more arrive, unless much does already or nothing more can."""
        if not self._busy:
            self._gone.poll(seconds * 1000)

    def pause(self, seconds: float) -> bool:
        """Waits; true if the gateway has gone."""
        time.sleep(seconds)
        return bool(self._gone.poll(0))

    def take(self) -> list[Item]:
        """What has arrived, in order."""
        taken = 0
        while taken < _ROUND_BYTES:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            taken += len(data)
            self._buffer += data
        self._busy = taken >= _BUSY_BYTES
        return take_items(self._buffer)


class Outbox:
    """Answers to one gateway."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, answer: Answer) -> None:
        """Writes an answer; one that nobody reads any more is dropped."""
        rest = memoryview(encode_answer(answer))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            return
