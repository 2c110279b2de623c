# SPDX-License-Identifier: Apache-2.0
"""The frame of every view: one document that asks for nothing else, and the content policy that holds it to that.

Style and script stand in the document itself, so that a saved page still verifies, and only these two, by their
hashes, may style or run.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from attestation.server.page.html import Child, Markup, join, tag
from attestation.server.page.values import Status
from attestation.tlog.schema import format_time

_PLACES: Final = (
    ("Status", "/audit#status"),
    ("Nodes", "/audit#nodes"),
    ("Verdicts", "/audit/verdicts"),
    ("Policies", "/audit/policies"),
    ("Keys", "/audit#keys"),
    ("Exceptions", "/audit#exceptions"),
    ("Controls", "/audit#controls"),
    ("Limits", "/audit#limits"),
)


@cache
def asset(name: str) -> Markup:
    """A file of this package that goes into the document as it is."""
    return Markup((files(__package__) / name).read_text(encoding="utf-8"))


@cache
def headers() -> Mapping[str, str]:
    """The headers of every view."""
    policy = (
        "default-src 'none'",
        f"script-src {_hash('page.js')}",
        f"style-src {_hash('page.css')}",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(policy),
        "cache-control": "no-cache",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }


def document(title: str, status: Status, *content: Child) -> bytes:
    """A whole page; `title` is its first heading."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · {status.origin}"),
        tag("style", asset("page.css")),
    )
    links = [tag("li", tag("a", text, href=target)) for text, target in _PLACES]
    body = tag(
        "body",
        tag("a", "Skip to content", href="#content", class_="skip"),
        tag(
            "header",
            tag("p", tag("a", "Sealbid audit", href="/audit"), " of ", tag("code", status.origin), class_="site"),
            tag("nav", tag("ul", links), aria_label="Sections"),
            _warning(status),
            _line(status),
        ),
        tag("main", tag("h1", title), content, id="content", tabindex=-1),
        tag("script", asset("page.js")),
        data_origin=status.origin,
        data_log=f"/{status.path}",
        data_key=status.vkey,
    )
    return join(Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en")).encode()


def _line(status: Status) -> Markup:
    verified = tag("span", "no: it needs a script, over HTTPS or on localhost", id="verified", role="status")
    return tag(
        "p",
        f"{status.size} entries, newest ",
        tag("span", format_time(status.newest) if status.newest else "unknown"),
        ". ",
        tag("strong", status.witnessed),
        ". Verified in this browser: ",
        verified,
        class_="line",
    )


def _warning(status: Status) -> Markup | None:
    if not status.simulated:
        return None
    text = " This registry accepts simulated evidence. It protects nothing and proves nothing."
    return tag("p", tag("strong", "SIMULATED."), text, class_="warning")


def _hash(name: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()}'"
