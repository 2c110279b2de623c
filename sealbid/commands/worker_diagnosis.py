# SPDX-License-Identifier: Apache-2.0
"""What `sealbid worker doctor` found out, and how it says so; neither form shows an identity of the machine."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from attestation.audit import evidence_view
from attestation.audit.evidence import Question, Subject, audit
from attestation.audit.judgement import Verdict
from attestation.errors import AttestationError, Reason
from attestation.exits import Exit, exit_code
from enclave.attesters.detect import Sign
from enclave.onboarding.doctor import Trial

FORMAT: Final = "sealbid/worker-doctor/1"
_OF_SERVING: Final = frozenset({Reason.ENGINE_REFUSED, Reason.CONFIG_REFUSED})
_SERVING: Final = "which engines and configuration it will serve: judged when it registers"
_MARKS: Final = {"ready": "✓", "blocked": "✗", "absent": "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The machine's signs; a trial of evidence or the error that stood in its way; a policy's verdict, if one asked."""

    signs: tuple[Sign, ...]
    trial: Trial | None
    error: AttestationError | None
    verdict: Verdict | None

    @property
    def exit(self) -> Exit:
        """Accepted if evidence was made and no policy speaks against it."""
        if self.error is not None:
            return exit_code(self.error)
        return Exit.ACCEPTED if self.verdict is None else self.verdict.exit

    def to_json(self) -> dict[str, object]:
        """One object, as docs/schema/worker-doctor.schema.json describes it."""
        return {
            "format": FORMAT,
            "verdict": self.exit.name.lower(),
            "exit": int(self.exit),
            "kinds": [
                {"kind": sign.kind.value, "state": sign.state.value, "seen": sign.seen, "remedy": sign.remedy}
                for sign in self.signs
            ],
            "evidence": None if self.trial is None else made(self.trial),
            "error": None if self.error is None else {"reason": self.error.reason.value, "text": self.error.message},
            "policy": None if self.verdict is None else evidence_view.to_json([self.verdict]),
        }

    def lines(self) -> Iterator[str]:
        """A table with ticks."""
        width = max(len(sign.kind.value) for sign in self.signs)
        for sign in self.signs:
            yield f"{_MARKS[sign.state.value]} {sign.kind.value:<{width}}  {sign.state.value:<7}  {sign.seen}"
            if sign.remedy:
                yield f"  {'':<{width}}           remedy: {sign.remedy}"
        yield ""
        if self.error is not None:
            yield f"✗ evidence: {self.error.message} ({self.error.reason.value})"
        if self.trial is not None:
            simulated = "SIMULATED, proves nothing: " if self.trial.simulated else ""
            yield f"✓ evidence: {simulated}{', '.join(item.kind.value for item in self.trial.bundle.evidence)}"
        if self.verdict is not None:
            yield from evidence_view.lines([self.verdict])
        elif self.trial is not None:
            yield "- policy: none given (--policy FILE), so this evidence was not judged"


def judge(trial: Trial, question: Question) -> Verdict:
    """What the policy says of a trial, less what it says of engines and configuration, which a trial has none of."""
    subject = Subject(name="this machine", files={"trial": trial.bundle.encode()}, folder=False)
    verdict = audit(subject, (), question)
    kept = tuple(remark for remark in verdict.remarks if remark.reason not in _OF_SERVING)
    return replace(verdict, remarks=kept, unproven=(*verdict.unproven, _SERVING))


def made(trial: Trial) -> dict[str, object]:
    """What the evidence consists of."""
    return {
        "sha256": trial.bundle.sha256.hex(),
        "simulated": trial.simulated,
        "parts": [{"kind": item.kind.value, "format": item.format} for item in trial.bundle.evidence],
        "collateral": [item.kind for item in trial.bundle.collateral],
    }
