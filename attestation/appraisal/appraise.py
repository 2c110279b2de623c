# SPDX-License-Identifier: Apache-2.0
"""Appraise: hold claims of genuine evidence against a policy and list everything that does not fit.

All findings are returned, not the first, so that a provider mends a worker in one round. An empty list means acceptable
now. It does not check signatures, nonces or hardware ownership; those belong to verification and to the registry.
"""

from collections.abc import Iterator
from datetime import datetime

from attestation.appraisal.finding import Finding
from attestation.appraisal.policy import AppraisalPolicy, Workload
from attestation.appraisal.reference import ReferenceValue, Scalar, shown
from attestation.binding import Profile
from attestation.claims import Claims, ComponentID, EvidenceClaims
from attestation.errors import Reason


def appraise(claims: Claims, policy: AppraisalPolicy, now: datetime) -> list[Finding]:
    """Every finding against `claims` under `policy` at `now`; empty when acceptable."""
    return [
        *_profile(claims, policy),
        *_kinds(claims, policy),
        *_state(claims, policy),
        *_workload(claims, policy),
        *_code(claims, policy),
        *_platform(claims, policy),
        *_age(claims, policy, now),
        *_suites(claims, policy),
    ]


def _profile(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    # Ruling 27: a policy that says production refuses anything simulated whatever its lists say.
    if policy.profile is Profile.PRODUCTION and (claims.simulated or claims.profile is not Profile.PRODUCTION):
        yield Finding(
            field="profile",
            got="development (simulated)",
            want="production",
            remedy="run the worker on a real tee; simulated evidence protects nothing",
            reason=Reason.SIMULATED_REFUSED,
        )
    elif claims.profile is not policy.profile:
        yield Finding(
            field="profile",
            got=claims.profile.value,
            want=policy.profile.value,
            remedy="start the worker with the profile of this registry's policy",
            reason=Reason.POLICY_REFUSED,
        )


def _kinds(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    remedy = "use a kind of tee the policy lists"
    yield from _compare("tee.kind", policy.kinds, claims.cpu.kind.value, remedy, Reason.POLICY_REFUSED)
    for device in claims.devices:
        yield from _compare("tee.device", policy.devices, device.kind.value, remedy, Reason.POLICY_REFUSED)


def _state(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    for part in claims.parts():
        name = part.kind.value
        yield from _compare(
            f"{name}.debug", policy.debug, part.debug, "start the tee without debug", Reason.DEBUG_REFUSED
        )
        yield from _compare(
            f"{name}.tcb_status",
            policy.tcb_status,
            part.tcb_status.value,
            "update firmware and microcode, then attest again",
            Reason.TCB_REFUSED,
        )
        for advisory in part.advisories:
            yield from _compare(
                f"{name}.advisory",
                policy.advisories,
                advisory,
                "apply the vendor's advisory, then attest again",
                Reason.TCB_REFUSED,
            )


def _workload(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    workload = policy.workloads.get(claims.cpu.kind)
    if workload is None:
        return  # the kind itself is already a finding
    for register, reference in workload.registers.items():
        yield from _compare(
            f"{claims.cpu.kind.value}.{register}",
            reference,
            _register(claims.cpu, register),
            _measured_remedy(workload, register),
            Reason.MEASUREMENT_REFUSED,
        )


def _measured_remedy(workload: Workload, register: str) -> str:
    if register == workload.measured_by:
        return "run a released worker image, or ask for this one to be listed in the policy"
    return "boot the firmware and kernel the policy lists"


def _register(part: EvidenceClaims, register: str) -> str:
    return next((m.text.partition(":")[2] for m in part.measurements if m.register == register), "absent")


def _code(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    for engine in claims.engines:
        yield from _compare(
            "engine", policy.engines, engine.hex(), "serve only engines the policy lists", Reason.ENGINE_REFUSED
        )
    yield from _compare(
        "config_sha256",
        policy.config,
        claims.config_sha256.hex(),
        "start the worker with a configuration the policy lists",
        Reason.CONFIG_REFUSED,
    )


def _platform(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    for identity in claims.platform_ids:
        # The raw identity stays out of the finding, which is logged in public: kind and position are enough to act on.
        name = f"platform.{identity.kind.value}"
        if platform_text(identity) in policy.platform_denied:
            yield _platform_finding(name, "a denied identity", "an identity not denied")
        elif identity.masked and policy.dedicated_host:
            yield _platform_finding(
                name, "masked by the platform", "a known identity, as the policy says dedicated host"
            )
        elif not policy.platform_allowed.accepts(platform_text(identity)):
            yield _platform_finding(name, "an identity not listed", "an identity the policy lists")


def _platform_finding(field: str, got: str, want: str) -> Finding:
    remedy = "use hardware the policy admits, or ask for this machine to be listed"
    return Finding(field=field, got=got, want=want, remedy=remedy, reason=Reason.PLATFORM_REFUSED)


def platform_text(identity: ComponentID) -> str:
    """How a policy lists a hardware identity: `cpu:<hex>`."""
    return f"{identity.kind.value}:{identity.value.hex()}"


def _age(claims: Claims, policy: AppraisalPolicy, now: datetime) -> Iterator[Finding]:
    age = int((now - claims.challenged).total_seconds())
    if age > policy.max_evidence_age_seconds:
        yield Finding(
            field="evidence age",
            got=f"{age} seconds",
            want=f"at most {policy.max_evidence_age_seconds}",
            remedy="answer a fresh challenge",
            reason=Reason.EVIDENCE_STALE,
        )


def _suites(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    if not set(claims.suites) & set(policy.suites):
        yield Finding(
            field="keyset.suites",
            got=str([int(suite) for suite in claims.suites]),
            want=f"one of {[int(suite) for suite in policy.suites]}",
            remedy="offer a key of a suite the policy lists",
            reason=Reason.POLICY_REFUSED,
        )


def _compare(field: str, reference: ReferenceValue, got: Scalar, remedy: str, reason: Reason) -> Iterator[Finding]:
    if not reference.accepts(got):
        yield Finding(field=field, got=shown(got), want=reference.want(), remedy=remedy, reason=reason)
