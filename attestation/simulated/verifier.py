# SPDX-License-Identifier: Apache-2.0
"""SIMULATED: verifies the evidence of a TEE made of a key in the clear, the way real kinds are verified.

It shares the protocol, the failure modes and the claims of real verifiers, so that the whole path can be built and
tested without hardware. Genuine here means only: signed with the published development key.
"""

from collections.abc import Sequence
from datetime import datetime

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, Measurement, TCBStatus, TEEKind
from attestation.errors import CollateralUnavailable, Malformed, MalformedEvidence, NotGenuine, Reason
from attestation.simulated.formats import (
    COLLATERAL_KIND,
    EVIDENCE_FORMAT,
    SimulatedQuote,
    SimulatedTCB,
    open_quote,
    open_tcb,
)


class SimulatedVerifier:
    """A `Verifier` of SIMULATED evidence."""

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What the SIMULATED platform says. Raises as `attestation.tee.interface.Verifier` promises."""
        if evidence.kind is not TEEKind.SIMULATED or evidence.format != EVIDENCE_FORMAT:
            got = f"{evidence.kind.value} {evidence.format[:32]!r}"
            raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want simulated {EVIDENCE_FORMAT!r}")
        try:
            quote = open_quote(evidence.data)
        except Malformed as error:
            raise MalformedEvidence(error.reason, error.message) from None
        tcb = _current_tcb(collateral, now)
        return EvidenceClaims(
            kind=TEEKind.SIMULATED,
            measurements=(Measurement(register="image", algorithm="sha384", digest=quote.measurement),),
            debug=quote.debug,
            tcb_status=_status(quote, tcb),
            advisories=(),
            platform_ids=quote.components,
            slot=quote.report_data,
            collateral_expires=tcb.expires,
        )


def _current_tcb(collateral: Sequence[Collateral], now: datetime) -> SimulatedTCB:
    """The offered TCB statement that is valid longest; a bad statement is refused, never skipped."""
    offered = [_open(item) for item in collateral if item.kind == COLLATERAL_KIND]
    if not offered:
        raise CollateralUnavailable(
            Reason.COLLATERAL_UNAVAILABLE, f"collateral {COLLATERAL_KIND} is missing, want one statement"
        )
    newest = max(offered, key=lambda tcb: (tcb.expires, tcb.issued))
    if not newest.issued <= now < newest.expires:
        valid = f"{newest.issued.isoformat()}..{newest.expires.isoformat()}"
        raise CollateralUnavailable(
            Reason.COLLATERAL_EXPIRED, f"collateral {COLLATERAL_KIND} is valid {valid}, want valid at {now.isoformat()}"
        )
    return newest


def _open(item: Collateral) -> SimulatedTCB:
    try:
        return open_tcb(item.data)
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None
    except NotGenuine as error:
        raise NotGenuine(error.reason, f"collateral {COLLATERAL_KIND}: {error.message}") from None


def _status(quote: SimulatedQuote, tcb: SimulatedTCB) -> TCBStatus:
    if quote.security_version >= tcb.current:
        return TCBStatus.UP_TO_DATE
    return TCBStatus.OUT_OF_DATE if quote.security_version >= tcb.supported else TCBStatus.REVOKED
