# SPDX-License-Identifier: Apache-2.0
"""How verdicts about evidence are shown: one JSON object for programs, a table with ticks for people.

The JSON is stable and described by docs/schema/audit-evidence.schema.json; keys are added, never renamed. Neither form
shows an identity of a machine. Every check the policy skips is printed with its reason, for the kinds there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Final

from attestation.audit.captures import Recomputed
from attestation.audit.judgement import Answer, Part, Remark, Verdict, worst
from attestation.binding import Profile
from attestation.claims import EvidenceClaims, TCBStatus
from attestation.exits import Exit

VERSION: Final = "sealbid/audit-evidence/1"
SIMULATED: Final = "SIMULATED: judged under a development policy, which says nothing of production"
WIDTH: Final = 116
_SIGNS: Final = {Answer.YES: "✓", Answer.NO: "✗", Answer.UNDECIDED: "?", Answer.NOT_ASKED: "-"}
_ORDER: Final = (Exit.MALFORMED, Exit.REJECTED, Exit.UNDECIDED, Exit.ACCEPTED)


def worst_exit(verdicts: Sequence[Verdict]) -> Exit:
    """The exit status for several subjects: accepted only if every one is."""
    found = {verdict.exit for verdict in verdicts}
    return next(code for code in _ORDER if code in found)


def to_json(verdicts: Sequence[Verdict]) -> dict[str, object]:
    """All verdicts, as docs/schema/audit-evidence.schema.json describes. At least one verdict."""
    code = worst_exit(verdicts)
    policy = verdicts[0].policy
    return {
        "format": VERSION,
        "verdict": code.name.lower(),
        "exit": int(code),
        "simulated": policy.profile is Profile.DEVELOPMENT,
        "checked_at": verdicts[0].now.isoformat(timespec="seconds"),
        "policy": {
            "id": policy.id,
            "version": policy.version,
            "profile": policy.profile.value,
            "sha256": policy.sha256.hex(),
        },
        "subjects": [_subject(verdict) for verdict in verdicts],
    }


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """All verdicts for people. At least one verdict."""
    policy = verdicts[0].policy
    head = f"judged at {verdicts[0].now.isoformat(timespec='seconds')} under {policy.id} version {policy.version}"
    warning = [SIMULATED] if policy.profile is Profile.DEVELOPMENT else []
    return [*warning, f"{head}, sha256 {policy.sha256.hex()}", *(row for one in verdicts for row in _table(one))]


def _subject(verdict: Verdict) -> dict[str, object]:
    return {
        "name": verdict.subject,
        "verdict": verdict.exit.name.lower(),
        "exit": int(verdict.exit),
        "genuine": verdict.genuine.value,
        "acceptable": verdict.acceptable.value,
        "reasons": [reason.value for reason in verdict.reasons],
        "parts": [_part(part) for part in verdict.parts],
        "findings": [_finding(remark) for remark in verdict.remarks],
        "binding": None if verdict.binding is None else _binding(verdict.binding),
        "unproven": list(verdict.unproven),
        "unchecked": [{"name": name, "reason": reason} for name, reason in _unchecked(verdict)],
        "ignored": list(verdict.ignored),
    }


def _part(part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "kind": part.kind,
        "format": part.format,
        "sha256": part.sha256.hex(),
        "genuine": part.genuine.value,
        "acceptable": part.acceptable.value,
        "findings": [_finding(remark) for remark in part.remarks],
        "claims": None if part.claims is None else _claims(part.claims),
    }


def _finding(remark: Remark) -> dict[str, object]:
    return {"reason": remark.reason.value, "text": remark.text, "remedy": remark.remedy}


def _claims(claims: EvidenceClaims) -> dict[str, object]:
    return {
        "debug": claims.debug,
        "tcb_status": claims.tcb_status.value,
        "advisories": list(claims.advisories),
        "measurements": {measured.register: measured.text.partition(":")[2] for measured in claims.measurements},
        "facts": {name: claims.facts[name] for name in sorted(claims.facts)},
        "slot": claims.slot.hex(),
        "collateral_expires": claims.collateral_expires.isoformat(),
    }


def _binding(recomputed: Recomputed) -> dict[str, object]:
    return {
        "style": recomputed.style.value,
        "matches": recomputed.matches,
        "equations": [{"text": text, "holds": holds} for text, holds in recomputed.equations],
    }


def _unchecked(verdict: Verdict) -> Iterator[tuple[str, str]]:
    present = {part.claims.kind.value for part in verdict.parts if part.claims is not None}
    if not present:
        return  # nothing was genuine, so nothing was asked of the policy
    for name, reason in verdict.policy.unchecked().items():
        table, _, rest = name.partition(".")
        of_kind = table not in ("workload", "facts") or rest.partition(".")[0] in present
        if table in verdict.asked and of_kind:
            yield name, reason


def _by_reason(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Skipped checks under the reason they share: a table of a hundred lines would hide what is in it."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped:
        names.setdefault(reason, []).append(name)
    return [f"{reason}: {', '.join(found)}" for reason, found in names.items()]


def _table(verdict: Verdict) -> Iterator[str]:
    yield ""
    yield f"{verdict.exit.name.lower()}  {verdict.subject}"
    yield f"  {_SIGNS[verdict.genuine]} genuine     {verdict.genuine.value}"
    yield f"  {_SIGNS[verdict.acceptable]} acceptable  {verdict.acceptable.value}"
    width = max((len(part.name) for part in verdict.parts), default=0)
    for part in verdict.parts:
        yield f"  {_sign(part)} {part.name:<{width}}  {part.kind}{_said(part)}"
        yield from _remarks(part.remarks)
    yield from _remarks(verdict.remarks)
    if verdict.binding is not None:
        yield f"  {'✓' if verdict.binding.matches else '✗'} recorded binding {verdict.binding.style.value}"
        yield from (f"      {'✓' if holds else '✗'} {text}" for text, holds in verdict.binding.equations)
    yield from _list("not proven:", "-", verdict.unproven)
    yield from _list("unchecked by the policy:", "○", _by_reason(_unchecked(verdict)))
    yield from _list("not read:", "-", verdict.ignored)


def _sign(part: Part) -> str:
    return _SIGNS[part.genuine if part.genuine is not Answer.YES or part.endorsement else part.acceptable]


def _said(part: Part) -> str:
    claims = part.claims
    if claims is None:
        return ""
    status = "" if claims.tcb_status is TCBStatus.UNSTATED else f", {claims.tcb_status.value}"
    advisories = f", {len(claims.advisories)} advisories" if claims.advisories else ""
    return f"{status}{advisories}{', debug' if claims.debug else ''}"


def _remarks(remarks: Sequence[Remark]) -> Iterator[str]:
    for remark in remarks:
        sign = _SIGNS[worst((remark.genuine, remark.acceptable))]
        yield f"      {sign} {remark.reason.value}: {remark.text}"
        yield f"        remedy: {remark.remedy}"


def _list(title: str, mark: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"  {title}"
        for item in items:
            yield from wrap(
                f"{mark} {item}", WIDTH, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False
            )
