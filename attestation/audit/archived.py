# SPDX-License-Identifier: Apache-2.0
"""An archived evidence bundle: verified and appraised as at admission (docs/spec.md, 3.4), but for log and lease.

The audience is the one the bundle names, as an auditor is none. Endorsements given beside it count as if they had come
with it, and a nonce that is given must be the challenge's.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from attestation.appraisal.appraise import appraise_whole
from attestation.appraisal.part import appraise_part
from attestation.appraisal.policy import AppraisalPolicy
from attestation.audit.judgement import (
    OF_PARTS,
    Part,
    Question,
    Remark,
    Verdict,
    of_error,
    of_findings,
    unproven_of,
)
from attestation.binding import Challenge
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import DEVICE_KINDS, EvidenceClaims
from attestation.codec.labels import equal
from attestation.errors import AttestationError, Malformed, MalformedEvidence, NotGenuine, Reason
from attestation.verify import VerifiedBundle, verify_bundle

_UNPROVEN: Final = (
    "that the challenge was ours and used once: the registry alone knows which challenges it issued",
    "what log and lease say of it: an archived bundle holds neither",
)


def audit_archived(name: str, data: bytes, given: Sequence[Collateral], question: Question) -> Verdict:
    """The verdict about a bundle. What refuses it is in the verdict and no error."""
    parts: tuple[Part, ...] = ()
    remarks: Sequence[Remark]
    try:
        bundle, verified = _verified(data, given, question)
    except Malformed as error:
        remarks = [of_error(MalformedEvidence(error.reason, error.message))]
    except AttestationError as error:
        remarks = [of_error(error)]
    else:
        parts = tuple(_parts(name, bundle, verified, question.policy))
        remarks = of_findings(appraise_whole(verified.claims, question.policy, question.now))
    return Verdict(
        subject=name,
        policy=question.policy,
        now=question.now,
        parts=parts,
        remarks=tuple(remarks),
        binding=None,
        unproven=(*_UNPROVEN, *unproven_of(parts)),
        ignored=(),
        asked=OF_PARTS | {"topology", "code", "freshness", "sealing"},
    )


def _verified(data: bytes, given: Sequence[Collateral], question: Question) -> tuple[EvidenceBundle, VerifiedBundle]:
    bundle = EvidenceBundle.decode(data)
    challenge = Challenge.decode(bundle.challenge)
    if question.nonce is not None and not equal(challenge.random, question.nonce):
        message = f"challenge.random is {challenge.random.hex()}, want {question.nonce.hex()}"
        raise NotGenuine(Reason.NONCE_MISMATCH, message)
    whole = replace(bundle, collateral=tuple(dict.fromkeys((*bundle.collateral, *given))))
    audience, verifiers = challenge.audience, question.verifiers
    return bundle, verify_bundle(whole, audience=audience, verifiers=verifiers, now=question.now)


def _parts(name: str, bundle: EvidenceBundle, verified: VerifiedBundle, policy: AppraisalPolicy) -> Sequence[Part]:
    cpus = [evidence for evidence in bundle.evidence if evidence.kind not in DEVICE_KINDS]
    devices = [evidence for evidence in bundle.evidence if evidence.kind in DEVICE_KINDS]
    said = zip((*cpus, *devices), verified.claims.parts(), strict=True)  # claims come in this order
    return [_part(f"{name}#{place}", *one, policy) for place, one in enumerate(said)]


def _part(name: str, evidence: Evidence, claims: EvidenceClaims, policy: AppraisalPolicy) -> Part:
    return Part(
        name=name,
        kind=evidence.kind.value,
        format=evidence.format,
        sha256=evidence.sha256,
        claims=claims,
        remarks=tuple(of_findings(appraise_part(claims, policy))),
    )
