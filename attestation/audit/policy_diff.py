# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit policy diff`: what changed between two policies, and in which direction.

A rule is wider when the new one accepts all the old one did and more, narrower the other way round, and otherwise
simply other. That is decided by what rules accept, not by how they are written: `exactly` and `any_of` of one value
are the same. A rule of a kind that only one policy allows is added or removed; the widening is then in `tee.kinds`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from attestation.appraisal.policy import AppraisalPolicy
from attestation.appraisal.reference import AnyOf, AtLeast, AtMost, Exactly, Unchecked
from attestation.audit.policy import Condition, NoneOf, view


class Change(StrEnum):
    """In which direction a rule changed."""

    WIDER = "wider"
    NARROWER = "narrower"
    OTHER = "other"
    RESTATED = "restated"
    """The same claims are accepted; the wording or a stated reason differs."""

    ADDED = "added"
    REMOVED = "removed"


_SIGNS = {
    Change.WIDER: "!",
    Change.NARROWER: "✓",
    Change.OTHER: "~",
    Change.RESTATED: "=",
    Change.ADDED: "+",
    Change.REMOVED: "-",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRule:
    """One rule that differs; the side that has no such rule says nothing."""

    name: str
    change: Change
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiff:
    """Two policies and every rule in which they differ."""

    old: AppraisalPolicy
    new: AppraisalPolicy
    changes: tuple[ChangedRule, ...]

    def to_json(self) -> dict[str, object]:
        """The whole comparison; keys are stable."""
        return {
            "old": _identity(self.old),
            "new": _identity(self.new),
            "changes": [
                {"name": one.name, "change": one.change.value, "old": one.old, "new": one.new} for one in self.changes
            ],
        }

    def lines(self) -> list[str]:
        """The comparison for people; what accepts more stands out with an exclamation mark."""
        rows = [row for one in self.changes for row in _rows(one)]
        wider = sum(one.change is Change.WIDER for one in self.changes)
        total = f"{len(self.changes)} rules differ, {wider} of them wider (!)" if self.changes else "no rule differs"
        return [f"- {_title(self.old)}", f"+ {_title(self.new)}", *rows, total]


def diff(old: AppraisalPolicy, new: AppraisalPolicy) -> PolicyDiff:
    """Every rule in which `new` differs from `old`."""
    return PolicyDiff(old=old, new=new, changes=tuple(_changes(old, new)))


def covers(wide: Condition, narrow: Condition) -> bool:
    """True if `wide` accepts every claim that `narrow` accepts."""
    if isinstance(wide, Unchecked) or wide == narrow:
        return True
    match narrow:
        case Exactly(value):
            return wide.accepts(value)
        case AnyOf(values):
            return all(wide.accepts(value) for value in values)
        case AtLeast(least):
            return isinstance(wide, AtLeast) and wide.value <= least
        case AtMost(most):
            return isinstance(wide, AtMost) and wide.value >= most
        case NoneOf(denied):
            return isinstance(wide, NoneOf) and wide.values <= denied
        case Unchecked():
            return False
    assert_never(narrow)


def direction(was: Condition, now: Condition) -> Change:
    """In which direction a rule that was `was` has become `now`."""
    more, less = covers(now, was), covers(was, now)
    if more and less:
        return Change.RESTATED
    if more:
        return Change.WIDER
    return Change.NARROWER if less else Change.OTHER


def _changes(old: AppraisalPolicy, new: AppraisalPolicy) -> Iterator[ChangedRule]:
    before = {rule.name: rule for rule in view(old).rules}
    after = {rule.name: rule for rule in view(new).rules}
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if was is None and now is not None:
            yield ChangedRule(name=name, change=Change.ADDED, old=None, new=now.want)
        elif now is None and was is not None:
            yield ChangedRule(name=name, change=Change.REMOVED, old=was.want, new=None)
        elif was is not None and now is not None and was.condition != now.condition:
            yield ChangedRule(name=name, change=direction(was.condition, now.condition), old=was.want, new=now.want)


def _rows(one: ChangedRule) -> Iterator[str]:
    yield f"  {_SIGNS[one.change]} {one.name} ({one.change.value})"
    if one.old is not None:
        yield f"      - {one.old}"
    if one.new is not None:
        yield f"      + {one.new}"


def _title(policy: AppraisalPolicy) -> str:
    return f"{policy.id} version {policy.version}, profile {policy.profile.value}, sha256 {policy.sha256.hex()}"


def _identity(policy: AppraisalPolicy) -> dict[str, object]:
    profile = policy.profile.value
    return {"id": policy.id, "version": policy.version, "profile": profile, "sha256": policy.sha256.hex()}
