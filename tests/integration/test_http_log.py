# SPDX-License-Identifier: Apache-2.0
"""The log over HTTP on loopback: read by a reader nobody here wrote, and asked by peers that behave badly."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tlog_scales.reader import TilesReader

from attestation.errors import SettingsError
from attestation.http import server as http_server
from attestation.http.message import Request, Response
from attestation.http.server import serving, tls_context
from attestation.registry.values import Admitted
from attestation.rpc.pinning import make_identity
from attestation.server.app import RunningRegistry
from attestation.server.config import HTTPSettings
from attestation.tlog.checkpoint import open_checkpoint
from attestation.tlog.entry import parse_entry
from attestation.tlog.policy import NO_WITNESSES
from tests.support.http import Got, converse, fetch, get
from tests.support.site import Site, machine, make_site, register
from tests.support.worlds import ORIGIN

pytestmark = pytest.mark.net

LOG = "/" + ORIGIN.partition("/")[2]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@asynccontextmanager
async def serving_site(site: Site) -> AsyncIterator[tuple[RunningRegistry, str]]:
    async with site.run(http=HTTPSettings(listen="127.0.0.1:0")) as registry:
        assert registry.http_address is not None
        yield registry, registry.http_address


class OverHTTP:
    """What tlog-scales reads through: the standard library, at this log's address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, *path: str) -> bytes | None:
        got = fetch(self._address, "/".join((LOG, *path)))
        return got.body if got.status == 200 else None


async def test_a_foreign_reader_accepts_the_log_over_http(site: Site) -> None:
    """tlog-scales reads checkpoint, tiles and entries as they are, and comes to the root that was signed."""
    async with serving_site(site) as (registry, address), site.client(registry, "provider") as provider:
        await register(provider, machine())

        def read_all() -> tuple[int, bytes, bytes, list[bytes]]:
            tiles = TilesReader(OverHTTP(address))
            head = tiles.get_checkpoint()
            return (
                head.size,
                head.root_hash,
                tiles.calculate_root_hash(),
                [tiles.get_entry(n) for n in range(head.size)],
            )

        size, signed, root, entries = await asyncio.to_thread(read_all)
        assert signed == root
        assert entries == [entry.data for entry in registry.log.entries(0)]
        assert size == registry.log.size()


async def test_the_checkpoint_over_http_is_the_logs_own(site: Site) -> None:
    """Signed by the key of the trust file, and HEAD says the same without a body."""
    async with serving_site(site) as (registry, address):
        got = await get(address, f"{LOG}/checkpoint")
        trust = site.trust
        head = open_checkpoint(got.body, origin=ORIGIN, log_key=trust.log_key, policy=NO_WITNESSES)
        assert head.size == registry.log.size()
        bare = await get(address, f"{LOG}/checkpoint", method="HEAD")
        assert (bare.status, bare.body) == (200, b"")
        assert bare.headers["content-length"] == got.headers["content-length"]
        assert got.headers["x-content-type-options"] == "nosniff"
        policy = await get(address, "/log/policy")
        assert policy.body.decode() == f"log {trust.log_key.vkey}\nquorum none\n"


async def test_archived_evidence_is_read_with_a_key_and_the_log_says_by_whom(site: Site) -> None:
    """An auditor fetches a bundle by the digest in its verdict; nobody without a key does."""
    async with serving_site(site) as (registry, address), site.client(registry, "provider") as provider:
        admitted = await register(provider, machine())
        assert isinstance(admitted, Admitted)
        verdict = parse_entry(admitted.presented.verdict_entry)
        digest = str(verdict.body["evidence"][0]["sha256"])  # type: ignore[index,call-overload]
        assert (await get(address, f"/evidence/{digest}")).status == 401
        before = registry.log.size()
        got = await get(address, f"/evidence/{digest}", authorization=f"Bearer {site.keys['auditor']}")
        assert hashlib.sha256(got.body).hexdigest() == digest
        (entry,) = registry.log.entries(before)
        assert parse_entry(entry.data).body["by"] == "auditor-1"
        assert parse_entry(entry.data).body["target"] == f"evidence/{digest}"


