# SPDX-License-Identifier: Apache-2.0
"""What the registry serves over HTTP, by address (docs/spec.md, 10.7); decides nothing itself.

    /<log>/checkpoint, /<log>/tile/...   each log under its origin's path: `market.example/evidence` under /evidence
    /log/policy                          the witness policy and the log's keys, to compare with a copy from elsewhere
    /evidence/<sha256>                   raw evidence, with a credential
    /audit, /audit/...                   the audit page

Failures are answered with their reason code and a text of public values. Every answer says that it is no script, is
shown in no frame and fetches nothing from elsewhere.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from attestation.errors import Reason, SealbidError
from attestation.http.message import Request, Response, refusal
from attestation.server.http_evidence import DIGEST, EvidenceArchive
from attestation.server.http_log import TEXT, PublicLog

EVERYWHERE: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every answer; a page sets a content policy of its own."""

_STATUS: Final[Mapping[Reason, int]] = {
    Reason.MALFORMED: 400,
    Reason.UNAUTHENTICATED: 401,
    Reason.PERMISSION_DENIED: 403,
    Reason.NOT_FOUND: 404,
    Reason.RATE_LIMITED: 429,
    Reason.STORE_UNAVAILABLE: 503,
}
Page: TypeAlias = Callable[[str, Request], Response | None]
"""Answers for an address, given without /audit."""

_LOG: Final = logging.getLogger("attestation.server")


def log_path(origin: str) -> str:
    """Where a log is served: the part of its origin after the host, `log` if there is none."""
    return origin.partition("/")[2].strip("/") or "log"


class Site:
    """Routes of one registry. Safe to call from any thread."""

    def __init__(
        self, *, logs: Mapping[str, PublicLog], evidence: EvidenceArchive, policy: Callable[[], str], page: Page
    ) -> None:
        self._logs = {f"/{path}/": log for path, log in logs.items()}
        self._evidence = evidence
        self._policy = policy
        self._page = page

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        try:
            return self._route(request) or refusal(404, "NOT_FOUND: nothing is served at this address")
        except SealbidError as error:
            status = _STATUS.get(error.reason, 500)
            if status == 500:
                _LOG.error("http request refused", extra={"reason": error.reason.value, "text": error.message})
            challenge = {"www-authenticate": 'Bearer realm="sealbid"'} if status == 401 else {}
            return refusal(status, f"{error.reason}: {error.message}", challenge)

    def _route(self, request: Request) -> Response | None:
        path = request.path
        if path == "/":
            return Response(status=307, headers={"location": "/audit", "cache-control": "no-cache"})
        if path == "/audit" or path.startswith("/audit/"):
            return self._page(path.removeprefix("/audit"), request)
        if path == "/log/policy":
            return Response(status=200, body=self._policy().encode(), headers={**TEXT, "cache-control": "no-cache"})
        if path.startswith("/evidence/") and DIGEST.fullmatch(path.removeprefix("/evidence/")):
            return self._evidence.answer(path.removeprefix("/evidence/"), request)
        for prefix, log in self._logs.items():
            if path.startswith(prefix):
                return log.answer(path.removeprefix(prefix), request)
        return None
