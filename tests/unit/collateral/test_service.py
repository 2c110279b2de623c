# SPDX-License-Identifier: Apache-2.0
"""A service is asked again only when that may help, never for long, and only answers of the right kind count."""

from collections.abc import Sequence

import pytest

from attestation.collateral.service import ATTEMPTS, MAX_PAUSE_SECONDS, Body, Service
from attestation.collateral.transport import Response, TransportError
from tests.support.vendor_server import Scripted, response

GOOD = response(b"{}")
BROKEN = TransportError("host answer is timeouterror, want a whole one in time", passing=True)


class Asking:
    """A service whose answers come in this order; `pauses` are what it waited between attempts."""

    def __init__(self, *answers: Response | TransportError) -> None:
        left = list(answers)
        self.pauses: list[float] = []
        self.transport = Scripted(answer=lambda _url, _body: left.pop(0))
        base = "https://vendor.example/base/"
        self.service = Service(transport=self.transport, base=base, pause=self.pauses.append, jitter=lambda: 0.5)

    def get(self, body: Body = Body.JSON) -> Response:
        return self.service.get("/chip/0123", (("blSPL", "03"),), body=body, limit=10)


@pytest.mark.parametrize("passing", [BROKEN, *(response(b"", status=code) for code in (429, 500, 502, 503, 504))])
def test_what_may_pass_is_asked_again(passing: Response | TransportError) -> None:
    """No answer, too many requests and failing servers are tried again after pauses that grow."""
    asking = Asking(passing, passing, GOOD)
    assert asking.get() is GOOD
    assert asking.transport.asked == ["https://vendor.example/base/chip/0123?blSPL=03"] * 3
    assert len(asking.pauses) == 2
    assert asking.pauses[0] < asking.pauses[1]


@pytest.mark.parametrize("code", [301, 302, 307, 400, 401, 403, 404, 410, 304, 204])
def test_what_is_final_is_asked_once(code: int) -> None:
    """Redirects, refusals and absences end the matter at once."""
    asking = Asking(response(b"", status=code))
    with pytest.raises(TransportError) as refused:
        asking.get()
    assert not refused.value.passing
    assert asking.pauses == []


@pytest.mark.parametrize("answers", [[BROKEN] * ATTEMPTS, [response(b"", status=503)] * ATTEMPTS])
def test_attempts_are_bounded(answers: Sequence[Response | TransportError]) -> None:
    """After the last attempt the failure is the caller's, without a pause after it."""
    asking = Asking(*answers)
    with pytest.raises(TransportError):
        asking.get()
    assert len(asking.transport.asked) == ATTEMPTS
    assert len(asking.pauses) == ATTEMPTS - 1


@pytest.mark.parametrize(("asked", "waited"), [("3", 3.0), ("86400", MAX_PAUSE_SECONDS), ("soon", 0.5), ("-1", 0.5)])
def test_a_service_may_ask_for_a_pause(asked: str, waited: float) -> None:
    """Retry-After in seconds is heeded up to a limit; anything else there is not."""
    asking = Asking(response(b"", status=429, retry_after=asked), GOOD)
    asking.get()
    assert asking.pauses == [waited]


@pytest.mark.parametrize(
    ("body", "media_type", "fits"),
    [
        (Body.JSON, "application/json; charset=utf-8", True),
        (Body.JSON, "text/html", False),
        (Body.JSON, "", False),
        (Body.BINARY, "application/pkix-cert", True),
        (Body.BINARY, "binary/octet-stream", True),
        (Body.BINARY, "text/html; charset=utf-8", False),
        (Body.BINARY, "application/json", False),
        (Body.TEXT, "application/x-pem-file", True),
        (Body.TEXT, "text/html", True),
        (Body.TEXT, "application/json", False),
        (Body.TEXT, "multipart/mixed", False),
    ],
)
def test_the_content_type_decides(body: Body, media_type: str, fits: bool) -> None:
    """An error page with status 200 is no answer: JSON is JSON, and binary is never text."""
    asking = Asking(response(b"{}", media_type))
    if fits:
        assert asking.get(body).body == b"{}"
        return
    with pytest.raises(TransportError) as refused:
        asking.get(body)
    assert not refused.value.passing


def test_errors_tell_no_chip() -> None:
    """Paths and queries name machines; no error repeats them."""
    for answers in ([response(b"", status=404)], [response(b"", status=503)] * ATTEMPTS, [response(b"", "text/html")]):
        with pytest.raises(TransportError) as refused:
            Asking(*answers).get()
        assert "0123" not in refused.value.message
        assert "SPL" not in refused.value.message
