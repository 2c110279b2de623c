# SPDX-License-Identifier: Apache-2.0
"""Decides which waiting requests run together next. Pure: the same waiting requests and time give the same plan.

Fairness is start-time fair queueing by rows. Each request gets a tag when it arrives: the clock's present value or the
end of its tenant's previous request, whichever is later; the clock stands at the greatest tag ever started. A tenant
with a thousand waiting requests thus has tags far ahead, and another's single request goes before them.

The request with the least tag heads the next batch, so nothing starves: later arrivals get tags no less than the
clock, and only finitely many tags lie below any waiting one. The batch is filled, in tag order, with requests of the
head's key (rows can only be stacked when their shapes agree) while they fit. A batch leaves when it is full, when its
oldest member has waited long enough, or when a member would miss its deadline by waiting; a request past its deadline
is never run.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One waiting request. Times are seconds of one monotonic clock."""

    number: int
    tenant: Hashable
    key: Hashable
    rows: int
    tag: int
    arrived: float
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How large a batch may grow and how long it may wait for company."""

    max_rows: int
    max_delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Which requests run together, in the order of their rows."""

    tickets: tuple[Ticket, ...]

    @property
    def rows(self) -> int:
        """The rows of the whole batch."""
        return sum(ticket.rows for ticket in self.tickets)

    def span(self, number: int) -> tuple[int, int]:
        """The first row of one request and the one after its last.

        Raises:
            KeyError: the request is not in this batch.
        """
        start = 0
        for ticket in self.tickets:
            if ticket.number == number:
                return start, start + ticket.rows
            start += ticket.rows
        raise KeyError(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now: requests to give up, a batch to run or None, and when to ask again if there is none."""

    expired: tuple[Ticket, ...]
    batch: BatchPlan | None
    wake_at: float | None


class FairClock:
    """Tags for arriving requests. Its memory is one entry per tenant with waiting work, never per request served."""

    def __init__(self) -> None:
        self._now = 0
        self._ends: dict[Hashable, int] = {}

    def tag(self, tenant: Hashable, rows: int) -> int:
        """The tag of a request that arrives now."""
        start = max(self._now, self._ends.get(tenant, 0))
        self._ends[tenant] = start + rows
        return start

    def started(self, batch: BatchPlan) -> None:
        """Advance to the tag of the batch's head, and forget tenants whose work lies behind it."""
        self._now = max(self._now, batch.tickets[0].tag)
        self._ends = {tenant: end for tenant, end in self._ends.items() if end > self._now}


def plan(waiting: Sequence[Ticket], limits: BatchLimits, now: float) -> Decision:
    """Decide about the waiting requests."""
    expired = tuple(ticket for ticket in waiting if ticket.deadline <= now)
    alive = sorted((ticket for ticket in waiting if ticket.deadline > now), key=lambda t: (t.tag, t.number))
    if not alive:
        return Decision(expired=expired, batch=None, wake_at=None)
    batch = BatchPlan(tickets=_fill(alive, limits.max_rows))
    leaves_at = min(_leaves_at(ticket, limits) for ticket in alive)
    if batch.rows >= limits.max_rows or leaves_at <= now:
        return Decision(expired=expired, batch=batch, wake_at=None)
    return Decision(expired=expired, batch=None, wake_at=leaves_at)


def _fill(ordered: Sequence[Ticket], max_rows: int) -> tuple[Ticket, ...]:
    """The head, whatever its size, and what fits beside it."""
    chosen, rows = [ordered[0]], ordered[0].rows
    for ticket in ordered[1:]:
        if ticket.key == ordered[0].key and rows + ticket.rows <= max_rows:
            chosen.append(ticket)
            rows += ticket.rows
    return tuple(chosen)


def _leaves_at(ticket: Ticket, limits: BatchLimits) -> float:
    """When this request must leave: after its share of waiting, and a share of waiting before its deadline."""
    return min(ticket.arrived + limits.max_delay_seconds, ticket.deadline - limits.max_delay_seconds)
