# SPDX-License-Identifier: Apache-2.0
"""The planner: order, fairness, limits, deadlines, and no starvation."""

from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.batching.planner import BatchLimits, BatchPlan, FairClock, Ticket, plan

Facts = tuple[int, int, int, float, float]

ticket_facts = st.tuples(
    st.integers(0, 3),  # tenant
    st.integers(0, 2),  # key
    st.integers(1, 5),  # rows
    st.floats(0, 10),  # arrived
    st.floats(0, 20),  # deadline
)


def tickets(facts: list[Facts]) -> list[Ticket]:
    """Waiting requests in the order of their arrival, tagged as the loop tags them."""
    clock = FairClock()
    return [
        Ticket(
            number=number,
            tenant=tenant,
            key=key,
            rows=rows,
            tag=clock.tag(tenant, rows),
            arrived=arrived,
            deadline=deadline,
        )
        for number, (tenant, key, rows, arrived, deadline) in enumerate(sorted(facts, key=lambda fact: fact[3]))
    ]


limits_ = st.builds(BatchLimits, max_rows=st.integers(1, 8), max_delay_seconds=st.floats(0, 3))


@settings(max_examples=500, deadline=None)
@given(st.lists(ticket_facts, max_size=12), limits_, st.floats(0, 20))
def test_a_decision_keeps_every_limit(facts: list[Facts], limits: BatchLimits, now: float) -> None:
    """Nothing past its deadline runs, nothing runs twice, a batch has one key and fits, and waiting has an end."""
    waiting = tickets(facts)
    decision = plan(waiting, limits, now)
    assert set(decision.expired) == {ticket for ticket in waiting if ticket.deadline <= now}
    alive = [ticket for ticket in waiting if ticket.deadline > now]
    if decision.batch is None:
        assert (decision.wake_at is None) == (not alive)
        if decision.wake_at is not None:
            assert now < decision.wake_at <= min(ticket.arrived for ticket in alive) + limits.max_delay_seconds
        return
    chosen = decision.batch.tickets
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(alive)
    assert len({ticket.key for ticket in chosen}) == 1
    assert decision.batch.rows <= limits.max_rows or len(chosen) == 1
    assert chosen[0] == min(alive, key=lambda ticket: (ticket.tag, ticket.number))


@settings(max_examples=300, deadline=None)
@given(st.lists(ticket_facts, min_size=1, max_size=10))
def test_the_order_of_the_queue_does_not_matter(facts: list[Facts]) -> None:
    """A plan is a function of the set of waiting requests and the time."""
    waiting, limits = tickets(facts), BatchLimits(max_rows=4)
    one, other = plan(waiting, limits, 10.0), plan(waiting[::-1], limits, 10.0)
    assert (one.batch, one.wake_at, set(one.expired)) == (other.batch, other.wake_at, set(other.expired))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6))
def test_spans_cut_a_batch_into_its_members(facts: list[tuple[int, int]]) -> None:
    """Spans are adjacent, in order, as long as each member's rows, and cover the batch."""
    members = tickets([(tenant, 0, rows, 0.0, 1.0) for tenant, rows in facts])
    batch, position = BatchPlan(tickets=tuple(members)), 0
    for member in members:
        assert batch.span(member.number) == (position, position + member.rows)
        position += member.rows
    assert position == batch.rows


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.lists(st.integers(1, 4), min_size=30, max_size=30))
def test_a_flood_does_not_starve_another_tenant(rows: int, key: int, max_rows: int, flood: list[int]) -> None:
    """While one tenant keeps the queue full, another's request is in the very next batch."""
    clock, limits, waiting, number = FairClock(), BatchLimits(max_rows=max_rows), [], 0

    def arrive(tenant: str, size: int, kind: int) -> Ticket:
        nonlocal number
        number += 1
        ticket = Ticket(
            number=number, tenant=tenant, key=kind, rows=size, tag=clock.tag(tenant, size), arrived=0.0, deadline=1e9
        )
        waiting.append(ticket)
        return ticket

    for size in flood:
        arrive("loud", size, 0)
    quiet, batches = None, 0
    for turn in range(40):
        if turn == 3:
            quiet = arrive("quiet", rows, key)
        decision = plan(waiting, limits, 1.0)
        assert decision.batch is not None
        clock.started(decision.batch)
        waiting = [ticket for ticket in waiting if ticket not in decision.batch.tickets]
        arrive("loud", flood[turn % 30], 0)
        if quiet is not None:
            batches += 1
            if quiet in decision.batch.tickets:
                break
    assert batches == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=20))
def test_everything_that_waits_is_run_once(facts: list[tuple[int, int, int]]) -> None:
    """Planning until nothing waits runs every request exactly once."""
    waiting = tickets([(tenant, key, rows, 0.0, 1e9) for tenant, key, rows in facts])
    limits = BatchLimits(max_rows=4)
    ran: list[Ticket] = []
    clock, left = FairClock(), list(waiting)
    while left:
        decision = plan(left, limits, 1.0)
        assert decision.batch is not None
        clock.started(decision.batch)
        ran += decision.batch.tickets
        left = [ticket for ticket in left if ticket not in decision.batch.tickets]
    assert sorted(ticket.number for ticket in ran) == [ticket.number for ticket in waiting]


def test_the_clock_forgets_tenants_whose_work_is_done() -> None:
    """The memory of fairness is bounded by who waits, not by who ever came."""
    clock = FairClock()
    for number in range(1000):
        tag = clock.tag(f"tenant {number}", 1)
        alone = Ticket(number=number, tenant="t", key=0, rows=1, tag=tag + 1, arrived=0.0, deadline=1.0)
        clock.started(BatchPlan(tickets=(alone,)))
    assert len(clock._ends) <= 1
