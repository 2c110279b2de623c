# SPDX-License-Identifier: Apache-2.0
"""One vendor's service: builds its URLs, asks with bounded retries, and says which answers count.

Retried, with growing and jittered pauses: no answer, 429, 500, 502, 503 and 504. A `Retry-After` in seconds is heeded
up to a limit. Anything else but 200 is final.
"""

from collections.abc import Callable, Collection
from enum import Enum
from typing import Final
from urllib.parse import urlencode

from attestation.collateral.transport import Response, Transport, TransportError

ATTEMPTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 8.0
_PASSING: Final = frozenset({429, 500, 502, 503, 504})


class Body(Enum):
    """What a body must say it is. Vendors name binary types as they please, but an error page is always text."""

    JSON = "json"
    BINARY = "binary"
    TEXT = "text"

    def fits(self, media_type: str) -> bool:
        """Whether a body of this type may be read."""
        if self is Body.JSON:
            return media_type == "application/json"
        if self is Body.BINARY:
            return media_type != "application/json" and not media_type.startswith(("text/", "multipart/"))
        return media_type != "application/json" and not media_type.startswith("multipart/")


class Service:
    """Asks one service. `pause` sleeps; `jitter` gives a number from 0 to 1 (both handed in, so tests do not wait)."""

    def __init__(
        self, *, transport: Transport, base: str, pause: Callable[[float], None], jitter: Callable[[], float]
    ) -> None:
        self._transport = transport
        self._base = base.rstrip("/")
        self._pause = pause
        self._jitter = jitter

    def get(self, path: str, query: Collection[tuple[str, str]] = (), *, body: Body, limit: int) -> Response:
        """The 200 answer to a GET. Raises `TransportError`, its text without path and query, which may name a chip."""
        url = self._base + path + (f"?{urlencode(list(query))}" if query else "")
        return self._ask(lambda: self._transport.get(url, limit=limit), body)

    def post(self, data: bytes, *, media_type: str, body: Body, limit: int) -> Response:
        """The 200 answer to a POST at the base itself. Raises `TransportError`."""
        url = self._base + "/"
        return self._ask(lambda: self._transport.post(url, data, media_type=media_type, limit=limit), body)

    def _ask(self, send: Callable[[], Response], body: Body) -> Response:
        got = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = send()
                if response.status not in _PASSING:
                    return self._usable(response, body)
                pause, got = _asked_pause(response), f"status {response.status}"
            except TransportError as error:
                if not error.passing or attempt == ATTEMPTS:
                    raise
                pause, got = None, error.message
            if attempt < ATTEMPTS:
                growing = FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1) * (0.5 + self._jitter())
                self._pause(min(MAX_PAUSE_SECONDS, growing if pause is None else max(pause, growing)))
        raise TransportError(f"{self._base} answer is {got} {ATTEMPTS} times, want 200", passing=True)

    def _usable(self, response: Response, body: Body) -> Response:
        if response.status != 200:
            raise TransportError(f"{self._base} status is {response.status}, want 200", passing=False)
        if not body.fits(response.media_type):
            got = response.media_type[:64] or "missing"
            raise TransportError(f"{self._base} content-type is {got}, want {body.value}", passing=False)
        return response


def _asked_pause(response: Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
