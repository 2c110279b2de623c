# SPDX-License-Identifier: Apache-2.0
"""Appraise one piece of evidence: its kind, state, registers, facts and hardware identities, against a policy.

The same for a CPU, a device and a recorded capture that stands alone. All findings are returned, not the first.
"""

from collections.abc import Iterator
from typing import Final

from attestation.appraisal.finding import Finding
from attestation.appraisal.policy import AppraisalPolicy
from attestation.appraisal.reference import AnyOf, ReferenceValue, shown
from attestation.claims import DEVICE_KINDS, ComponentID, EvidenceClaims, Scalar, TCBStatus
from attestation.errors import Reason
from attestation.facts.vocabularies import VOCABULARIES

_STATES_LEVELS: Final = frozenset({"tcb_level", "tdx_tcb_level"})
"""Facts of hardware whose vendor states TCB levels: without a status it reaches none, which no fact may hide."""


def appraise_part(part: EvidenceClaims, policy: AppraisalPolicy) -> Iterator[Finding]:
    """Every finding against one piece of evidence, whatever it is part of."""
    device = part.kind in DEVICE_KINDS
    field, allowed = ("tee.device", policy.devices) if device else ("tee.kind", policy.kinds)
    if not allowed.accepts(part.kind.value):  # and nothing else of the policy speaks of such a kind
        remedy = "use a kind of tee the policy lists"
        yield from compare(field, allowed, part.kind.value, remedy, Reason.POLICY_REFUSED)
        yield from _unknown_roots(part)
        yield from _platform(part, policy)
        return
    yield from _state(part, policy)
    yield from _registers(part, policy)
    yield from _facts(part, policy)
    yield from _platform(part, policy)


def platform_text(identity: ComponentID) -> str:
    """How a policy lists a hardware identity: `cpu:<hex>`."""
    return f"{identity.kind.value}:{identity.value.hex()}"


def compare(field: str, reference: ReferenceValue, got: Scalar, remedy: str, reason: Reason) -> Iterator[Finding]:
    """A finding if `reference` does not accept `got`."""
    if not reference.accepts(got):
        yield Finding(field=field, got=shown(got), want=reference.want(), remedy=remedy, reason=reason)


def _state(part: EvidenceClaims, policy: AppraisalPolicy) -> Iterator[Finding]:
    name = part.kind.value
    remedy = "start the tee without debug"
    yield from compare(f"{name}.debug", policy.debug, part.debug, remedy, Reason.DEBUG_REFUSED)
    remedy = "update firmware and microcode, then attest again"
    status = part.tcb_status.value
    if part.tcb_status is not TCBStatus.UNSTATED:
        yield from compare(f"{name}.tcb_status", policy.tcb_status, status, remedy, Reason.TCB_REFUSED)
    elif not _STATES_LEVELS.isdisjoint(part.facts):  # a vendor without statuses is judged by the facts below
        yield from compare(f"{name}.tcb_status", policy.tcb_status, status, remedy, Reason.TCB_UNKNOWN)
    remedy = "apply the vendor's advisory, then attest again"
    for advisory in part.advisories:
        yield from compare(f"{name}.advisory", policy.advisories, advisory, remedy, Reason.TCB_REFUSED)


def _registers(part: EvidenceClaims, policy: AppraisalPolicy) -> Iterator[Finding]:
    workload = policy.workloads.get(part.kind)
    if workload is None:
        return  # a device runs no workload; its registers stand among its facts
    for register, reference in workload.registers.items():
        remedy = (
            "run a released worker image, or ask for this one to be listed in the policy"
            if register == workload.measured_by
            else "boot the firmware and kernel the policy lists"
        )
        field = f"{part.kind.value}.{register}"
        yield from compare(field, reference, _digest(part, register), remedy, Reason.MEASUREMENT_REFUSED)


def _digest(part: EvidenceClaims, register: str) -> str:
    return next((m.text.partition(":")[2] for m in part.measurements if m.register == register), "absent")


def _facts(part: EvidenceClaims, policy: AppraisalPolicy) -> Iterator[Finding]:
    vocabulary = VOCABULARIES[part.kind].facts
    for name, reference in policy.facts.get(part.kind, {}).items():
        field, fact = f"{part.kind.value}.{name}", vocabulary.get(name)
        if fact is None:  # a register of a device
            remedy = "use firmware the policy lists"
            yield from compare(field, reference, _digest(part, name), remedy, Reason.MEASUREMENT_REFUSED)
        else:
            # A fact the verifier did not state is compared as "absent", which only `unchecked` accepts.
            got = part.facts.get(name, "absent")
            yield from compare(field, reference, got, fact.remedy, fact.reason_for(got))


def _unknown_roots(part: EvidenceClaims) -> Iterator[Finding]:
    # Where the policy, not the code, names the roots of a kind, one that does not allow the kind trusts none of them.
    for name, fact in VOCABULARIES[part.kind].facts.items():
        if fact.reason is Reason.ROOT_REFUSED and name in part.facts:
            root = AnyOf(())
            yield from compare(f"{part.kind.value}.{name}", root, part.facts[name], fact.remedy, fact.reason)


def _platform(part: EvidenceClaims, policy: AppraisalPolicy) -> Iterator[Finding]:
    for identity in part.platform_ids:
        # The raw identity stays out of the finding, which is logged in public: kind and position are enough to act on.
        name = f"platform.{identity.kind.value}"
        if platform_text(identity) in policy.platform_denied:
            yield _platform_finding(name, "a denied identity", "an identity not denied")
        elif identity.masked and policy.dedicated_host:
            want = "a known identity, as the policy says dedicated host"
            yield _platform_finding(name, "masked by the platform", want)
        elif not policy.platform_allowed.accepts(platform_text(identity)):
            yield _platform_finding(name, "an identity not listed", "an identity the policy lists")


def _platform_finding(field: str, got: str, want: str) -> Finding:
    remedy = "use hardware the policy admits, or ask for this machine to be listed"
    return Finding(field=field, got=got, want=want, remedy=remedy, reason=Reason.PLATFORM_REFUSED)
