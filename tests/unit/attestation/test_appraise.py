# SPDX-License-Identifier: Apache-2.0
"""Appraisal lists everything that does not fit the policy, as values."""

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.appraisal.appraise import appraise
from attestation.appraisal.finding import refusal
from attestation.appraisal.part import appraise_part, platform_text
from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.binding import Profile, SuiteID
from attestation.claims import Claims, ComponentID, ComponentKind, Measurement, TCBStatus, TEEKind
from attestation.errors import Reason
from attestation.simulated.formats import DEVELOPMENT_MEASUREMENT
from tests.conformance.policies import capture
from tests.support.attested import NOW, some_claims
from tests.support.fake_intel import mint
from tests.support.intel_verifying import verify_world
from tests.support.worlds import development_policy, policy_bytes


def good() -> Claims:
    claims = some_claims()
    image = Measurement(register="image", algorithm="sha384", digest=DEVELOPMENT_MEASUREMENT)
    return replace(claims, cpu=replace(claims.cpu, measurements=(image,)), engines=(b"\x01" * 32,))


def reasons(claims: Claims, policy: AppraisalPolicy | None = None, *, later: float = 0) -> list[Reason]:
    now = NOW + timedelta(seconds=later)
    return [finding.reason for finding in appraise(claims, policy or development_policy(), now)]


def test_good_claims_have_no_findings() -> None:
    """Claims that fit the policy are acceptable."""
    assert reasons(good()) == []


def test_all_findings_are_listed_not_the_first() -> None:
    """Debug, an old TCB, an unknown image and a missing suite are all told at once, each with its remedy."""
    bad = replace(
        good(),
        cpu=replace(some_claims().cpu, debug=True, tcb_status=TCBStatus.OUT_OF_DATE, advisories=("SA-1",)),
        suites=(SuiteID.X25519,),
    )
    findings = appraise(bad, development_policy(), NOW)
    assert [finding.reason for finding in findings] == [
        Reason.DEBUG_REFUSED,
        Reason.TCB_REFUSED,
        Reason.TCB_REFUSED,
        Reason.MEASUREMENT_REFUSED,
        Reason.POLICY_REFUSED,
    ]
    assert all(finding.field and finding.got and finding.want and finding.remedy for finding in findings)
    error = refusal(findings)
    assert error.findings == tuple(findings)
    assert error.message == "simulated.debug is true, want false (and 4 more findings)"


@pytest.mark.parametrize("kind", [TEEKind.TDX, TEEKind.SGX])
def test_a_platform_below_every_level_has_no_status_that_passes(kind: TEEKind) -> None:
    """Intel states levels: without one the status is refused, also under a policy that leaves the fact unchecked."""
    known = 'tcb_level = { exactly = "known" }'
    assert known in capture()
    lax = read_policy(capture().replace(known, 'tcb_level = { unchecked = "the status says it" }').encode())
    below, reached = verify_world(mint(kind, level_svn=200)), verify_world(mint(kind))
    assert [finding.reason for finding in appraise_part(below, lax)] == [Reason.TCB_UNKNOWN]
    assert list(appraise_part(reached, lax)) == []


def test_missing_register_is_a_finding() -> None:
    """A register the policy names and the evidence lacks is not passed over."""
    claims = good()
    assert reasons(replace(claims, cpu=replace(claims.cpu, measurements=()))) == [Reason.MEASUREMENT_REFUSED]


def test_engines_and_configuration() -> None:
    """Engine and configuration digests are held against the lists, where there are lists."""
    wanted = "01" * 32
    policy = development_policy(engines=f'{{ any_of = ["{wanted}"] }}', config='{ exactly = "ab" }')
    assert reasons(good(), policy) == [Reason.CONFIG_REFUSED]
    assert reasons(replace(good(), engines=(bytes(32),)), policy) == [Reason.ENGINE_REFUSED, Reason.CONFIG_REFUSED]


def test_platform_lists_work_and_never_print_the_identity() -> None:
    """Denied, unlisted and masked identities are refused, and no finding holds the raw identity."""
    claims, identity = good(), ComponentID(kind=ComponentKind.CPU, value=b"platform-one")
    denied = development_policy(denied=f'["{platform_text(identity)}"]')
    listed = development_policy(allowed='{ any_of = ["cpu:00112233"] }')
    masked = replace(
        claims, cpu=replace(claims.cpu, platform_ids=(ComponentID(kind=ComponentKind.CPU, value=bytes(8)),))
    )
    for judged, policy in ((claims, denied), (claims, listed), (masked, development_policy())):
        findings = appraise(judged, policy, NOW)
        assert [finding.reason for finding in findings] == [Reason.PLATFORM_REFUSED]
        assert identity.value.hex() not in str(findings)
    assert reasons(masked, development_policy(dedicated_host="false")) == []


def test_evidence_ages() -> None:
    """Evidence older than the policy allows is stale, to the second."""
    policy = development_policy(max_evidence_age_seconds="600")
    assert reasons(good(), policy, later=600) == []
    assert reasons(good(), policy, later=601) == [Reason.EVIDENCE_STALE]


def test_ruling_27_production_refuses_whatever_is_simulated() -> None:
    """Under a production policy the first finding on simulated claims is SIMULATED_REFUSED, whatever they claim."""
    strict = read_policy(policy_bytes("production-strict"))
    for profile in Profile:
        assert reasons(replace(good(), profile=profile), strict)[0] is Reason.SIMULATED_REFUSED
    real = replace(good(), cpu=replace(good().cpu, kind=TEEKind.TDX))
    assert reasons(real, strict)[0] is Reason.SIMULATED_REFUSED


def test_a_development_policy_refuses_production_bindings() -> None:
    """Profiles do not mix in the other direction either."""
    assert Reason.POLICY_REFUSED in reasons(replace(good(), profile=Profile.PRODUCTION))


def test_ruling_33_the_claims_digest_hides_platform_identities() -> None:
    """Two machines that differ only in hardware identity have the same public claims digest."""
    one = good()
    other = replace(
        one, cpu=replace(one.cpu, platform_ids=(ComponentID(kind=ComponentKind.CPU, value=b"platform-two"),))
    )
    changed = replace(one, cpu=replace(one.cpu, debug=True))
    assert one.sha256 == other.sha256
    assert one.sha256 != changed.sha256
