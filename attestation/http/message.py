# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the small HTTP listener, as values; `read_request` is pure and total.

    target = path [ "?" query ]                       at most 2,048 characters
    path   = 1*( "/" *( ALPHA / DIGIT / "-" / "." / "_" ) )         no escapes; "." and ".." are names like others
    query  = form fields, percent-encoded UTF-8, at most 16

Refused: methods that are not served, escapes in paths, several credentials, upgrades, and bodies where none are taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import h11

MAX_TARGET_CHARACTERS: Final = 2048
MAX_FIELDS: Final = 16
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._-]*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. `query` holds the last value of each field; names of `headers` are lower-case; HEAD comes as GET."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    peer: str = field(default="", repr=False)
    """The address the connection comes from, for rate limits only; never logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer; length, date and connection are the listener's to say."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of one plain line that nobody may keep."""
    kept = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return Response(status=status, body=text.encode() + b"\n", headers={**kept, **(headers or {})})


def read_request(head: h11.Request, *, bodies: bool) -> Request | Response:
    """The request without its body, or the refusal of one that is not served. With `bodies`, POST is served too."""
    methods = ("GET", "HEAD", "POST") if bodies else ("GET", "HEAD")
    method, target = head.method.decode("ascii"), head.target.decode("latin-1")
    if method not in methods:
        return refusal(
            405, f"the method is not served here, want {' or '.join(methods)}", {"allow": ", ".join(methods)}
        )
    if len(target) > MAX_TARGET_CHARACTERS:
        return refusal(414, f"the address has {len(target)} characters, want at most {MAX_TARGET_CHARACTERS}")
    path, _, query = target.partition("?")
    if _PATH.fullmatch(path) is None:
        return refusal(404, "no such page")
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    if sum(name == b"authorization" for name, _ in head.headers) > 1 or "upgrade" in headers:
        return refusal(400, "the request has several credentials or an upgrade, want neither")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError:
        return refusal(400, "the query is no form")
    return Request(method="GET" if method == "HEAD" else method, path=path, query=fields, headers=headers)
