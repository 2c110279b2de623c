# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit policy show`: every rule of an appraisal policy in one list, what it asks and what it leaves open.

A policy says the same in TOML; here it is said in the order in which evidence is judged, each rule with the meaning
that the vocabulary of its kind gives it. A check that is skipped stands there with its reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from attestation.appraisal.policy import AppraisalPolicy
from attestation.appraisal.reference import AnyOf, AtMost, Exactly, ReferenceValue, Unchecked
from attestation.claims import Scalar, TEEKind
from attestation.facts.vocabularies import VOCABULARIES


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The claim must not be one of `values`: the deny-list, which policies write as a plain list."""

    values: frozenset[str]

    def accepts(self, claim: Scalar) -> bool:
        """True if `claim` is not listed."""
        return claim not in self.values

    def want(self) -> str:
        """How a rule states it; identities of machines are counted, not printed."""
        return f"none of {len(self.values)} denied" if self.values else "nothing denied"


Condition: TypeAlias = ReferenceValue | NoneOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing a policy asks: its dotted name, the condition, and what the claim means, where a vocabulary says so."""

    name: str
    condition: Condition
    meaning: str = ""

    @property
    def want(self) -> str:
        """The condition in words."""
        # Which machines are admitted is nobody's business but the registry's: their number is enough.
        if self.name == "platform.allowed" and isinstance(self.condition, (Exactly, AnyOf)):
            count = len(self.condition.values) if isinstance(self.condition, AnyOf) else 1
            return f"one of {count} listed identities"
        return self.condition.want()

    @property
    def checked(self) -> bool:
        """False where the policy asks nothing, for a stated reason."""
        return not isinstance(self.condition, Unchecked)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """A policy ready to be shown."""

    policy: AppraisalPolicy
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, object]:
        """The whole list; keys are stable."""
        policy = self.policy
        return {
            "id": policy.id,
            "version": policy.version,
            "profile": policy.profile.value,
            "sha256": policy.sha256.hex(),
            "rules": [
                {"name": rule.name, "want": rule.want, "checked": rule.checked, "meaning": rule.meaning}
                for rule in self.rules
            ],
        }

    def lines(self) -> list[str]:
        """The list for people: a tick for what is checked, a circle for what is not."""
        policy = self.policy
        width = max(len(rule.name) for rule in self.rules)
        skipped = sum(not rule.checked for rule in self.rules)
        head = f"{policy.id} version {policy.version}, profile {policy.profile.value}, sha256 {policy.sha256.hex()}"
        rows = [f"  {'✓' if rule.checked else '○'} {rule.name:<{width}}  {rule.want}" for rule in self.rules]
        return [head, *rows, f"{len(rows)} rules, of which {skipped} unchecked (○)"]


def view(policy: AppraisalPolicy) -> PolicyView:
    """Every rule of a policy, in the order of judging."""
    return PolicyView(policy=policy, rules=tuple(_rules(policy)))


def _rules(policy: AppraisalPolicy) -> Iterator[Rule]:
    yield Rule(name="profile", condition=Exactly(policy.profile.value))
    yield Rule(name="tee.kinds", condition=policy.kinds)
    yield Rule(name="tee.devices", condition=policy.devices)
    yield Rule(name="tee.debug", condition=policy.debug, meaning="the host may read the memory")
    yield Rule(name="tee.tcb_status", condition=policy.tcb_status, meaning="how current the platform's firmware is")
    yield Rule(name="tee.advisories", condition=policy.advisories, meaning="the vendor's advisories that apply")
    for kind in sorted(TEEKind):
        yield from _rules_of_kind(policy, kind)
    for name, reference in policy.topology.references().items():
        yield Rule(name=f"topology.{name}", condition=reference)
    yield Rule(name="code.engines", condition=policy.engines)
    yield Rule(name="code.config", condition=policy.config)
    yield from _rules_of_platform(policy)
    yield from _rules_of_time(policy)
    yield Rule(name="sealing.suites", condition=AnyOf(tuple(int(suite) for suite in policy.suites)))


def _rules_of_kind(policy: AppraisalPolicy, kind: TEEKind) -> Iterator[Rule]:
    workload = policy.workloads.get(kind)
    for register, reference in workload.registers.items() if workload else ():
        measured = workload is not None and register == workload.measured_by
        meaning = "the register that measures the worker's code" if measured else ""
        yield Rule(name=f"workload.{kind.value}.{register}", condition=reference, meaning=meaning)
    for name, reference in policy.facts.get(kind, {}).items():
        fact = VOCABULARIES[kind].facts.get(name)  # a device's registers stand among its facts, and have none
        meaning = fact.meaning if fact else "a measured register"
        yield Rule(name=f"facts.{kind.value}.{name}", condition=reference, meaning=meaning)


def _rules_of_platform(policy: AppraisalPolicy) -> Iterator[Rule]:
    yield Rule(name="platform.allowed", condition=policy.platform_allowed)
    yield Rule(name="platform.denied", condition=NoneOf(policy.platform_denied))
    either = Exactly(True) if policy.dedicated_host else AnyOf((True, False))
    yield Rule(name="platform.dedicated_host", condition=either, meaning="the platform shows its identity")
    yield Rule(name="platform.max_workers_per_cpu", condition=AtMost(policy.max_workers_per_cpu))


def _rules_of_time(policy: AppraisalPolicy) -> Iterator[Rule]:
    limits = {
        "max_evidence_age_seconds": policy.max_evidence_age_seconds,
        "max_checkpoint_age_seconds": policy.max_checkpoint_age_seconds,
        "max_revocation_staleness_seconds": policy.max_revocation_staleness_seconds,
        "lease_seconds": policy.lease_seconds,
    }
    for name, seconds in limits.items():
        yield Rule(name=f"freshness.{name}", condition=AtMost(seconds))
