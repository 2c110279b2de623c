# SPDX-License-Identifier: Apache-2.0
"""Vendors' services on loopback: a TLS server under a test authority that answers raw bytes as each test says.

`Scripted` is the same without sockets: a transport that answers by a function and remembers what was asked.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from attestation.collateral.transport import Response, TransportError

Answering = Callable[[ssl.SSLSocket, bytes], None]


@dataclass(frozen=True, kw_only=True)
class VendorServer:
    """One server. `asked` are the requests it got."""

    host: str
    ca_pem: str
    asked: list[bytes]

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    @property
    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts this server's authority alone."""
        return ssl.create_default_context(cadata=self.ca_pem)


@contextmanager
def serving(answer: Answering, *, name: str = "127.0.0.1") -> Iterator[VendorServer]:
    """A server that hands each connection and its request to `answer`; its certificate is for `name`."""
    ca_pem, chain_pem = server_certificates(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_text(chain_pem)
        context.load_cert_chain(path)
    listener = socket.create_server(("127.0.0.1", 0))
    server = VendorServer(host=f"127.0.0.1:{listener.getsockname()[1]}", ca_pem=ca_pem, asked=[])
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=_serve, args=(context, plain, answer, server.asked)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join()


@contextmanager
def proxying(target: str) -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that connects everybody to `target`; its address and the requests it got."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def work() -> None:
        with suppress(OSError):
            inner, _ = listener.accept()
            with inner:
                asked.append(_head(inner))
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port))) as outer:
                    inner.sendall(b"HTTP/1.1 200 connected\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(outer, inner))
                    back.start()
                    _pump(inner, outer)
                    back.join()

    working = threading.Thread(target=work)
    working.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        working.join()


def reply(
    body: bytes = b"",
    *,
    status: str = "200 OK",
    media_type: str = "application/json",
    headers: str = "",
    length: int | None = None,
) -> Answering:
    """Sends one whole answer; `length` is what the header says if not the truth."""
    stated = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {stated}\r\n{headers}\r\n"
    return raw(head.encode() + body)


def raw(data: bytes) -> Answering:
    """Sends these bytes and closes."""

    def answer(link: ssl.SSLSocket, _: bytes) -> None:
        link.sendall(data)

    return answer


def dripping(head: bytes, drop: bytes, *, pause: float) -> Answering:
    """Sends `head`, then `drop` again and again until the client is gone."""

    def answer(link: ssl.SSLSocket, _: bytes) -> None:
        link.sendall(head)
        while True:
            link.sendall(drop)
            time.sleep(pause)

    return answer


@dataclass(kw_only=True)
class Scripted:
    """A `Transport` without sockets: `answer` maps a URL (and a POST's body) to a response or an error."""

    answer: Callable[[str, bytes | None], Response | TransportError]
    asked: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, url: str, *, limit: int) -> Response:
        return self._send(url, None)

    def post(self, url: str, body: bytes, *, media_type: str, limit: int) -> Response:
        return self._send(url, body)

    def _send(self, url: str, body: bytes | None) -> Response:
        with self._lock:
            self.asked.append(url)
        found = self.answer(url, body)
        if isinstance(found, TransportError):
            raise found
        return found


def response(body: bytes, media_type: str = "application/json", status: int = 200, **headers: str) -> Response:
    """A response; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers={"content-type": media_type} | named, body=body)


def _serve(context: ssl.SSLContext, plain: socket.socket, answer: Answering, asked: list[bytes]) -> None:
    with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as link:
        request = _request(link)
        asked.append(request)
        answer(link, request)


def _request(link: socket.socket) -> bytes:
    """A request whole: closing on unread bytes would reset the link under the answer."""
    head, _, body = _head(link).partition(b"\r\n\r\n")
    stated = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while stated and len(body) < int(stated[0]):
        body += link.recv(65536)
    return head + b"\r\n\r\n" + body


def _head(link: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = link.recv(65536)
        if not piece:
            return got
        got += piece
    return got


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@cache
def server_certificates(name: str) -> tuple[str, str]:
    """An authority's certificate, and a server's for `name` followed by its key, all PEM."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Test Authority", authority, authority, None)
    leaf = _certificate("Test Authority", key, authority, name)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ca.public_bytes(Encoding.PEM).decode(), (leaf.public_bytes(Encoding.PEM) + private).decode()


def _certificate(
    issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, name: str | None
) -> x509.Certificate:
    subject = issuer if name is None else name
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if name is not None:
        alternative: x509.GeneralName = (
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    else:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256())