async def test_it_is_off_unless_an_address_is_given(site: Site) -> None:
    """A registry without the table listens for nobody."""
    async with site.run() as registry:
        assert registry.http_address is None


async def test_others_are_reached_with_tls_only(site: Site) -> None:
    """A credential would cross the network in the clear."""
    with pytest.raises(SettingsError):
        async with site.run(http=HTTPSettings(listen="0.0.0.0:0")):
            pass


def test_the_listener_serves_tls(tmp_path: Path) -> None:
    """With a pair of files, plain HTTP is no longer spoken."""
    identity = make_identity("log.example", "log.example")
    (tmp_path / "key.pem").write_bytes(identity.key_pem)
    (tmp_path / "certificate.pem").write_bytes(identity.certificate_pem)
    context = tls_context("0.0.0.0:0", certificate=tmp_path / "certificate.pem", key=tmp_path / "key.pem")

    async def ask() -> tuple[bytes, bytes]:
        async with serving("127.0.0.1:0", echo, tls=context) as address:
            host, _, port = address.rpartition(":")
            trusting = ssl.create_default_context(cadata=identity.certificate_pem.decode())
            trusting.check_hostname = False
            reader, writer = await asyncio.open_connection(host, int(port), ssl=trusting)
            writer.write(b"GET /page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            over_tls = await reader.read()
            writer.close()
            try:
                return over_tls, await converse(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            except OSError:
                return over_tls, b""

    over_tls, plain = asyncio.run(ask())
    assert over_tls.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 200" not in plain


def echo(request: Request) -> Response:
    return Response(status=200, body=request.path.encode() + request.body)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * (64 * 1024) + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", 413),
        (b"GET /a%2f.. HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        (b"BREW / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405),
    ],
)
async def test_what_is_no_request_is_refused_with_a_status(sent: bytes, status: int) -> None:
    """And the connection closes: what follows is not read as another request."""
    async with serving("127.0.0.1:0", echo) as address:
        got = await converse(address, sent + b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"/second" not in got


async def test_requests_follow_each_other_on_one_connection() -> None:
    """A browser asks for many tiles over one connection, and may ask before it was answered."""
    async with serving("127.0.0.1:0", echo) as address:
        got = await converse(address, b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % n for n in range(5)))
    assert [got.count(b"\r\n\r\n/%d" % n) for n in range(5)] == [1] * 5


async def test_a_body_is_taken_where_one_is_allowed() -> None:
    """POST up to the limit; one byte more is 413."""
    post = b"POST /add HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    async with serving("127.0.0.1:0", echo, max_body=10) as address:
        assert (await converse(address, post % 10 + b"0123456789")).endswith(b"/add0123456789")
        assert (await converse(address, post % 11 + b"0123456789a")).startswith(b"HTTP/1.1 413 ")


async def test_a_peer_that_never_finishes_its_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow writers hold a connection for a bounded time."""
    monkeypatch.setattr(http_server, "ASK_SECONDS", 0.1)
    async with serving("127.0.0.1:0", echo) as address:
        try:
            got = await converse(address, b"GET / HTTP/1.1\r\nho", end=False)
        except ConnectionResetError:
            got = b""
    assert got == b""


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed at once; when one leaves, another is served."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 1)
    request = b"GET /page HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    async with serving("127.0.0.1:0", echo) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readuntil(b"/first")).startswith(b"HTTP/1.1 200")
        try:
            refused = await converse(address, request)
        except OSError:
            refused = b""
        assert refused == b""
        writer.close()
        assert await _until_served(address, request)


async def _until_served(address: str, request: bytes) -> bool:
    while True:
        with contextlib.suppress(OSError):
            if (await converse(address, request)).startswith(b"HTTP/1.1 200"):
                return True


async def test_a_failure_tells_the_peer_nothing() -> None:
    """An exception nobody foresaw is a 500 without its text."""

    def failing(_: Request) -> Response:
        raise RuntimeError("a secret path")

    async with serving("127.0.0.1:0", failing) as address:
        got: Got = await get(address, "/")
    assert got.status == 500
    assert b"secret" not in got.body
