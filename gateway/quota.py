# SPDX-License-Identifier: Apache-2.0
"""Per-tenant limits: a token bucket for rate, a count for concurrency, a running sum for the budget.

All in memory and O(1). The budget starts from the ledger's balance and reserves each request's ceiling while it runs,
so that requests in flight together cannot overspend it. Tenants come from configured credentials, so the table is
bounded.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from attestation.errors import Reason
from gateway.config import Tenant
from gateway.errors import BudgetExceeded, Denied


@dataclass(slots=True, kw_only=True)
class _Usage:
    limits: Tenant
    tokens: float
    refilled: float
    spent_nanos: int
    running: int = 0
    reserved_nanos: int = 0


@dataclass(slots=True, kw_only=True)
class Reservation:
    """One admitted request's hold on its tenant's budget."""

    ceiling_nanos: int = 0
    held: bool = False
    _usage: _Usage = field(repr=False)

    def reserve(self, ceiling_nanos: int) -> None:
        """Holds the most this request can cost. Raises `BudgetExceeded` when the tenant's budget does not cover it."""
        usage, budget = self._usage, self._usage.limits.budget_nanos
        left = None if budget is None else budget - usage.spent_nanos - usage.reserved_nanos
        if left is not None and ceiling_nanos > left:
            raise BudgetExceeded(
                Reason.BUDGET_EXCEEDED,
                f"budget left is {left} nanos, want {ceiling_nanos}",
                {"field": "budget", "got": str(left), "want": str(ceiling_nanos)},
            )
        self.ceiling_nanos = ceiling_nanos
        usage.reserved_nanos += ceiling_nanos

    def charge(self, nanos: int) -> None:
        """Counts what the request cost."""
        self._usage.spent_nanos += nanos

    def hold(self) -> None:
        """Keeps the hold past the request's end until `release`, because what it cost will be known only later."""
        self.held = True

    def release(self) -> None:
        """Lets go of what is held. Once is enough."""
        self._usage.reserved_nanos -= self.ceiling_nanos
        self.ceiling_nanos = 0


class Quota:
    """Admits requests within their tenant's limits."""

    def __init__(
        self,
        *,
        tenants: Mapping[str, Tenant],
        default: Tenant,
        clock: Callable[[], float],
        spent: Mapping[str, int],
    ) -> None:
        """`clock` is monotonic seconds; `spent` is what the ledger had charged each tenant when the process started."""
        self._tenants = tenants
        self._default = default
        self._clock = clock
        self._spent = spent
        self._usage: dict[str, _Usage] = {}

    @contextmanager
    def admit(self, tenant: str) -> Iterator[Reservation]:
        """Counts one request while it runs.

        Raises:
            Denied: RATE_LIMITED or CONCURRENCY_LIMITED.
        """
        usage = self._usage_of(tenant)
        self._take_token(usage)
        if usage.running >= usage.limits.concurrent:
            raise _denied(Reason.CONCURRENCY_LIMITED, "concurrent requests", usage.running, usage.limits.concurrent)
        usage.running += 1
        reservation = Reservation(_usage=usage)
        try:
            yield reservation
        finally:
            usage.running -= 1
            if not reservation.held:
                reservation.release()

    def _usage_of(self, tenant: str) -> _Usage:
        usage = self._usage.get(tenant)
        if usage is None:
            limits = self._tenants.get(tenant, self._default)
            usage = _Usage(
                limits=limits,
                tokens=float(limits.burst),
                refilled=self._clock(),
                spent_nanos=self._spent.get(tenant, 0),
            )
            self._usage[tenant] = usage
        return usage

    def _take_token(self, usage: _Usage) -> None:
        now = self._clock()
        earned = (now - usage.refilled) * usage.limits.requests_per_second
        usage.tokens = min(float(usage.limits.burst), usage.tokens + earned)
        usage.refilled = now
        if usage.tokens < 1.0:
            raise _denied(Reason.RATE_LIMITED, "request rate", "above the limit", usage.limits.requests_per_second)
        usage.tokens -= 1.0


def _denied(reason: Reason, field_name: str, got: object, want: object) -> Denied:
    return Denied(
        reason,
        f"{field_name} is {got}, want at most {want}",
        {"field": field_name, "got": str(got), "want": f"at most {want}"},
    )
