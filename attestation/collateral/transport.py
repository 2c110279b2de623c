# SPDX-License-Identifier: Apache-2.0
"""The one way out: bounded HTTPS to hosts that are named in advance (RFC 9110, RFC 9112).

Refused: other schemes, hosts or ports than those allowed, user names in URLs, redirects (a status like any other but
200), content encodings (so that nothing inflates), bodies without a length or chunks (so that truncation shows), and
bodies above the limit asked for. One deadline covers connecting, the handshake and every byte of the answer; only
resolving a name is the operating system's and has its own. Proxies of the environment are not used.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from typing_extensions import Buffer, override

from attestation.errors import Reason, SealbidError

MAX_URL: Final = 2048
_CHUNK: Final = 64 << 10
_PORTS: Final = {"https": 443, "http": 80}


class TransportError(SealbidError):
    """No answer that may be used. `passing` says that another attempt may fare better."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(Reason.COLLATERAL_UNAVAILABLE, message)
        self.passing = passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer: its status, its headers by lower-case name, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Transport(Protocol):
    """Sends one request and waits for the whole answer. Any thread; blocks; never retries."""

    def get(self, url: str, *, limit: int) -> Response:
        """The answer, its body at most `limit` bytes. Raises `TransportError`."""
        ...

    def post(self, url: str, body: bytes, *, media_type: str, limit: int) -> Response:
        """The answer to `body`, its own at most `limit` bytes. Raises `TransportError`."""
        ...


class HTTPSTransport:
    """`Transport` over TLS with the standard library; a connection per request.

    `hosts` are the allowed `host:port` pairs. `proxy` is a `host:port` that is asked to CONNECT. `plain` are those
    asked without TLS, at `http://` only: for answers that prove themselves, on networks one owns.
    """

    def __init__(
        self,
        *,
        hosts: Collection[str],
        tls: ssl.SSLContext,
        seconds: float,
        proxy: str | None = None,
        plain: Collection[str] = (),
    ) -> None:
        self._hosts = frozenset(hosts)
        self._plain = frozenset(plain)
        self._tls = tls
        self._seconds = seconds
        self._proxy = proxy

    def get(self, url: str, *, limit: int) -> Response:
        """The answer to a GET."""
        return self._send("GET", url, None, {}, limit)

    def post(self, url: str, body: bytes, *, media_type: str, limit: int) -> Response:
        """The answer to a POST."""
        return self._send("POST", url, body, {"Content-Type": media_type}, limit)

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], limit: int) -> Response:
        parts = self._allowed(url)
        secure = parts.scheme == "https"
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        deadline = time.monotonic() + self._seconds
        try:
            with self._connected(host, port, deadline, secure=secure) as link:
                connection = _Connection(link, host, None if port == _PORTS[parts.scheme] else port, deadline)
                sent = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "sealbid", **headers}
                link.settimeout(_left(deadline))
                connection.request(method, target, body=body, headers=sent)
                return _read(connection.getresponse(), host, limit)
        except ssl.SSLCertVerificationError:
            raise TransportError(f"{host} certificate is not valid for it, want a valid one", passing=False) from None
        except (OSError, http.client.HTTPException) as error:
            got = type(error).__name__.lower()
            raise TransportError(f"{host} answer is {got}, want a whole one in time", passing=True) from None

    def _allowed(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            authority = f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 0)}"
        except ValueError:
            raise TransportError("url is malformed, want https", passing=False) from None
        simple = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL
        if not simple or parts.scheme not in _PORTS or parts.fragment or "@" in parts.netloc:
            raise TransportError("url is not a plain https one, want such", passing=False)
        allowed = self._hosts if parts.scheme == "https" else self._plain
        if authority not in allowed:
            want = ", ".join(sorted(allowed)) or "an https one"
            raise TransportError(f"{parts.scheme} host is {authority}, want one of {want}", passing=False)
        return parts

    def _connected(self, host: str, port: int, deadline: float, *, secure: bool) -> socket.socket:
        first = (host, port) if self._proxy is None else _pair(self._proxy)
        plain = socket.create_connection(first, timeout=_left(deadline))
        try:
            if self._proxy is not None:
                _connect_through(plain, f"{host}:{port}", deadline)
            plain.settimeout(_left(deadline))
            if not secure:
                return plain
            return self._tls.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a link that is there already, read under one deadline."""

    def __init__(self, link: socket.socket, host: str, port: int | None, deadline: float) -> None:
        super().__init__(host, port)
        self.sock = link
        self._deadline = deadline

    @override
    def connect(self) -> None:
        raise OSError("the link is closed")

    @override
    def getresponse(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(_Reading(self.sock, self._deadline), method=self._method)  # type: ignore[arg-type, attr-defined]
        response.begin()
        return response


class _Reading(io.RawIOBase):
    """The reading half of a socket, whose every read ends at the deadline."""

    def __init__(self, link: socket.socket, deadline: float) -> None:
        self._link = link
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As `http.client` asks of a socket."""
        return io.BufferedReader(self)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        self._link.settimeout(_left(self._deadline))
        return self._link.recv_into(buffer)


def _read(response: http.client.HTTPResponse, host: str, limit: int) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise TransportError(f"{host} content-encoding is set, want identity", passing=False)
    if response.length is None and not response.chunked:
        raise TransportError(f"{host} body is without length, want content-length or chunks", passing=False)
    if response.length is not None and response.length > limit:
        raise TransportError(f"{host} body is {response.length} bytes, want at most {limit}", passing=False)
    body = bytearray()
    while piece := response.read(min(_CHUNK, limit + 1 - len(body))):
        body += piece
        if len(body) > limit:
            raise TransportError(f"{host} body is more than {limit} bytes, want at most that", passing=False)
    if response.length:
        raise TransportError(f"{host} body is {response.length} bytes short, want a whole one", passing=True)
    return Response(status=response.status, headers=headers, body=bytes(body))


def _connect_through(link: socket.socket, authority: str, deadline: float) -> None:
    link.settimeout(_left(deadline))
    link.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(_Reading(link, deadline), method="CONNECT")  # type: ignore[arg-type]  # as above
    answer.begin()
    if answer.status != http.client.OK:
        raise TransportError(f"proxy status is {answer.status}, want 200", passing=True)


def _pair(authority: str) -> tuple[str, int]:
    host, _, port = authority.rpartition(":")
    return host, int(port)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline is over")
    return left
