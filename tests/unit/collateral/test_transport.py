# SPDX-License-Identifier: Apache-2.0
"""The way out is bounded: what a service sends, how slowly, and from where, costs no more than its limits."""

import ssl
import time

import pytest

from attestation.collateral.transport import HTTPSTransport, TransportError
from attestation.errors import Reason
from tests.support.vendor_server import Answering, VendorServer, dripping, proxying, raw, reply, serving

pytestmark = pytest.mark.net

LIMIT = 1000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def transport(server: VendorServer, *, seconds: float = 20.0, proxy: str | None = None) -> HTTPSTransport:
    return HTTPSTransport(hosts={server.host}, tls=server.trusting, seconds=seconds, proxy=proxy)


def refusal(answer: Answering, *, seconds: float = 20.0) -> TransportError:
    """Why a GET answered like this gives nothing."""
    with serving(answer) as server, pytest.raises(TransportError) as refused:
        transport(server, seconds=seconds).get(f"{server.url}/thing", limit=LIMIT)
    assert refused.value.reason is Reason.COLLATERAL_UNAVAILABLE
    return refused.value


def test_a_whole_answer_arrives_with_status_and_headers() -> None:
    """Status, lower-case headers and body come back, whatever the status."""
    with serving(reply(b"{}", status="404 Not Found", headers="X-Chain: abc\r\n")) as server:
        got = transport(server).get(f"{server.url}/thing?a=b", limit=LIMIT)
    assert (got.status, got.body, got.headers["x-chain"], got.media_type) == (404, b"{}", "abc", "application/json")
    head = server.asked[0]
    assert head.startswith(b"GET /thing?a=b HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in head


def test_a_post_carries_its_body_and_type() -> None:
    """The body and its media type reach the server."""
    with serving(reply(b"ok", media_type="application/ocsp-response")) as server:
        sent = transport(server).post(f"{server.url}/", b"asked", media_type="application/ocsp-request", limit=LIMIT)
    assert sent.body == b"ok"
    assert b"Content-Type: application/ocsp-request\r\n" in server.asked[0]


def test_chunks_are_an_answer_too() -> None:
    """A chunked body is put together."""
    with serving(raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) as server:
        assert transport(server).get(server.url + "/", limit=LIMIT).body == b"abcde"


def test_a_redirect_is_not_followed() -> None:
    """It is a status like any other: no second request is made, to whatever host it names."""
    with serving(reply(status="302 Found", headers="Location: https://elsewhere.example/\r\n")) as server:
        assert transport(server).get(server.url + "/", limit=LIMIT).status == 302
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"x" * (LIMIT + 1)),
        reply(b"", length=1 << 40),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"40\r\n" + b"x" * 64 + b"\r\n", pause=0),
        reply(b"\x1f\x8b" + b"\0" * 50, headers="Content-Encoding: gzip\r\n"),
        raw(HEAD + b"\r\nno length at all"),
    ],
    ids=["too long", "claims a tebibyte", "chunks without end", "gzip bomb", "no length"],
)
def test_bodies_out_of_bounds_are_refused_for_good(answer: Answering) -> None:
    """Too long, encoded or unframed: refused by what the headers say or at the limit, and not worth another attempt."""
    assert not refusal(answer).passing


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"half", length=9),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
        raw(b""),
        raw(b"SSH-2.0-OpenSSH\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n"),
    ],
    ids=["truncated", "truncated chunk", "silence", "not http", "endless header", "many headers"],
)
def test_broken_answers_may_pass(answer: Answering) -> None:
    """What ends early or is no HTTP gives nothing, and may be better next time."""
    assert refusal(answer).passing


@pytest.mark.parametrize(
    "answer",
    [
        dripping(HEAD + b"Content-Length: 900\r\n\r\n", b"x", pause=0.05),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X", pause=0.05),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.05),
    ],
    ids=["slow body", "slow header", "continues for ever"],
)
def test_a_slow_answer_ends_at_the_deadline(answer: Answering) -> None:
    """However the bytes trickle, the call ends once its time is over, not once a byte is late."""
    started = time.monotonic()
    assert refusal(answer, seconds=0.5).passing
    assert time.monotonic() - started < 10  # nine hundred drops alone would take 45 seconds


@pytest.mark.parametrize(
    "url",
    [
        "http://{host}/",
        "https://elsewhere.example/",
        "https://127.0.0.1/",
        "https://user@{host}/",
        "https://{host}.elsewhere.example/",
        "https://elsewhere.example#@{host}/",
        "https://{host}/a b",
        "https://{host}/\r\nX: y",
        "https://{host}/" + "a" * 3000,
        "file:///etc/passwd",
        "https://[/",
    ],
)
def test_only_allowed_hosts_are_asked(url: str) -> None:
    """Another scheme, host, port or user, or an address that is not plain, is refused before anything connects."""
    with serving(reply(b"{}")) as server:
        with pytest.raises(TransportError) as refused:
            transport(server).get(url.format(host=server.host), limit=LIMIT)
        assert not refused.value.passing
        assert server.asked == []


def test_a_certificate_of_another_name_is_refused() -> None:
    """TLS is checked against the host asked for; that will not mend itself."""
    with serving(reply(b"{}"), name="elsewhere.example") as server, pytest.raises(TransportError) as refused:
        transport(server).get(server.url + "/", limit=LIMIT)
    assert not refused.value.passing


def test_an_unknown_authority_is_refused() -> None:
    """A server nobody vouches for gets no request."""
    with serving(reply(b"{}")) as server:
        strict = HTTPSTransport(hosts={server.host}, tls=ssl.create_default_context(), seconds=20)
        with pytest.raises(TransportError):
            strict.get(server.url + "/", limit=LIMIT)
    assert server.asked == []


def test_proxies_come_from_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not used; one that is set is asked to connect, and sees no more than the host."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with serving(reply(b"{}")) as server:
        assert transport(server).get(server.url + "/", limit=LIMIT).status == 200
        with proxying(server.host) as (proxy, asked):
            assert transport(server, proxy=proxy).get(server.url + "/secret", limit=LIMIT).status == 200
    assert asked[0].startswith(f"CONNECT {server.host} HTTP/1.1\r\n".encode())
    assert b"secret" not in b"".join(asked)
