# SPDX-License-Identifier: Apache-2.0
"""Requests of the HTTP listener: what is one, and what is refused with which status."""

import h11
import pytest

from attestation.http.message import MAX_FIELDS, MAX_TARGET_CHARACTERS, Request, Response, read_request


def head(target: str, method: str = "GET", **headers: str) -> h11.Request:
    lines = [("host", "log.example"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return h11.Request(method=method, target=target, headers=lines)


def status(refused: Request | Response) -> int:
    assert isinstance(refused, Response)
    return refused.status


def test_a_request_has_path_query_and_headers() -> None:
    """The last of several fields of one name counts; names of headers are lower-case."""
    got = read_request(head("/audit/verdicts?node=a%20b&node=c", Accept="text/html"), bodies=False)
    assert isinstance(got, Request)
    assert (got.method, got.path, got.query["node"], got.headers["accept"]) == (
        "GET",
        "/audit/verdicts",
        "c",
        "text/html",
    )


def test_head_is_answered_as_get() -> None:
    """Whoever answers need not know HEAD: the listener leaves the body out."""
    got = read_request(head("/log/policy", "HEAD"), bodies=False)
    assert isinstance(got, Request)
    assert got.method == "GET"


@pytest.mark.parametrize(
    "target", ["*", "http://else.example/", "/%2e%2e/log.key", "/a b", "//\\..", "/tile;v", "/\u00e9", "relative"]
)
def test_only_plain_paths_are_looked_up(target: str) -> None:
    """Escapes, other sites and odd characters name nothing here."""
    assert status(read_request(_raw(target), bodies=False)) == 404


def _raw(target: str) -> h11.Request:
    request = head("/")
    object.__setattr__(request, "target", target.encode("latin-1"))
    return request


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "CONNECT", "POST"])
def test_other_methods_are_named_as_not_served(method: str) -> None:
    """405 says which methods are."""
    refused = read_request(head("/log/policy", method), bodies=False)
    assert status(refused) == 405
    assert isinstance(refused, Response)
    assert refused.headers["allow"] == "GET, HEAD"


def test_post_is_served_where_bodies_are() -> None:
    """A listener that takes bodies takes POST."""
    assert isinstance(read_request(head("/add-checkpoint", "POST"), bodies=True), Request)


def test_addresses_and_queries_are_bounded() -> None:
    """Neither a long address nor many fields are parsed."""
    assert status(read_request(head("/" + "a" * MAX_TARGET_CHARACTERS), bodies=False)) == 414
    many = "&".join(f"k{number}=1" for number in range(MAX_FIELDS + 1))
    assert status(read_request(head(f"/audit?{many}"), bodies=False)) == 400
    assert status(read_request(head("/audit?node=%ff"), bodies=False)) == 400


def test_two_credentials_or_an_upgrade_are_refused() -> None:
    """What a proxy and this listener might read differently is read by neither."""
    twice = h11.Request(
        method="GET", target="/", headers=[("host", "a"), ("authorization", "x"), ("authorization", "y")]
    )
    assert status(read_request(twice, bodies=False)) == 400
    assert status(read_request(head("/", upgrade="websocket", connection="upgrade"), bodies=False)) == 400
