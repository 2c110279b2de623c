# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit reverify`: does the archived evidence of a verdict lead to the same verdict again?

The bundle of evidence is verified and appraised as of the entry's time, with the collateral it was judged with, through
the same verifiers and under the policy that the entry names: the one in the log, or a file with the same digest. Then
the entry is written again from what came out, and compared with the logged one key by key. Yes when both are the same;
no when they are not; undecided when evidence or policy is not at hand, this build does not know the format, or a
refusal rests on what only the registry knew (who owns the hardware, which challenges were spent).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from attestation.appraisal.appraise import appraise
from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.audit.bundle.log_view import Logged
from attestation.audit.bundle.verified import VerifiedBundle, archived_by
from attestation.audit.judgement import Answer
from attestation.audit.questions.policies import policy_text
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.verdicts import Judged, verdict_of
from attestation.bundle import EvidenceBundle
from attestation.errors import UNDECIDED, Reason, SealbidError
from attestation.registry.entries import Judge, verdict_entry
from attestation.tee.interface import Verifiers
from attestation.tlog.entry import JSON, Kind, VerifierRef
from attestation.tlog.schema import format_time
from attestation.verifiers import verifiers_for
from attestation.verify import VerifiedBundle as Genuine
from attestation.verify import verify_bundle

_OF_THE_REGISTRY: Final = frozenset(
    reason.value
    for reason in (
        Reason.HARDWARE_CLAIMED,
        Reason.NONCE_MISMATCH,
        Reason.NONCE_STALE,
        Reason.PROVIDER_MISMATCH,
        Reason.KEYSET_MISMATCH,
        Reason.BINDING_MISMATCH,
        Reason.REVOKED,
    )
)
_UNPROVEN: Final = (
    "that the challenge was ours and used once: the registry alone knows which challenges it issued",
    "that hardware had one owner: `sealbid audit node` shows what moved",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a verdict is derived from anew."""

    logged: Logged
    verdict: Judged
    evidence: EvidenceBundle
    policy: AppraisalPolicy


def reverify(
    bundle: VerifiedBundle, index: int, *, policy: AppraisalPolicy | None = None, verifiers: Verifiers | None = None
) -> Reply:
    """The answer about the verdict at `index`; `policy` is the auditor's own file, `verifiers` those of its profile.

    Raises `IndexError` for an entry the log does not have.
    """
    table = Table(("of", "logged", "derived"))
    logged = bundle.view.entry(index)
    if logged.entry.kind is not Kind.ATTEST_VERDICT:
        return _reply(Answer.UNDECIDED, f"entry {index} is {logged.entry.kind}, want a verdict", table)
    found = _gathered(bundle, logged, policy)
    if isinstance(found, str):
        return _reply(Answer.UNDECIDED, found, table)
    genuine, reasons = _judged(found, verifiers if verifiers is not None else verifiers_for(found.policy.profile))
    answer, because = _compared(found, genuine, reasons, table)
    return _reply(answer, because, table)


def _gathered(bundle: VerifiedBundle, logged: Logged, given: AppraisalPolicy | None) -> Again | str:
    """What is needed, or what is not at hand."""
    verdict = verdict_of(logged)
    digest = next((digest for type, digest in archived_by(logged.entry) if type == "bundle"), None)
    data = None if digest is None else bundle.evidence(digest)
    if data is None:
        return "the evidence is not in the bundle"
    if given is not None and given.sha256.hex() != verdict.policy_sha256:
        return f"policy has sha256 {given.sha256.hex()}, want {verdict.policy_sha256}"
    text = policy_text(bundle, verdict.policy_sha256)
    if given is None and text is None:
        return f"the log does not hold {verdict.policy}: give its file with --policy"
    try:
        policy = given or read_policy(text or b"")
        return Again(logged=logged, verdict=verdict, evidence=EvidenceBundle.decode(data), policy=policy)
    except SealbidError as error:
        return f"what is archived does not read: {error.message}"


def _judged(again: Again, verifiers: Verifiers) -> tuple[Genuine | None, list[Reason]]:
    """What is genuine of the evidence, and every reason against it; none is a pass."""
    now = again.logged.entry.at
    try:
        audience = again.logged.text("audience")
        genuine = verify_bundle(again.evidence, audience=audience, verifiers=verifiers, now=now)
    except SealbidError as error:
        return None, [error.reason]
    return genuine, [finding.reason for finding in appraise(genuine.claims, again.policy, now)]


def _compared(again: Again, genuine: Genuine | None, reasons: list[Reason], table: Table) -> tuple[Answer, str]:
    verdict, at = again.verdict, format_time(again.logged.entry.at)
    derived = sorted({reason.value for reason in reasons})
    table.add("verdict", "pass" if verdict.passed else "fail", "fail" if reasons else "pass")
    table.add("reasons", ", ".join(sorted(verdict.reasons)), ", ".join(derived))
    if not verdict.passed:
        return _refused_again(again, derived)
    if reasons:
        unknown = set(reasons) <= {*UNDECIDED, Reason.UNSUPPORTED}
        because = f"logged as a pass, and as of {at} it does not pass: {', '.join(derived)}"
        return (Answer.UNDECIDED if unknown else Answer.NO), because
    other = _differences(again.logged.entry.body, _written_again(again, genuine), table)
    if other:
        return Answer.NO, f"the evidence passes, but the entry says otherwise of {', '.join(other)}"
    return Answer.YES, f"the evidence passes {verdict.policy} again as of {at}, and gives this entry"


def _refused_again(again: Again, derived: list[str]) -> tuple[Answer, str]:
    logged = set(again.verdict.reasons)
    if set(derived) & logged:
        at = format_time(again.logged.entry.at)
        return Answer.YES, f"the evidence is refused by {again.verdict.policy} again as of {at}"
    if logged & _OF_THE_REGISTRY:
        return Answer.UNDECIDED, "it was refused for what only the registry knew"
    return Answer.NO, "logged as a refusal, and the evidence does not bear out its reasons"


def _written_again(again: Again, genuine: Genuine | None) -> Mapping[str, JSON]:
    """The entry this evidence gives; hashes of hardware as logged, and the end too, within the policy's lease."""
    body, verdict = again.logged.entry.body, again.verdict
    platforms = body.get("platforms", ())
    longest = verdict.at + timedelta(seconds=again.policy.lease_seconds)
    return verdict_entry(
        Judge(
            policy=again.policy,
            verifier=VerifierRef(version=verdict.verifier, sha256=bytes.fromhex(verdict.verifier_sha256)),
            audience=again.logged.text("audience"),
        ),
        provider=verdict.provider,
        provider_id=bytes.fromhex(again.logged.text("provider_id")),
        bundle=again.evidence,
        verified=genuine,
        reasons=(),
        findings=b"",
        platforms=[bytes.fromhex(str(mac)) for mac in platforms] if isinstance(platforms, (list, tuple)) else [],
        valid_until=min(verdict.valid_until or longest, longest),
        at=verdict.at,
    ).body


def _differences(logged: Mapping[str, JSON], derived: Mapping[str, JSON], table: Table) -> list[str]:
    """The keys in which two entries differ, each with a row."""
    found = [key for key in sorted({*logged, *derived}) if logged.get(key) != derived.get(key)]
    for key in found:
        table.add(key, str(logged.get(key)), str(derived.get(key)))
    return found


def _reply(answer: Answer, because: str, table: Table) -> Reply:
    return Reply(question="reverify", answer=answer, because=because, table=table, unproven=_UNPROVEN)
