# SPDX-License-Identifier: Apache-2.0
"""How verdicts are written into the evidence log: what was judged, by what, and what came out (docs/spec.md, 10.4).

A refusal is written with as much as could be read. Texts a sender chose enter only if they are plain names (evidence
formats) or names of ours (collateral kinds), so that nobody writes a message into the log; hardware identities enter
only as HMACs. Whatever a sender presents, its verdict fits an entry: nobody keeps a refusal out of the log.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.appraisal.finding import Finding
from attestation.appraisal.policy import AppraisalPolicy
from attestation.binding import Profile
from attestation.bundle import EvidenceBundle
from attestation.claims import Claims, ComponentID
from attestation.codec.labels import hmac_sha256, label, lp, sha256
from attestation.collateral.kinds import KINDS
from attestation.errors import Reason
from attestation.registry.store import Moved
from attestation.tlog import entry as entries
from attestation.tlog import jcs
from attestation.tlog.entry import Blob, Entry, PolicyRef, VerifierRef
from attestation.verify import VerifiedBundle

# What a verdict always states has these limits, and fits an entry together. The pieces of the bundle are named after it
# as far as they fit, evidence first; the whole bundle's digest stands before them, so the others are committed to too.
MAX_ENGINES: Final = 64
MAX_PLATFORMS: Final = 32
MAX_REASONS: Final = 32
"""All of them stand in the findings, whose digest is in the entry."""

MAX_EVIDENCE_BLOBS: Final = 12
MAX_COLLATERAL_BLOBS: Final = 16
MAX_CHALLENGE_BYTES: Final = 512
MAX_FINDINGS: Final = 256
MAX_FINDING_TEXT: Final = 1024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
_UNNAMED: Final = "unnamed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who judges: the policy, the verifier build, and for which log."""

    policy: AppraisalPolicy
    verifier: VerifierRef
    audience: str


def verdict_entry(
    judge: Judge,
    *,
    provider: str,
    provider_id: bytes,
    bundle: EvidenceBundle,
    verified: VerifiedBundle | None,
    reasons: Iterable[Reason],
    findings: bytes,
    platforms: Sequence[bytes],
    valid_until: datetime | None,
    at: datetime,
) -> Entry:
    """The `attest.verdict` entry: a pass with `valid_until`, or a refusal with `reasons` and its `findings_json`."""
    named = _verified_fields(verified) if verified is not None else {}
    whole, told = _blob("bundle", bundle.encode()), [_blob("findings", findings)] if findings else []

    def written(evidence: Sequence[Blob], collateral: Sequence[Blob]) -> Entry:
        return entries.attest_verdict(
            provider=provider,
            provider_id=provider_id,
            audience=judge.audience,
            evidence=[whole, *evidence, *told],
            collateral=collateral,
            policy=PolicyRef(
                id=judge.policy.id,
                version=judge.policy.version,
                sha256=judge.policy.sha256,
                profile=judge.policy.profile.value,
            ),
            verifier=judge.verifier,
            passed=valid_until is not None,
            # Under a development policy the whole verdict is worth nothing, whatever was presented.
            simulated=judge.policy.profile is Profile.DEVELOPMENT
            or (verified is not None and verified.claims.simulated),
            reasons=list(dict.fromkeys(reason.value for reason in reasons))[:MAX_REASONS],
            challenge=bundle.challenge if len(bundle.challenge) <= MAX_CHALLENGE_BYTES else None,
            platforms=platforms[:MAX_PLATFORMS],
            valid_until=valid_until,
            at=at,
            **named,  # type: ignore[arg-type]
        )

    room = entries.MAX_ENTRY_BYTES - len(written((), ()).encoded)
    evidence, room = _fitting(_evidence(bundle), room)
    collateral, _ = _fitting(_collateral(bundle), room)
    return written(evidence, collateral)


