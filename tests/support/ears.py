# SPDX-License-Identifier: Apache-2.0
"""Attestation results to test with, and evidence claims to make them of."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, Measurement, Scalar, TCBStatus, TEEKind
from attestation.results.ear import EAR, Appraisal
from attestation.results.trust import Tier, TrustClaim

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERIAL = b"\xab\xcdserial-of-a-machine"
POLICY = "production-strict/1/sha256:" + "ab" * 32


def claims(
    kind: TEEKind = TEEKind.TDX,
    *,
    debug: bool = False,
    status: TCBStatus = TCBStatus.UP_TO_DATE,
    advisories: tuple[str, ...] = (),
    slot: bytes = bytes(range(64)),
    facts: Mapping[str, Scalar] | None = None,
) -> EvidenceClaims:
    """What good evidence says, changed."""
    return EvidenceClaims(
        kind=kind,
        measurements=(Measurement(register="mrtd", algorithm="sha384", digest=b"\x11" * 48),),
        debug=debug,
        tcb_status=status,
        advisories=advisories,
        platform_ids=(ComponentID(kind=ComponentKind.CPU, value=SERIAL),),
        slot=slot,
        collateral_expires=NOW + timedelta(days=7),
        facts=facts or {"xfam": "e702060000000000", "smt_enabled": True, "tcb_evaluation_number": 20},
    )


def appraisal(status: Tier = Tier.AFFIRMING, **vector: int) -> Appraisal:
    """The result of one attester; claims are written with underscores."""
    stated = vector or {"hardware": 2, "executables": 3}
    return Appraisal(
        status=status,
        vector={TrustClaim[name.upper()]: value for name, value in stated.items()},
        policies=(POLICY,),
        nonce=bytes(range(32)),
        attester_claims={"kind": "tdx", "debug": False, "fact.tcb_evaluation_number": 20, "advisories": ()},
        verifier_claims={"unproven": ("one sentence", "and another")},
    )


def ear(status: Tier = Tier.AFFIRMING, submods: Mapping[str, Appraisal] | None = None, nonce: bytes = b"") -> EAR:
    """A result, good unless said otherwise."""
    return EAR(
        issued=NOW,
        expires=NOW + timedelta(hours=1),
        developer="sealbid",
        build="0.1.0 sha256:" + "cd" * 32,
        status=status,
        submods=submods or {"cpu": appraisal(), "gpu0": appraisal()},
        nonce=nonce,
    )
