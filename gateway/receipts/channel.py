# SPDX-License-Identifier: Apache-2.0
"""The gateway's end of the two pipes to its journal's writer, on the event loop.

    send ─▶ pending ─▶ pipe ─▶ writer            receive ◀─ pipe ◀─ writer

Nothing here blocks: what the pipe does not take waits until it does. What was written into the pipe survives the end
of this process, and the writer commits it. The end of the answers is the end of the writer.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final, Protocol

from attestation.errors import Malformed
from gateway.receipts.messages import Answer, take_answers

_WRITE_BYTES: Final = 1 << 18
_READ_BYTES: Final = 1 << 18
_REAP_SECONDS: Final = 5.0


class Peer(Protocol):
    """A started writer. The descriptors belong to whoever holds the peer."""

    @property
    def inbox(self) -> int:
        """Write here what the writer reads."""
        ...

    @property
    def outbox(self) -> int:
        """Read here what the writer writes."""
        ...

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        ...

    def wait(self, seconds: float) -> int | None:
        """Blocks until it ended, at most so long; 0 if it ended in order, None if it still runs."""
        ...


class Channel:
    """One peer's pipes, from its start to its end. All methods are called on the event loop."""

    def __init__(self, peer: Peer, receive: Callable[[Answer], None]) -> None:
        self._peer = peer
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._answers = bytearray()
        self._writing = self._scheduled = self._finishing = False
        self._inbox: int | None = peer.inbox
        self._over: asyncio.Future[None] = self._loop.create_future()
        for descriptor in (peer.inbox, peer.outbox):
            os.set_blocking(descriptor, False)
        self._loop.add_reader(peer.outbox, self._readable)

    def send(self, frame: bytes) -> None:
        """Hands a frame over; it is in the pipe after this turn of the loop unless the pipe is full."""
        self._pending += frame
        if not (self._scheduled or self._writing):
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def push(self, frame: bytes) -> None:
        """Hands a frame over; it is in the pipe when this returns, unless the pipe is full."""
        self._pending += frame
        if not self._writing:
            self._flush()

    def finish(self) -> None:
        """Nothing more will be sent: the writer commits all it has and ends."""
        self._finishing = True
        if not (self._scheduled or self._writing):
            self._close_inbox()

    def kill(self) -> None:
        """Ends the writer at once."""
        self._peer.kill()

    async def ended(self) -> bool:
        """Waits until the writer has ended and is reaped; true if it ended in order."""
        await asyncio.shield(self._over)
        status = await asyncio.to_thread(self._peer.wait, _REAP_SECONDS)
        if status is None:
            self._peer.kill()
            status = await asyncio.to_thread(self._peer.wait, _REAP_SECONDS)
        return status == 0

    def _flush(self) -> None:
        """Writes what is pending. A turn of the loop that finds it written already does nothing."""
        self._scheduled = False
        while self._pending and self._inbox is not None:
            try:
                written = os.write(self._inbox, memoryview(self._pending)[:_WRITE_BYTES])
            except BlockingIOError:
                self._watch()
                return
            except OSError:
                # The reading end is gone. Whatever the writer still said comes before the end of its answers.
                self._close_inbox()
                return
            del self._pending[:written]
        self._unwatch()
        if self._finishing:
            self._close_inbox()

    def _watch(self) -> None:
        if not self._writing and self._inbox is not None:
            self._writing = True
            self._loop.add_writer(self._inbox, self._flush)

    def _unwatch(self) -> None:
        if self._writing and self._inbox is not None:
            self._loop.remove_writer(self._inbox)
        self._writing = False

    def _close_inbox(self) -> None:
        self._unwatch()
        self._pending.clear()
        if self._inbox is not None:
            os.close(self._inbox)
            self._inbox = None

    def _readable(self) -> None:
        try:
            data = os.read(self._peer.outbox, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._answers += data
        try:
            answers = take_answers(self._answers)
        except (Malformed, ValueError, EOFError, TypeError):
            self._peer.kill()
            self._end()
            return
        for answer in answers:
            self._receive(answer)

    def _end(self) -> None:
        self._close_inbox()
        self._loop.remove_reader(self._peer.outbox)
        with contextlib.suppress(OSError):
            os.close(self._peer.outbox)
        if not self._over.done():
            self._over.set_result(None)
