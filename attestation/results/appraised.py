# SPDX-License-Identifier: Apache-2.0
"""From an appraisal to an attestation result: one submodule per piece of evidence, and one for the whole.

Labels: `cpu`, then `gpu0`.., `switch0`.. in the order of the evidence, and `machine` for findings about the parts
together (topology, engines, age), which is there only if there are any. What leaves is public: measurements and facts,
never identities of machines.

    ear_attester_claims   "kind", "debug", "tcb_status", "advisories", "collateral_expires" (unix seconds),
                          "measured.<register>": "<algorithm>:<hex>", "fact.<name>": value
    ear_verifier_claims   "findings": ["REASON: text",..], "unproven": [text,..]
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.appraisal.policy import AppraisalPolicy
from attestation.appraisal.reference import Unchecked
from attestation.claims import DEVICE_KINDS, EvidenceClaims, TEEKind
from attestation.errors import Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.results.ear import EAR, NONCE_BYTES, Appraisal, ClaimsMap
from attestation.results.trust import Tier, status_of, vector_of, vector_of_failure, worst_status

DEVELOPER: Final = "sealbid"
MACHINE: Final = "machine"
MAX_FINDINGS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that stands against evidence: a finding of its appraisal or the error of its verifier."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """One piece of evidence after its appraisal. `claims` is None if its verifier gave none; then a note says why."""

    kind: TEEKind
    claims: EvidenceClaims | None
    notes: tuple[Note, ...]


def result_of(
    parts: Sequence[Appraised],
    whole: Sequence[Note],
    *,
    policy: AppraisalPolicy,
    build: str,
    issued: datetime,
    expires: datetime | None,
    nonce: bytes = b"",
) -> EAR:
    """The attestation result of these parts (at least one) under `policy`; `build` names the verifier that judged.

    Raises `MalformedEvidence` for a nonce that is not 8 to 64 bytes.
    """
    submods = {label: _appraisal(part, policy) for label, part in zip(_labels(parts), parts, strict=True)}
    if whole:
        reasons = [note.reason for note in whole]
        submods[MACHINE] = Appraisal(
            status=status_of({}, reasons),
            vector={},
            policies=(policy_id(policy),),
            verifier_claims=_verifier_claims(whole, ()),
        )
    return EAR(
        issued=issued.replace(microsecond=0),
        expires=None if expires is None else expires.replace(microsecond=0),
        developer=DEVELOPER,
        build=build,
        status=worst_status(part.status for part in submods.values()),
        submods=submods,
        nonce=nonce,
    )


def policy_id(policy: AppraisalPolicy) -> str:
    """How results name a policy: its id, version and the digest of its bytes, which alone decides."""
    return f"{policy.id}/{policy.version}/sha256:{policy.sha256.hex()}"


def _labels(parts: Sequence[Appraised]) -> list[str]:
    counts: Counter[str] = Counter()
    labels = []
    for part in parts:
        name = DEVICE_KINDS.get(part.kind, "cpu")
        number = counts[name]
        counts[name] += 1
        labels.append(name if name == "cpu" and number == 0 else f"{name}{number}")
    return labels


def _appraisal(part: Appraised, policy: AppraisalPolicy) -> Appraisal:
    reasons = [note.reason for note in part.notes]
    unproven = VOCABULARIES[part.kind].unproven
    claims: ClaimsMap = {}
    nonce = b""
    if part.claims is None:
        vector = vector_of_failure(reasons[0] if reasons else Reason.COLLATERAL_UNAVAILABLE)
    else:
        vector = vector_of(part.claims, reasons, unmeasured=_unmeasured(part.kind, policy))
        claims = _attester_claims(part.claims)
        nonce = part.claims.slot if len(part.claims.slot) in NONCE_BYTES else b""
    status = status_of(vector, reasons)
    if part.kind is TEEKind.SIMULATED or policy.simulated:
        status = Tier.CONTRAINDICATED  # whatever a development policy accepts, it protects nothing
    return Appraisal(
        status=status,
        vector=vector,
        policies=(policy_id(policy),),
        nonce=nonce,
        attester_claims=claims,
        verifier_claims=_verifier_claims(part.notes, unproven),
    )


def _unmeasured(kind: TEEKind, policy: AppraisalPolicy) -> bool:
    workload = policy.workloads.get(kind)
    return workload is None or isinstance(workload.registers.get(workload.measured_by), Unchecked)


def _attester_claims(claims: EvidenceClaims) -> ClaimsMap:
    stated: dict[str, str | int | bool | tuple[str, ...]] = {
        "kind": claims.kind.value,
        "debug": claims.debug,
        "tcb_status": claims.tcb_status.value,
        "advisories": claims.advisories,
        "collateral_expires": int(claims.collateral_expires.timestamp()),
    }
    stated |= {f"measured.{one.register}": one.text.partition(":")[2] for one in claims.measurements}
    return stated | {f"fact.{name}": value for name, value in claims.facts.items()}


def _verifier_claims(notes: Sequence[Note], unproven: Sequence[str]) -> ClaimsMap:
    made: dict[str, tuple[str, ...]] = {}
    if notes:
        made["findings"] = tuple(f"{note.reason.value}: {note.text}" for note in notes[:MAX_FINDINGS])
    if unproven:
        made["unproven"] = tuple(unproven)
    return made