def findings_json(findings: Sequence[Finding]) -> bytes:
    """All findings of a refusal, as archived beside its entry: canonical JSON, one object each."""
    return jcs.encode(
        {
            "findings": [
                {
                    "field": _text(finding.field),
                    "got": _text(finding.got),
                    "want": _text(finding.want),
                    "remedy": _text(finding.remedy),
                    "reason": finding.reason.value,
                }
                for finding in findings[:MAX_FINDINGS]
            ]
        }
    )


def move_entries(judge: Judge, moved: Iterable[Moved], verified: VerifiedBundle, at: datetime) -> list[Entry]:
    """One `platform.move` for each component that came from another provider."""
    return [
        entries.platform_move(
            platform=move.component,
            from_provider=move.from_provider,
            to_provider=verified.binding.provider_id,
            worker_id=verified.keyset.worker_id,
            simulated=judge.policy.profile is Profile.DEVELOPMENT or verified.claims.simulated,
            at=at,
        )
        for move in moved
    ]


def platform_mac(identity_key: bytes, identity: ComponentID) -> bytes:
    """The name under which a hardware identity is claimed and logged; auditors are given the key (ruling 33)."""
    return hmac_sha256(identity_key, label("platform") + lp(identity.kind.value.encode()) + identity.value)


def _evidence(bundle: EvidenceBundle) -> list[Blob]:
    return [
        Blob(type=f"{part.kind.value}/{_name(part.format)}", sha256=part.sha256, size=len(part.data))
        for part in bundle.evidence[:MAX_EVIDENCE_BLOBS]
    ]


def _collateral(bundle: EvidenceBundle) -> list[Blob]:
    return [
        Blob(type=part.kind if part.kind in KINDS else _UNNAMED, sha256=part.sha256, size=len(part.data))
        for part in bundle.collateral[:MAX_COLLATERAL_BLOBS]
    ]


def _fitting(blobs: Sequence[Blob], room: int) -> tuple[Sequence[Blob], int]:
    """As many of `blobs`, from the first on, as fit into `room` bytes of an entry, and what is left of it."""
    for count, blob in enumerate(blobs):
        size = len(jcs.encode({"type": blob.type, "sha256": blob.sha256.hex(), "size": blob.size})) + len(",")
        if size > room:
            return blobs[:count], room
        room -= size
    return blobs, room


def _blob(kind: str, data: bytes) -> Blob:
    return Blob(type=kind, sha256=sha256(data), size=len(data))


def _verified_fields(verified: VerifiedBundle) -> dict[str, object]:
    keyset, binding = verified.keyset, verified.binding
    hpke = [(f"hpke-{int(suite)}", sha256(key)) for suite, key in keyset.suites]
    return {
        "worker_id": keyset.worker_id,
        "keyset_id": keyset.keyset_id,
        "binding_digest": binding.digest,
        "claims": claim_texts(verified.claims),
        "engines": binding.engines[:MAX_ENGINES],
        "keys": [*hpke, ("receipt", sha256(keyset.receipt_key))],
        "tls_spki_sha256": keyset.tls_spki_sha256,
    }


def claim_texts(claims: Claims) -> dict[str, str]:
    """The claims a verdict states, without anything that identifies a machine."""
    texts = {
        "tee": claims.kind.value,
        "debug": str(claims.cpu.debug).lower(),
        "tcb_status": claims.cpu.tcb_status.value,
        "config_sha256": claims.config_sha256.hex(),
        "claims_sha256": claims.sha256.hex(),
        "devices": str(len(claims.devices)),
    }
    registers = {f"measured.{part.register}": part.text.partition(":")[2] for part in claims.cpu.measurements}
    return texts | registers


def _name(text: str) -> str:
    return text if _NAME.fullmatch(text) else _UNNAMED


def _text(text: str) -> str:
    # A finding may quote what was sent, and a lone surrogate has no encoding.
    return text[:MAX_FINDING_TEXT].encode("utf-8", "backslashreplace").decode()
