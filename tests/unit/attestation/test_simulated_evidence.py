# SPDX-License-Identifier: Apache-2.0
"""SIMULATED evidence is parsed and verified as strictly as evidence that means something."""

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, TCBStatus, TEEKind
from attestation.codec import cbor, cose
from attestation.errors import MalformedEvidence, NotGenuine, Reason, SealbidError
from attestation.simulated import formats
from attestation.simulated.formats import SimulatedQuote, SimulatedTCB, sign_quote, sign_tcb
from attestation.simulated.verifier import SimulatedVerifier
from tests.support.attested import NOW

QUOTE = SimulatedQuote(
    components=(
        ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),
        ComponentID(kind=ComponentKind.GPU, value=b"gpu-serial-7"),
    ),
    measurement=bytes(48),
    debug=False,
    security_version=2,
    report_data=bytes(64),
)
TCB = SimulatedTCB(issued=NOW - timedelta(days=1), expires=NOW + timedelta(days=1), current=2, supported=1)


def evidence(data: bytes) -> Evidence:
    return Evidence(kind=TEEKind.SIMULATED, format=formats.EVIDENCE_FORMAT, data=data)


def collateral(tcb: SimulatedTCB = TCB) -> tuple[Collateral, ...]:
    return (Collateral(kind=formats.COLLATERAL_KIND, data=sign_tcb(tcb)),)


@pytest.mark.parametrize(
    ("version", "status"),
    [(3, TCBStatus.UP_TO_DATE), (2, TCBStatus.UP_TO_DATE), (1, TCBStatus.OUT_OF_DATE), (0, TCBStatus.REVOKED)],
)
def test_claims_come_from_the_signed_bytes(version: int, status: TCBStatus) -> None:
    """Everything the verifier says is read from the evidence; the TCB status from the collateral's bounds."""
    data = sign_quote(replace(QUOTE, security_version=version))
    claims = SimulatedVerifier().verify(evidence(data), collateral(), now=NOW)
    assert claims.kind is TEEKind.SIMULATED
    assert claims.platform_ids == QUOTE.components
    assert claims.measurements[0].digest == QUOTE.measurement
    assert (claims.debug, claims.slot, claims.tcb_status) == (False, QUOTE.report_data, status)
    assert claims.collateral_expires == TCB.expires


@pytest.mark.parametrize("moment", [TCB.issued - timedelta(seconds=1), TCB.expires, TCB.expires + timedelta(days=1)])
def test_collateral_is_good_between_its_times_only(moment: object) -> None:
    """Before issue and from expiry on the verifier cannot decide."""
    with pytest.raises(SealbidError) as refused:
        SimulatedVerifier().verify(evidence(sign_quote(QUOTE)), collateral(), now=moment)  # type: ignore[arg-type]
    assert refused.value.reason is Reason.COLLATERAL_EXPIRED


def test_forged_collateral_is_not_skipped() -> None:
    """One bad statement among good ones refuses the lot: nobody may drown out a newer one."""
    forged = replace(collateral()[0], data=collateral()[0].data[:-1] + b"\x00")
    with pytest.raises(NotGenuine):
        SimulatedVerifier().verify(evidence(sign_quote(QUOTE)), (*collateral(), forged), now=NOW)


@pytest.mark.parametrize(
    ("key", "value"),
    [(1, []), (1, [["cpu", b"short"]]), (1, [["toaster", bytes(16)]]), (2, bytes(32)), (3, 1), (5, bytes(32))],
)
def test_signed_nonsense_is_malformed(key: int, value: cbor.Item) -> None:
    """A field of the wrong form is refused although the signature holds."""
    body = dict(cbor.decode_map(cose.parse(sign_quote(QUOTE)).payload, "sealbid/simulated-evidence/1", 6))
    body[key] = value
    data = cose.sign(formats._PLATFORM_KEY, "simulated-evidence", cbor.encode(body))
    with pytest.raises(MalformedEvidence):
        SimulatedVerifier().verify(evidence(data), collateral(), now=NOW)
