# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit report`: what a framework's controls ask of audit records, and what this log answers to each.

Each control names the questions that answer it; it holds when all of them say yes, and is undecided while one is. Yes
when every control of the framework holds. A log answers for what it records; whether an organisation meets a framework
is for its auditors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer, worst
from attestation.audit.questions.access import access
from attestation.audit.questions.changes import changes
from attestation.audit.questions.fsck import whole
from attestation.audit.questions.gaps import gaps
from attestation.audit.questions.keys import keys
from attestation.audit.questions.policies import policies
from attestation.audit.questions.population import population
from attestation.audit.questions.privacy import privacy
from attestation.audit.questions.refusals import refusals
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.revocations import revocations
from attestation.audit.questions.uptime import uptime
from attestation.audit.questions.verifier import verifier
from attestation.audit.questions.witnesses import witnesses

_UNPROVEN: Final = (
    "that an organisation meets a framework: this says what its log answers to the controls on audit records",
    "what stands outside the log: retention, backups, training, contracts",
)


class Framework(StrEnum):
    """Whose controls are asked."""

    SOC2 = "soc2"
    ISO27001 = "iso27001"
    HIPAA = "hipaa"
    GDPR = "gdpr"
    AIACT = "aiact"
    PCI = "pci"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control: its number, what it asks in our words, and the questions that answer it."""

    number: str
    asks: str
    questions: tuple[str, ...]


CONTROLS: Final[Mapping[Framework, tuple[Control, ...]]] = {
    Framework.SOC2: (
        Control(number="CC6.1", asks="access to confidential evidence is recorded", questions=("access",)),
        Control(number="CC7.2", asks="the population is complete and unaltered", questions=("fsck", "population")),
        Control(number="CC7.3", asks="refusals and withdrawals are followed", questions=("refusals", "revocations")),
        Control(number="CC8.1", asks="changes are approved", questions=("changes", "policies")),
        Control(number="PI1", asks="nothing was processed outside the rules", questions=("gaps", "verifier")),
    ),
    Framework.ISO27001: (
        Control(number="A.5.28", asks="evidence is collected and kept", questions=("fsck", "refusals")),
        Control(number="A.8.15", asks="logs are protected, from administrators too", questions=("fsck", "witnesses")),
        Control(number="A.8.16", asks="anomalies are noticed", questions=("gaps", "uptime")),
        Control(number="A.8.17", asks="times are others' too", questions=("population", "witnesses")),
        Control(number="A.8.24", asks="keys are managed", questions=("keys",)),
        Control(number="A.8.32", asks="changes are approved", questions=("changes", "policies")),
    ),
    Framework.HIPAA: (
        Control(number="164.312(b)", asks="activity is recorded and examined", questions=("population", "access")),
        Control(number="164.312(c)(1)", asks="records are not altered", questions=("fsck", "witnesses")),
    ),
    Framework.GDPR: (
        Control(number="5(1)(c), 25", asks="no personal data where it cannot be erased", questions=("privacy",)),
        Control(number="32", asks="security is tested, and failures are followed", questions=("gaps", "revocations")),
    ),
    Framework.AIACT: (
        Control(number="12, 19", asks="events are recorded over the lifetime", questions=("population", "uptime")),
        Control(number="26(6)", asks="each use stands under a verdict", questions=("gaps",)),
    ),
    Framework.PCI: (
        Control(number="10.2", asks="access and changes are recorded", questions=("access", "changes")),
        Control(number="10.3", asks="audit logs are protected from change", questions=("fsck", "witnesses")),
        Control(number="10.6", asks="times are consistent", questions=("population",)),
        Control(number="10.7", asks="failure of logging is noticed", questions=("uptime",)),
    ),
}


def report(bundle: VerifiedBundle, framework: Framework, *, now: datetime) -> Reply:
    """The answer; each question is asked once. Open the bundle without its quorum, as `witnesses` wants it."""
    asked: dict[str, Reply] = {}
    table = Table(("control", "asks", "answer", "question", "says", "because"))
    answers = []
    for control in CONTROLS[framework]:
        replies = []
        for name in control.questions:
            if name not in asked:
                asked[name] = _questions(now)[name](bundle)
            replies.append(asked[name])
        answer = worst([reply.answer for reply in replies])
        answers.append(answer)
        for name, reply in zip(control.questions, replies, strict=True):
            row = (control.number, control.asks, answer.value)
            table.add(*row, f"sealbid audit {name}", reply.answer.value, reply.because)
    holding = sum(answer is Answer.YES for answer in answers)
    because = f"{holding} of {len(answers)} controls of {framework.value} are borne out by this log"
    return Reply(question="report", answer=worst(answers), because=because, table=table, unproven=_UNPROVEN)


def _questions(now: datetime) -> Mapping[str, Callable[[VerifiedBundle], Reply]]:
    return {
        "access": access,
        "changes": changes,
        "fsck": whole,
        "gaps": gaps,
        "keys": keys,
        "policies": policies,
        "population": lambda bundle: population(bundle, since=None, until=None),
        "privacy": privacy,
        "refusals": refusals,
        "revocations": lambda bundle: revocations(bundle, exposure=True),
        "uptime": uptime,
        "verifier": lambda bundle: verifier(bundle, known=()),
        "witnesses": lambda bundle: witnesses(bundle, max_age_seconds=None, now=now),
    }
