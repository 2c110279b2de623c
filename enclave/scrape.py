# SPDX-License-Identifier: Apache-2.0
"""The worker's metrics over HTTP: `GET /metrics`, and `GET /healthz` for whoever restarts it. Nothing else, no library.

Plain HTTP without credentials: bind it to loopback or a private network. It shows counts, never what was counted.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from enclave.metrics import CONTENT_TYPE, Metrics

MAX_REQUEST_BYTES: Final = 8192
REQUEST_SECONDS: Final = 5.0


class Scrape:
    """A listener that answers one request per connection."""

    def __init__(self, *, metrics: Metrics, healthy: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._healthy = healthy
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Begins to listen; returns the port."""
        self._server = await asyncio.start_server(self._answer, host, port, limit=MAX_REQUEST_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone or did not ask in HTTP
        finally:
            writer.close()

    def _response(self, line: bytes) -> bytes:
        if line.startswith(b"GET /metrics "):
            return _http("200 OK", CONTENT_TYPE, self._metrics.render())
        if line.startswith(b"GET /healthz "):
            healthy = self._healthy()
            text = f"{'serving' if healthy else 'not serving'} {self._metrics.profile}\n"
            return _http("200 OK" if healthy else "503 Service Unavailable", "text/plain", text)
        return _http("404 Not Found", "text/plain", "want /metrics or /healthz\n")


def _http(status: str, content_type: str, body: str) -> bytes:
    data = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + data
