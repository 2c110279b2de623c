# SPDX-License-Identifier: Apache-2.0
"""Ruling 17: each kind of TEE carries the binding in the slot it has; a hash made for another slot is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from attestation.binding import Challenge, KeyBinding, Profile
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import NotGenuine, Reason
from attestation.verify import VerifiedBundle, verify_bundle
from tests.support.worlds import Machine

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
AUDIENCE = "registry.test/evidence"
KEYSET = Machine().keyset
QUOTED_BY_AK = (TEEKind.TPM, TEEKind.AZURE_HCL)
REPORTING = (TEEKind.TDX, TEEKind.SGX, TEEKind.SNP)


@dataclass(frozen=True)
class Believer:
    """A verifier that takes the evidence's bytes for its slot."""

    kind: TEEKind

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """Whatever the bytes are."""
        return EvidenceClaims(
            kind=self.kind,
            measurements=(),
            debug=False,
            tcb_status=TCBStatus.UP_TO_DATE,
            advisories=(),
            platform_ids=(),
            slot=evidence.data,
            collateral_expires=now + timedelta(days=1),
        )


def binding() -> tuple[Challenge, KeyBinding]:
    """A production binding of one worker that answers a challenge just issued."""
    at = int(NOW.timestamp())
    challenge = Challenge(
        random=bytes(32),
        audience=AUDIENCE,
        provider_id=bytes(32),
        checkpoint_sha256=bytes(32),
        issued=at,
        expires=at + 60,
    )
    bound = KeyBinding(
        profile=Profile.PRODUCTION,
        purpose="worker",
        verifier_nonce=challenge.verifier_nonce,
        keyset_id=KEYSET.keyset_id,
        provider_id=challenge.provider_id,
        audience=AUDIENCE,
        devices=(),
        engines=(),
        config_sha256=bytes(32),
        not_after=at + 3600,
    )
    return challenge, bound


def verified(kind: TEEKind, slot: bytes) -> VerifiedBundle:
    """Steps a to g for evidence of this kind with these bytes in its slot."""
    challenge, bound = binding()
    bundle = EvidenceBundle(
        challenge=challenge.encode(),
        keyset=KEYSET.encode(),
        binding=bound.encode(),
        evidence=(Evidence(kind=kind, format="any", data=slot),),
        collateral=(),
    )
    return verify_bundle(bundle, audience=AUDIENCE, verifiers={kind: Believer(kind)}, now=NOW)


@pytest.mark.parametrize("kind", [*REPORTING, *QUOTED_BY_AK])
def test_ruling_17_each_kind_has_its_own_slot(kind: TEEKind) -> None:
    """report_data of 64 bytes in TDX, SGX and SNP; 32 bytes of extraData in a TPM's or Azure's quote."""
    _, bound = binding()
    own, other = bound.report_data(), bound.tpm_extra()
    if kind in QUOTED_BY_AK:
        own, other = other, own
    assert verified(kind, own).binding == bound
    for wrong in (other, own[:-1], own + b"\0"):
        with pytest.raises(NotGenuine) as refused:
            verified(kind, wrong)
        assert refused.value.reason is Reason.BINDING_MISMATCH
