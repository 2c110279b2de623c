# SPDX-License-Identifier: Apache-2.0
"""Findings and claims become AR4SI's numbers: nothing is affirmed that was not appraised, and no refusal is lost."""

import pytest

from attestation.claims import TCBStatus, TEEKind
from attestation.errors import UNDECIDED, Reason
from attestation.results.trust import (
    Tier,
    TrustClaim,
    status_of,
    tier_of,
    vector_of,
    vector_of_failure,
    worst_status,
)
from tests.support.ears import claims

HARDWARE, CONFIGURATION = TrustClaim.HARDWARE, TrustClaim.CONFIGURATION
EXECUTABLES, OPAQUE, IDENTITY = TrustClaim.EXECUTABLES, TrustClaim.RUNTIME_OPAQUE, TrustClaim.INSTANCE_IDENTITY


@pytest.mark.parametrize(
    ("value", "tier"),
    [
        (-128, Tier.CONTRAINDICATED),
        (-97, Tier.CONTRAINDICATED),
        (-96, Tier.WARNING),
        (-33, Tier.WARNING),
        (-32, Tier.AFFIRMING),
        (-2, Tier.AFFIRMING),
        (-1, Tier.NONE),
        (0, Tier.NONE),
        (1, Tier.NONE),
        (2, Tier.AFFIRMING),
        (31, Tier.AFFIRMING),
        (32, Tier.WARNING),
        (95, Tier.WARNING),
        (96, Tier.CONTRAINDICATED),
        (127, Tier.CONTRAINDICATED),
    ],
)
def test_the_bounds_of_the_tiers(value: int, tier: Tier) -> None:
    """As AR4SI draws them, for negative numbers too."""
    assert tier_of(value) is tier


@pytest.mark.parametrize("kind", [TEEKind.TDX, TEEKind.SGX, TEEKind.SNP, TEEKind.AZURE_HCL])
def test_an_accepted_cpu_affirms_what_it_shows(kind: TEEKind) -> None:
    """Genuine and current hardware, the policy's configuration and code, encrypted memory; and nothing else."""
    got = vector_of(claims(kind), [], unmeasured=False)
    assert got == {HARDWARE: 2, CONFIGURATION: 2, EXECUTABLES: 3, OPAQUE: 2}
    assert status_of(got, []) is Tier.AFFIRMING


@pytest.mark.parametrize("kind", [TEEKind.NVIDIA_GPU, TEEKind.NVIDIA_SWITCH])
def test_a_gpu_never_affirms_that_its_memory_is_hidden(kind: TEEKind) -> None:
    """No report says that confidential computing is on."""
    assert vector_of(claims(kind, status=TCBStatus.UNSTATED), [], unmeasured=True) == {HARDWARE: 2, CONFIGURATION: 2}


def test_what_the_policy_left_unchecked_is_not_affirmed() -> None:
    """Code nobody compared is not claimed to be known."""
    assert EXECUTABLES not in vector_of(claims(), [], unmeasured=True)


@pytest.mark.parametrize(
    ("status", "advisories"), [(TCBStatus.OUT_OF_DATE, ()), (TCBStatus.UP_TO_DATE, ("INTEL-SA-1",))]
)
def test_a_policy_that_accepts_old_firmware_cannot_affirm_it(status: TCBStatus, advisories: tuple[str, ...]) -> None:
    """Accepted by policy or not, hardware with known vulnerabilities is a warning, and so is the whole."""
    got = vector_of(claims(status=status, advisories=advisories), [], unmeasured=False)
    assert got[HARDWARE] == 32
    assert status_of(got, []) is Tier.WARNING


