# SPDX-License-Identifier: Apache-2.0
"""Appraise: hold claims of genuine evidence against a policy and list everything that does not fit.

All findings are returned, not the first, so that a provider mends a worker in one round. An empty list means acceptable
now. It does not check signatures, nonces or hardware ownership; those belong to verification and to the registry.
"""

from collections.abc import Iterator
from datetime import datetime

from attestation.appraisal.finding import Finding
from attestation.appraisal.part import appraise_part, compare
from attestation.appraisal.policy import AppraisalPolicy
from attestation.appraisal.topology import topology
from attestation.binding import Profile
from attestation.claims import Claims
from attestation.errors import Reason


def appraise(claims: Claims, policy: AppraisalPolicy, now: datetime) -> list[Finding]:
    """Every finding against `claims` under `policy` at `now`; empty when acceptable."""
    parts = (finding for part in claims.parts() for finding in appraise_part(part, policy))
    return [*_profile(claims, policy), *parts, *_together(claims, policy, now)]


def appraise_whole(claims: Claims, policy: AppraisalPolicy, now: datetime) -> list[Finding]:
    """The findings of `appraise` that concern no single piece of evidence; `appraise_part` gives the others."""
    return [*_profile(claims, policy), *_together(claims, policy, now)]


def _together(claims: Claims, policy: AppraisalPolicy, now: datetime) -> Iterator[Finding]:
    yield from topology(claims.devices, policy)
    yield from _code(claims, policy)
    yield from _age(claims, policy, now)
    yield from _suites(claims, policy)


def _profile(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    # Ruling 27: a policy that says production refuses anything simulated whatever its lists say.
    if policy.profile is Profile.PRODUCTION and claims.simulated:
        yield Finding(
            field="profile",
            got="development (simulated)",
            want="production",
            remedy="run the worker on a real tee under a production profile; simulated evidence protects nothing",
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


def _code(claims: Claims, policy: AppraisalPolicy) -> Iterator[Finding]:
    remedy = "serve only engines the policy lists"
    for engine in claims.engines:
        yield from compare("engine", policy.engines, engine.hex(), remedy, Reason.ENGINE_REFUSED)
    remedy = "start the worker with a configuration the policy lists"
    config = claims.config_sha256.hex()
    yield from compare("config_sha256", policy.config, config, remedy, Reason.CONFIG_REFUSED)


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
