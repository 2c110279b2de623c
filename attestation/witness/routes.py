# SPDX-License-Identifier: Apache-2.0
"""The witness over HTTP (C2SP tlog-witness), submission and monitoring under one prefix.

    POST /add-checkpoint                   judged and cosigned, see `attestation.witness.verdict`
    GET  /<sha256(origin)>/checkpoint      the last note cosigned, with lines of the log and the witness; 404 if none

Nothing else is served; `sign-subtree`, which C2SP leaves open, is not.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from attestation.http.message import Request, Response, refusal
from attestation.tlog.add_checkpoint import PATH, SIZE_TYPE, monitoring_path
from attestation.tlog.store import LogError
from attestation.witness.quota import Buckets
from attestation.witness.telemetry import Telemetry
from attestation.witness.verdict import Outcome
from attestation.witness.witness import Answered, Witness

_PLAIN: Final = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
_TEXTS: Final = {
    Outcome.MALFORMED: "the request is not one",
    Outcome.UNKNOWN_LOG: "no log of this origin is known here",
    Outcome.UNSIGNED: "the checkpoint has no valid signature by a key of this log",
    Outcome.LIMITED: "this log has used up its quota",
    Outcome.OLD_TOO_LARGE: "the old size is above the size submitted",
    Outcome.EMPTY_ROOT: "the root is not that of an empty tree",
    Outcome.INCONSISTENT: "the consistency proof does not lead to this checkpoint",
    Outcome.FORKED: "another root was cosigned for this size",
    Outcome.ROLLED_BACK: "the witness's memory is behind what it has cosigned, its operator must act",
    Outcome.CLOCK: "the witness's clock is behind its last cosignature",
    Outcome.UNAVAILABLE: "the witness's storage failed",
}


class Routes:
    """Answers requests of any peer. Safe to call from any thread; blocks on disk."""

    def __init__(
        self, *, witness: Witness, peers: Buckets, telemetry: Telemetry, clock: Callable[[], datetime]
    ) -> None:
        self._witness = witness
        self._peers = peers
        self._telemetry = telemetry
        self._clock = clock
        self._checkpoints = {monitoring_path(log.origin): log.origin for log in witness.logs}

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        if not self._peers.take(request.peer, self._clock()):
            self._telemetry.turned_away()
            return refusal(429, "this address sends too many requests", {"retry-after": "60"})
        if request.path == PATH:
            if request.method != "POST":
                return refusal(405, "the method is not served here, want POST", {"allow": "POST"})
            answered = self._witness.add_checkpoint(request.body)
            self._telemetry.answered(answered)
            return _response(answered)
        if request.method == "POST":
            return refusal(405, "the method is not served here, want GET or HEAD", {"allow": "GET, HEAD"})
        return self._checkpoint(request.path)

    def _checkpoint(self, path: str) -> Response:
        origin = self._checkpoints.get(path)
        try:
            note = self._witness.last(origin) if origin is not None else None
        except LogError:
            return refusal(503, _TEXTS[Outcome.ROLLED_BACK])
        if note is None:
            return refusal(404, "nothing of this log was cosigned here")
        return Response(status=200, body=note, headers=_PLAIN)


def _response(answered: Answered) -> Response:
    status = answered.outcome.status
    if answered.outcome is Outcome.COSIGNED:
        body = "".join(line.text for line in answered.lines).encode()
        return Response(status=status, body=body, headers=_PLAIN)
    if answered.outcome is Outcome.CONFLICT:
        return Response(status=status, body=b"%d\n" % answered.size, headers=_PLAIN | {"content-type": SIZE_TYPE})
    waits = {"retry-after": "60"} if answered.outcome is Outcome.LIMITED else {}
    return refusal(status, _TEXTS[answered.outcome], waits)
