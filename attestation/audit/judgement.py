# SPDX-License-Identifier: Apache-2.0
"""What an audit of evidence answers, as values: two questions, each with yes, no or undecided, and every remark.

A remark is one thing that stands against a piece of evidence: an error of its verifier, or a finding of its appraisal.
Each says what it does to the two answers, and the worst remark decides: no before undecided before yes. Nothing is
accepted while either answer is undecided.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from attestation.appraisal.finding import Finding
from attestation.appraisal.policy import AppraisalPolicy
from attestation.audit.captures import Recomputed
from attestation.claims import EvidenceClaims
from attestation.errors import (
    UNDECIDED,
    AttestationError,
    CollateralUnavailable,
    MalformedEvidence,
    NotGenuine,
    Reason,
)
from attestation.exits import Exit
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.interface import Verifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an auditor asks with: the policy, the verifiers of its profile, the time, and the nonce that was sent."""

    policy: AppraisalPolicy
    verifiers: Verifiers
    now: datetime
    nonce: bytes | None = None


class Answer(StrEnum):
    """An answer to "is it genuine" or "is it acceptable"; the latter does not arise for an endorsement alone."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"
    NOT_ASKED = "n/a"


_WORST_FIRST: Final = (Answer.NO, Answer.UNDECIDED, Answer.YES, Answer.NOT_ASKED)


def worst(answers: Iterable[Answer]) -> Answer:
    """The answer for a whole of parts: no, if any says no; then undecided; n/a only if all are."""
    found = set(answers)
    return next((answer for answer in _WORST_FIRST if answer in found), Answer.UNDECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing found against evidence, by its stable reason, with what mends it."""

    reason: Reason
    text: str
    remedy: str
    genuine: Answer
    acceptable: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of evidence or one endorsement: what it is, what it says, what stands against it.

    `claims` are there if it is genuine. They hold identities of machines, which no output of ours shows.
    """

    name: str
    kind: str
    format: str
    sha256: bytes
    claims: EvidenceClaims | None
    remarks: tuple[Remark, ...]
    endorsement: bool = False

    @property
    def genuine(self) -> Answer:
        """Whether it is what it claims to be."""
        return worst([Answer.YES, *(remark.genuine for remark in self.remarks)])

    @property
    def acceptable(self) -> Answer:
        """Whether the policy accepts it."""
        if self.endorsement:
            return Answer.NOT_ASKED
        return worst([Answer.YES, *(remark.acceptable for remark in self.remarks)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The whole answer about one subject. `remarks` are about its parts together."""

    subject: str
    policy: AppraisalPolicy
    now: datetime
    parts: tuple[Part, ...]
    remarks: tuple[Remark, ...]
    binding: Recomputed | None
    unproven: tuple[str, ...]
    ignored: tuple[str, ...]
    asked: frozenset[str]
    """The tables of the policy that were asked; the others speak of what such a subject does not have."""

    @property
    def genuine(self) -> Answer:
        """Whether every part is genuine, and all belong together as the subject says."""
        return worst([part.genuine for part in self.parts] + [remark.genuine for remark in self.remarks])

    @property
    def acceptable(self) -> Answer:
        """Whether the policy accepts the subject as a whole."""
        return worst([part.acceptable for part in self.parts] + [remark.acceptable for remark in self.remarks])

    @property
    def all_remarks(self) -> tuple[Remark, ...]:
        """The remarks on every part, then those on the whole."""
        return (*(remark for part in self.parts for remark in part.remarks), *self.remarks)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reason codes found, each once, in alphabetical order."""
        return tuple(sorted({remark.reason for remark in self.all_remarks}))

    @property
    def exit(self) -> Exit:
        """Accepted only if both answers are yes. An endorsement by itself is never accepted: it is no evidence."""
        if any(remark.reason is Reason.MALFORMED for remark in self.all_remarks):
            return Exit.MALFORMED
        if Answer.NO in (self.genuine, self.acceptable):
            return Exit.REJECTED
        if self.genuine is Answer.YES and self.acceptable is Answer.YES:
            return Exit.ACCEPTED
        return Exit.UNDECIDED


OF_PARTS: Final = frozenset({"tee", "workload", "facts", "platform"})
"""The tables of a policy that any evidence is asked about."""


def unproven_of(parts: Iterable[Part]) -> Iterator[str]:
    """What genuine evidence of the kinds among `parts` leaves open, as their vocabularies say."""
    for kind in dict.fromkeys(part.claims.kind for part in parts if part.claims is not None):
        yield from VOCABULARIES[kind].unproven


_REMEDIES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.MALFORMED: "hand over the bytes as the device made them",
        Reason.UNSUPPORTED: "use a version of sealbid that knows this format",
        Reason.COLLATERAL_EXPIRED: "give collateral of the time asked about with --collateral",
        Reason.COLLATERAL_UNAVAILABLE: "give the vendor's collateral for this platform with --collateral",
        Reason.ENDORSEMENT_MISSING: "give the certificates of the chip and its authorities with --collateral",
        Reason.RIM_UNAVAILABLE: "give the vendor's manifests for these versions with --collateral",
        Reason.RIM_EXPIRED: "ask about a time when the manifest's signer was valid, or give a newer manifest",
        Reason.CERTIFICATE_EXPIRED: "ask about a time when the certificates were valid",
        Reason.NONCE_MISMATCH: "give the nonce this evidence was asked with, or ask again",
    }
)
_NONE: Final = "none: what was presented is not what it claims to be"


def of_error(error: AttestationError) -> Remark:
    """The remark that an error of a verifier stands for."""
    genuine, acceptable = _effect(error)
    remedy = _REMEDIES.get(error.reason, _NONE if genuine is Answer.NO else "see the reason")
    return Remark(reason=error.reason, text=error.message, remedy=remedy, genuine=genuine, acceptable=acceptable)


def of_findings(findings: Iterable[Finding]) -> Sequence[Remark]:
    """The remarks that findings of an appraisal stand for: what is appraised is genuine."""
    return [
        Remark(
            reason=finding.reason,
            text=finding.text,
            remedy=finding.remedy,
            genuine=Answer.YES,
            acceptable=Answer.UNDECIDED if finding.reason in UNDECIDED else Answer.NO,
        )
        for finding in findings
    ]


def _effect(error: AttestationError) -> tuple[Answer, Answer]:
    if isinstance(error, CollateralUnavailable) or error.reason is Reason.UNSUPPORTED:
        return Answer.UNDECIDED, Answer.UNDECIDED
    if isinstance(error, (NotGenuine, MalformedEvidence)):
        return Answer.NO, Answer.NO
    return Answer.YES, Answer.NO