@pytest.mark.parametrize(
    ("reason", "claim", "value"),
    [
        (Reason.TCB_REFUSED, HARDWARE, 32),
        (Reason.FIRMWARE_REFUSED, HARDWARE, 32),
        (Reason.RIM_EXPIRED, HARDWARE, 32),
        (Reason.PRODUCT_REFUSED, HARDWARE, 96),
        (Reason.RIM_MISMATCH, HARDWARE, 96),
        (Reason.TCB_UNKNOWN, HARDWARE, 97),
        (Reason.ROOT_REFUSED, HARDWARE, 97),
        (Reason.DEBUG_REFUSED, OPAQUE, 96),
        (Reason.MODE_REFUSED, OPAQUE, 96),
        (Reason.ATTRIBUTE_REFUSED, CONFIGURATION, 96),
        (Reason.CONFIG_REFUSED, CONFIGURATION, 96),
        (Reason.TOPOLOGY_REFUSED, CONFIGURATION, 96),
        (Reason.MEASUREMENT_REFUSED, EXECUTABLES, 33),
        (Reason.EVENT_LOG_MISMATCH, EXECUTABLES, 33),
        (Reason.PLATFORM_REFUSED, IDENTITY, 96),
        (Reason.ACTIVATION_MISSING, IDENTITY, 97),
        (Reason.SIMULATED_REFUSED, OPAQUE, 96),
    ],
)
def test_each_refusal_has_its_number(reason: Reason, claim: TrustClaim, value: int) -> None:
    """The claim says what is wrong, and the status is contraindicated, because the policy refused."""
    got = vector_of(claims(), [reason], unmeasured=False)
    assert got[claim] == value
    assert status_of(got, [reason]) is Tier.CONTRAINDICATED


def test_the_worst_of_several_refusals_counts() -> None:
    """A later milder finding does not hide an earlier one."""
    for order in ([Reason.TCB_UNKNOWN, Reason.TCB_REFUSED], [Reason.TCB_REFUSED, Reason.TCB_UNKNOWN]):
        assert vector_of(claims(), order, unmeasured=False)[HARDWARE] == 97


@pytest.mark.parametrize("reason", list(Reason))
def test_no_finding_leaves_a_part_affirming(reason: Reason) -> None:
    """Whatever the reason, also one that has no number of its own."""
    assert status_of(vector_of(claims(), [reason], unmeasured=False), [reason]) is not Tier.AFFIRMING


@pytest.mark.parametrize("reason", sorted(UNDECIDED))
def test_the_undecided_is_neither_affirmed_nor_contraindicated(reason: Reason) -> None:
    """Genuine evidence without a manifest or collateral claims nothing of its hardware."""
    got = vector_of(claims(TEEKind.NVIDIA_GPU), [reason], unmeasured=False)
    assert HARDWARE not in got
    assert status_of(got, [reason]) is Tier.NONE
    assert status_of(vector_of_failure(reason), [reason]) is Tier.NONE


@pytest.mark.parametrize(
    ("reason", "value", "tier"),
    [
        (Reason.MALFORMED, 1, Tier.NONE),
        (Reason.UNSUPPORTED, 1, Tier.NONE),
        (Reason.SIGNATURE_INVALID, 99, Tier.CONTRAINDICATED),
        (Reason.CHAIN_INVALID, 99, Tier.CONTRAINDICATED),
        (Reason.ROOT_REFUSED, 97, Tier.CONTRAINDICATED),
        (Reason.CERTIFICATE_REVOKED, 96, Tier.CONTRAINDICATED),
    ],
)
def test_evidence_without_claims_says_why(reason: Reason, value: int, tier: Tier) -> None:
    """Unreadable is unexpected evidence; not genuine is failed cryptography; revoked is known and not to be trusted."""
    got = vector_of_failure(reason)
    assert got[HARDWARE] == value
    assert status_of(got, [reason]) is tier


def test_debug_and_simulation_hide_nothing() -> None:
    """Even where a development policy accepts them."""
    assert vector_of(claims(debug=True), [], unmeasured=False)[OPAQUE] == 96
    assert vector_of(claims(TEEKind.SIMULATED), [], unmeasured=False) == {HARDWARE: 96, OPAQUE: 96}


def test_a_whole_is_as_good_as_its_worst_part() -> None:
    """Contraindicated, then warning, then a part without a status."""
    affirming, none, warning, bad = Tier.AFFIRMING, Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED
    assert worst_status([affirming, affirming]) is affirming
    assert worst_status([affirming, none]) is none
    assert worst_status([none, warning, affirming]) is warning
    assert worst_status([none, warning, bad]) is bad
    assert worst_status([]) is none
