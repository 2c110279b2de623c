# SPDX-License-Identifier: Apache-2.0
"""Evidence that looks like something, and verifiers that say what a test tells them, for tests of audits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.audit.evidence import Subject
from attestation.audit.judgement import Question
from attestation.bundle import Collateral, Evidence
from attestation.claims import DEVICE_KINDS, EvidenceClaims, Measurement, Scalar, TCBStatus, TEEKind
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.interface import Verifiers
from tests.conformance.policies import capture

NOW = datetime(2026, 4, 24, 2, 10, 37, tzinfo=UTC)
NONCE = bytes(range(1, 33))
QUOTE = b"\x04\0\x02\0\x81\0\0\0" + bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + b"quote"
REPORT = b"\x11\xe0\x01\xff" + bytes(33) + b"\x11\x60\x01\x00" + b"\x40" + b"gpu"
SWITCH_REPORT = b"\x11\xe0\x01\xff" + bytes(33) + b"\x11\x60\x01\x00" + b"\x1f" + b"switch"
GOOD_FACTS: dict[TEEKind, dict[str, Scalar]] = {
    TEEKind.TDX: {"tcb_level": "known", "sept_ve_disable": True},
    TEEKind.NVIDIA_GPU: {"driver_rim": "match", "vbios_rim": "match"},
    TEEKind.NVIDIA_SWITCH: {"firmware_rim": "match"},
}


def claims(kind: TEEKind, slot: bytes = NONCE, **facts: Scalar) -> EvidenceClaims:
    """Good claims of a kind, with facts changed."""
    device = kind in DEVICE_KINDS
    return EvidenceClaims(
        kind=kind,
        measurements=tuple(
            Measurement(register=name, algorithm="sha384", digest=bytes(48)) for name in VOCABULARIES[kind].registers
        ),
        debug=False,
        tcb_status=TCBStatus.UNSTATED if device else TCBStatus.UP_TO_DATE,
        advisories=(),
        platform_ids=(),
        slot=slot,
        collateral_expires=NOW + timedelta(days=1),
        facts=GOOD_FACTS[kind] | facts,
    )


@dataclass(frozen=True, slots=True)
class Says:
    """A verifier with one answer for all evidence: claims, or the error it raises."""

    answer: EvidenceClaims | Exception | Callable[[bytes], EvidenceClaims]
    seen: list[Sequence[Collateral]] = field(default_factory=list)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """Gives the answer."""
        self.seen.append(collateral)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(evidence.data) if callable(self.answer) else self.answer


def question(
    *,
    cpu: Says | None = None,
    gpu: Says | None = None,
    policy: AppraisalPolicy | None = None,
    nonce: bytes | None = None,
) -> Question:
    """A question under the permissive policy, asked of verifiers that say yes unless told otherwise."""
    verifiers: Verifiers = {
        TEEKind.TDX: cpu or Says(claims(TEEKind.TDX, slot=NONCE + bytes(32))),
        TEEKind.NVIDIA_GPU: gpu or Says(claims(TEEKind.NVIDIA_GPU)),
        TEEKind.NVIDIA_SWITCH: Says(claims(TEEKind.NVIDIA_SWITCH)),
    }
    return Question(policy=policy or permissive(), verifiers=verifiers, now=NOW, nonce=nonce)


def permissive(text: str | None = None) -> AppraisalPolicy:
    """The policy that leaves most of what it does not name unchecked."""
    return read_policy((text or capture()).encode())


def file(name: str, data: bytes) -> Subject:
    """One file handed over by itself."""
    return Subject(name=name, files={name: data}, folder=False)


def folder(**files: bytes) -> Subject:
    """A folder; `_` in a name stands for a dot."""
    return Subject(name="folder", files={name.replace("_", "."): data for name, data in files.items()}, folder=True)
