# SPDX-License-Identifier: Apache-2.0
"""Ruling 21: the classical suite is an exception that somebody has to give a reason for."""

import pytest

from attestation.appraisal.policy import read_policy
from attestation.errors import MalformedEvidence, Reason
from tests.support.worlds import policy_bytes


@pytest.mark.parametrize("suites", ["[2]", "[1, 2]", "[2, 1]"])
def test_ruling_21_suite_2_without_a_reason_is_no_policy(suites: str) -> None:
    """Listed without a reason, the policy does not read; with one it does, and says which suite comes first."""
    with pytest.raises(MalformedEvidence) as refused:
        read_policy(policy_bytes(suites=suites))
    assert refused.value.reason is Reason.POLICY_INVALID
    allowed = read_policy(policy_bytes(suites=f'{suites}\nallow_classical = "a peer without ML-KEM"'))
    assert [int(suite) for suite in allowed.suites] == [int(digit) for digit in suites if digit.isdigit()]
