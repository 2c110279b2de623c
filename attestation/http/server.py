# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 listener: sockets, deadlines and limits are here, the protocol's parsing is h11's.

Every connection is bounded: bytes of a request's head and body, seconds to send it, seconds to take the answer,
requests in all; and so are connections and working threads. What does not parse is answered 400 by h11's rules and
closed; a body larger than allowed is answered 413. Nothing a peer sends is logged. A listener on an address that others
can reach has TLS, since credentials must not cross a network in the clear.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Final, TypeAlias

import h11

from attestation.errors import SettingsError
from attestation.files import read_file
from attestation.http.message import Request, Response, read_request, refusal
from attestation.rpc.auth import check_pair, is_loopback

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_CONNECTIONS: Final = 512
MAX_REQUESTS: Final = 1000
"""Requests on one connection, after which it closes: load spreads again over a balancer's targets."""
MAX_THREADS: Final = 8
ASK_SECONDS: Final = 30.0
"""How long a peer may take to send its next request, idling included."""
TAKE_SECONDS: Final = 60.0
"""How long a peer may take to read its answer."""
HANDSHAKE_SECONDS: Final = 10.0

_LOG: Final = logging.getLogger("attestation.http")
_STEPS: Final = 5
"""Turns of the loop from an accepted socket to its conversation, and from an end to a closed socket."""
_READ: Final = 16 * 1024  # what is read at once joins what h11 counts, so a head stays below twice its bound

Answer: TypeAlias = Callable[[Request], Response]
"""Answers one request; runs in a thread, because it may block on disk. What it raises becomes a 500."""


def tls_context(
    address: str, *, certificate: Path | None, key: Path | None, name: str = "http"
) -> ssl.SSLContext | None:
    """The TLS of a listener at `address` from PEM files; None means plaintext, which only loopback gets.

    `name` is the settings table that errors speak of.

    Raises:
        SettingsError: files that are no pair, or none on an address others can reach.
    """
    if certificate is None or key is None:
        if not is_loopback(address):
            raise SettingsError(f"{name} listen is {address} without tls, want tls on an address others can reach")
        return None
    check_pair(read_file(key, f"{name} tls key", 1 << 20), read_file(certificate, f"{name} tls certificate", 1 << 20))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


@asynccontextmanager
async def serving(
    address: str,
    answer: Answer,
    *,
    tls: ssl.SSLContext | None = None,
    everywhere: Mapping[str, str] | None = None,
    max_body: int = 0,
    name: str = "http",
) -> AsyncIterator[str]:
    """Serves at `host:port` while the block lasts, and yields the address with the port that was bound.

    `everywhere` joins every answer. POST is served if `max_body`, in bytes, is above 0. `name` is what errors say.

    Raises:
        SettingsError: the address cannot be bound.
    """
    pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="http")
    listener = _Listener(answer, everywhere or {}, max_body, pool)
    host, _, port = address.rpartition(":")
    handshake = None if tls is None else HANDSHAKE_SECONDS
    try:
        server = await asyncio.start_server(
            listener.accept, host.strip("[]"), int(port), ssl=tls, ssl_handshake_timeout=handshake, limit=_READ
        )
    except OSError:
        raise SettingsError(f"{name} listen {address} cannot be bound, want a free address of this machine") from None
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await _settle()  # a connection that was just accepted becomes one that can be ended
        await listener.end()
        await _settle()
        pool.shutdown(wait=False)


async def _settle() -> None:
    for _ in range(_STEPS):
        await asyncio.sleep(0)


class _Listener:
    """The connections of one listening socket."""

    def __init__(self, answer: Answer, everywhere: Mapping[str, str], max_body: int, pool: ThreadPoolExecutor) -> None:
        self._answer = answer
        self._everywhere = everywhere
        self._max_body = max_body
        self._pool = pool
        self._open: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection until it closes."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._converse(_Connection(reader, writer, self._everywhere))
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            # The peer went away, was too slow or broke the protocol where no answer fits, or we are stopping.
            writer.transport.abort()
        finally:
            self._open.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def end(self) -> None:
        """Ends every connection."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _converse(self, connection: "_Connection") -> None:
        for _ in range(MAX_REQUESTS):
            got = await connection.next_request(self._max_body)
            if got is None:
                return
            if not await connection.send(await self._work(got) if isinstance(got, Request) else got):
                return

    async def _work(self, request: Request) -> Response:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, request)
        except Exception:  # noqa: BLE001  the root of a request: an unknown failure must not carry its text to the peer
            _LOG.exception("http request failed")
            return refusal(500, "the server failed")


class _Connection:
    """One peer: h11 between us and the bytes, a deadline on each step."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, everywhere: Mapping[str, str]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._everywhere = everywhere
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._bodiless = False
        peer = writer.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""

    async def next_request(self, max_body: int) -> Request | Response | None:
        """The next request, the refusal of it, or None when the peer is done."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                head = await self._next_event()
                if not isinstance(head, h11.Request):
                    return None
                self._bodiless = head.method == b"HEAD"
                request = read_request(head, bodies=max_body > 0)
                return await self._with_body(request, max_body)
        except h11.RemoteProtocolError as error:
            return refusal(error.error_status_hint, "the request is not http/1.1 as served here")

    async def send(self, response: Response) -> bool:
        """Sends the answer; whether another request may follow."""
        framing = {"content-length": str(len(response.body)), "date": formatdate(usegmt=True)}
        if self._http.their_state is not h11.DONE:
            framing["connection"] = "close"
        headers = {**self._everywhere, **response.headers, **framing}
        sent = self._http.send(h11.Response(status_code=response.status, headers=list(headers.items()))) or b""
        if not self._bodiless:
            sent += self._http.send(h11.Data(data=response.body)) or b""
        self._writer.write(sent + (self._http.send(h11.EndOfMessage()) or b""))
        async with asyncio.timeout(TAKE_SECONDS):
            await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _with_body(self, request: Request | Response, max_body: int) -> Request | Response:
        """Reads the body even of a refused request, as far as allowed, so that the connection can go on."""
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > max_body:
                return refusal(413, f"the body has more than {max_body} bytes")
        if not isinstance(event, h11.EndOfMessage) or isinstance(request, Response):
            return request
        return replace(request, body=bytes(body), peer=self._peer)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._http.receive_data(await self._reader.read(_READ))
        return event
