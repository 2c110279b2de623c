# SPDX-License-Identifier: Apache-2.0
"""HTTP as a reader does it, with the standard library, and bytes on a bare socket as an attacker does it."""

import asyncio
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Got:
    """An answer; `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


def fetch(address: str, path: str, *, method: str = "GET", **headers: str) -> Got:
    """One request on a connection of its own; underscores in names of headers are dashes."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


async def get(address: str, path: str, *, method: str = "GET", **headers: str) -> Got:
    """`fetch` beside the loop that serves."""
    return await asyncio.to_thread(fetch, address, path, method=method, **headers)


async def converse(address: str, sent: bytes, *, end: bool = True) -> bytes:
    """All bytes that come back for these bytes, until the other side closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        if end:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


@contextmanager
def beside(serving: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What `serving` yields, while it serves on a loop in another thread: for tests that block."""
    ready: Future[T] = Future()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        try:
            async with serving as served:
                ready.set_result(served)
                await done.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield ready.result(timeout=60)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
