# SPDX-License-Identifier: Apache-2.0
"""Tenants are held to rate, concurrency and budget, and what is let go is given back."""

from contextlib import ExitStack

import pytest

from attestation.errors import Reason
from gateway.config import Tenant
from gateway.errors import BudgetExceeded, Denied
from gateway.quota import Quota


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _quota(limits: Tenant, clock: _Clock, spent: int = 0) -> Quota:
    return Quota(tenants={"acme": limits}, default=Tenant(), clock=clock, spent={"acme": spent})


def test_a_burst_is_allowed_and_then_the_rate_holds() -> None:
    """After the burst one request per earned token passes, and not one more."""
    clock = _Clock()
    quota = _quota(Tenant(requests_per_second=2.0, burst=3), clock)
    for _ in range(3):
        with quota.admit("acme"):
            pass
    with pytest.raises(Denied) as refused, quota.admit("acme"):
        pass
    assert refused.value.reason is Reason.RATE_LIMITED
    clock.now = 0.5
    with quota.admit("acme"):
        pass
    with pytest.raises(Denied), quota.admit("acme"):
        pass


def test_concurrency_is_bounded_and_given_back() -> None:
    """No more than the allowed number run together; an ended request makes room, also when it failed."""
    quota = _quota(Tenant(concurrent=2), _Clock())
    with ExitStack() as running:
        running.enter_context(quota.admit("acme"))
        running.enter_context(quota.admit("acme"))
        with pytest.raises(Denied) as refused, quota.admit("acme"):
            pass
        assert refused.value.reason is Reason.CONCURRENCY_LIMITED
        assert refused.value.detail["got"] == "2"
    with pytest.raises(ValueError, match="inside"), quota.admit("acme"):
        raise ValueError("inside")
    with quota.admit("acme"), quota.admit("acme"):
        pass


def test_requests_in_flight_together_cannot_overspend() -> None:
    """Ceilings held by running requests count against the budget until they end."""
    quota = _quota(Tenant(budget_nanos=100), _Clock())
    with quota.admit("acme") as first:
        first.reserve(60)
        with quota.admit("acme") as second, pytest.raises(BudgetExceeded):
            second.reserve(60)
        first.charge(10)
    with quota.admit("acme") as third:
        third.reserve(90)
        with quota.admit("acme") as fourth, pytest.raises(BudgetExceeded) as refused:
            fourth.reserve(1)
    assert refused.value.detail == {"field": "budget", "got": "0", "want": "1"}


def test_the_budget_starts_from_what_the_ledger_has_charged() -> None:
    """A restart does not hand a tenant its budget again."""
    quota = _quota(Tenant(budget_nanos=100), _Clock(), spent=95)
    with quota.admit("acme") as held, pytest.raises(BudgetExceeded):
        held.reserve(6)


def test_a_charge_known_late_still_counts() -> None:
    """A cancelled request's charge, learned after it was let go, is part of what is spent."""
    quota = _quota(Tenant(budget_nanos=10), _Clock())
    with quota.admit("acme") as held:
        held.reserve(10)
    held.charge(4)
    with quota.admit("acme") as later, pytest.raises(BudgetExceeded):
        later.reserve(7)


def test_tenants_do_not_share_limits() -> None:
    """One tenant's load takes nothing from another's."""
    quota = _quota(Tenant(concurrent=1), _Clock())
    with quota.admit("acme"), quota.admit("other"):
        pass
