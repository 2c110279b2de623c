# SPDX-License-Identifier: Apache-2.0
"""Hard gates: each shuts an offer out by its name, before any score, and none sets the price of those inside."""

from datetime import timedelta
from typing import Any

import pytest

from attestation.errors import Reason
from attestation.offer import Withdrawal
from gateway.market.service import Awarded, Market, Refusal
from gateway.market.snapshot import Gate
from tests.support.market import CLOCK, NOW, Bid, digest, id_of, intent, market, run, worker


def counts(found: Awarded | Refusal) -> dict[Gate, int]:
    """The counted reasons of what must be a refusal."""
    assert isinstance(found, Refusal)
    assert found.reason is Reason.NO_ELIGIBLE_OFFER
    return found.counts


def one(**changes: Any) -> Market:
    """A market with one offer of ask 100 that differs from the default by `changes`."""
    owner = worker()
    return market([(owner, owner.offer(**changes))])


@pytest.mark.parametrize(
    ("offer", "asked", "gate"),
    [
        ({}, {"model": "other"}, Gate.MODEL),
        ({}, {"tier": "batch"}, Gate.TIER),
        ({}, {"max_price": 99}, Gate.PRICE),
        ({}, {"max_total": 99}, Gate.BUDGET),
        ({}, {"policy": digest("another policy")}, Gate.POLICY),
        ({}, {"regions": ("us-east",)}, Gate.REGION),
        ({"max_rows": 8}, {"context": 9}, Gate.CONTEXT),
        ({"latency_ms": 21}, {"deadline_ms": 20}, Gate.PREDICTED_LATE),
        ({"not_before": NOW + 1}, {}, Gate.EXPIRED),
    ],
)
def test_each_gate_refuses_by_its_name(offer: dict[str, Any], asked: dict[str, Any], gate: Gate) -> None:
    """One offer that fails one gate: the refusal counts exactly that."""
    assert counts(one(**offer).award(intent(**asked), now=CLOCK)) == {gate: 1}


@pytest.mark.parametrize(
    ("offer", "asked"),
    [
        ({}, {"max_price": 100}),
        ({}, {"max_total": 100}),
        ({}, {"regions": ("eu-west", "us-east")}),
        ({"max_rows": 9}, {"context": 9}),
        ({"latency_ms": 20}, {"deadline_ms": 20}),
        ({"not_before": NOW}, {}),
    ],
)
def test_the_edge_of_each_gate_is_inside(offer: dict[str, Any], asked: dict[str, Any]) -> None:
    """An offer that just satisfies a limit wins."""
    assert isinstance(one(**offer).award(intent(**asked), now=CLOCK), Awarded)


def test_an_expired_offer_never_wins() -> None:
    """At its not_after an offer is over, committed or not."""
    made = one(not_after=NOW + 60)
    assert isinstance(made.award(intent(), now=CLOCK + timedelta(seconds=59)), Awarded)
    assert counts(made.award(intent(), now=CLOCK + timedelta(seconds=60))) == {Gate.EXPIRED: 1}


def test_an_attestation_that_lapses_takes_its_offer_along() -> None:
    """An offer valid for longer than its worker's attestation stops with the attestation."""
    owner = worker(expires=NOW + 5)
    made = market([(owner, owner.offer())])
    assert isinstance(made.award(intent(), now=CLOCK + timedelta(seconds=4)), Awarded)
    assert counts(made.award(intent(), now=CLOCK + timedelta(seconds=5))) == {Gate.ATTESTATION_STALE: 1}


def test_a_full_worker_has_no_slot_until_one_is_released() -> None:
    """As many awards as slots, then NO_SLOT, then again after a release; a second release frees nothing more."""
    made = one(slots=2)
    first, second = (made.award(intent(), now=CLOCK) for _ in range(2))
    assert isinstance(first, Awarded)
    assert isinstance(second, Awarded)
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.NO_SLOT: 1}
    made.release(first.award)
    made.release(first.award)
    assert isinstance(made.award(intent(), now=CLOCK), Awarded)
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.NO_SLOT: 1}


def test_a_slot_given_back_is_found_behind_many_full_workers() -> None:
    """However long the row of full workers, the one that becomes free wins next."""
    owners = [worker(f"w{n}", provider="ABC"[n % 3]) for n in range(40)]
    made = market([(owner, owner.offer(100 + n, slots=1)) for n, owner in enumerate(owners)])
    held = [made.award(intent(), now=CLOCK) for _ in owners]
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.NO_SLOT: 40}
    freed = held[33]
    assert isinstance(freed, Awarded)
    made.release(freed.award)
    found = made.award(intent(), now=CLOCK)
    assert isinstance(found, Awarded)
    assert found.award.worker_id == owners[33].worker_id


def test_a_revoked_keyset_is_out_before_the_next_commit() -> None:
    """Revocation needs no commit to take effect."""
    owner = worker()
    made = market([(owner, owner.offer())])
    made.withdraw_worker(owner.eligible.keyset_id)
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.NO_ATTESTATION: 1}


def test_a_suspended_worker_is_out_before_the_next_commit() -> None:
    """So does suspension."""
    owner = worker()
    made = market([(owner, owner.offer())])
    made.suspend(owner.worker_id)
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.SUSPENDED: 1}


def test_a_withdrawn_offer_is_out_before_the_next_commit() -> None:
    """And so does withdrawal by the worker itself."""
    owner = worker()
    offer = owner.offer()
    made = market([(owner, offer)])
    made.withdraw_offer(owner.sign(Withdrawal(offer_id=offer.offer_id, seq=2)), owner.eligible)
    assert counts(made.award(intent(), now=CLOCK)) == {Gate.WITHDRAWN: 1}


def test_failover_excludes_the_workers_tried() -> None:
    """Each attempt excludes those before it; after all were tried the refusal says so."""
    owners = [worker(f"w{n}", provider="ABC"[n]) for n in range(3)]
    made = market([(owner, owner.offer(100 + n)) for n, owner in enumerate(owners)])
    tried: list[bytes] = []
    for attempt in (1, 2, 3):
        found = made.award(intent(), now=CLOCK, attempt=attempt, exclude=tried)
        assert isinstance(found, Awarded)
        assert found.award.worker_id == owners[attempt - 1].worker_id
        assert found.award.attempt == attempt
        tried.append(found.award.worker_id)
    assert counts(made.award(intent(), now=CLOCK, attempt=4, exclude=tried)) == {Gate.EXCLUDED: 3}


def test_a_refusal_counts_the_whole_book() -> None:
    """Every offer of the book is counted once, whatever market it stands in."""
    cheap, dear, elsewhere, slow, batch, other = (worker(f"w{n}") for n in range(6))
    made = market(
        [
            (cheap, cheap.offer(100, region="us-east")),
            (dear, dear.offer(301)),
            (elsewhere, elsewhere.offer(201)),
            (slow, slow.offer(150, latency_ms=9999)),
            (batch, batch.offer(1, tier="batch")),
            (other, other.offer(1, model="other")),
        ]
    )
    asked = intent(max_price=300, max_total=200, regions=("eu-west",), deadline_ms=50)
    found = made.award(asked, now=CLOCK)
    assert counts(found) == {
        Gate.MODEL: 1,
        Gate.TIER: 1,
        Gate.PRICE: 1,
        Gate.BUDGET: 1,
        Gate.REGION: 1,
        Gate.PREDICTED_LATE: 1,
    }
    assert isinstance(found, Refusal)
    assert found.message == ("no offer is eligible: MODEL 1, TIER 1, PRICE 1, BUDGET 1, REGION 1, PREDICTED_LATE 1")


def test_an_empty_book_refuses_too() -> None:
    """Nothing offered is a refusal like any other, with nothing to count."""
    found = market().award(intent(), now=CLOCK)
    assert counts(found) == {}
    assert isinstance(found, Refusal)
    assert "nothing is offered" in found.message


@pytest.mark.parametrize(
    "shut",
    [
        Bid(name="full", operator="C", ask=11, in_flight=1),
        Bid(name="far", operator="C", ask=11, region="us-east"),
        Bid(name="dear", operator="C", ask=21),
    ],
)
def test_an_offer_that_could_not_serve_does_not_set_the_price(shut: Bid) -> None:
    """A full, distant or unaffordable offer between winner and runner-up leaves the price alone."""
    inside = [Bid(name="w", operator="A", ask=10), Bid(name="r", operator="B", ask=15)]
    found = run([*inside, shut], p_max=20, regions=("eu-west",))
    assert found.price_nanos == 15
    assert found.runner_up is not None
    assert found.runner_up.offer_id == id_of("r")


def test_an_operators_own_machines_do_not_set_its_price() -> None:
    """With no other operator in the market the price is the ceiling, however many machines the winner has."""
    found = run([Bid(name=f"m{n}", operator="A", ask=10 + n) for n in range(4)], p_max=20)
    assert (found.price_nanos, found.runner_up) == (20, None)


def test_the_handicap_is_taken_off_the_price() -> None:
    """Effective asks are compared, the winner's own handicap comes off what it is paid."""
    found = run([Bid(name="w", operator="A", ask=10, handicap=3), Bid(name="r", operator="B", ask=15)], p_max=20)
    assert found.price_nanos == 12


def test_the_ceiling_caps_effective_asks() -> None:
    """An offer whose ask fits and whose effective ask does not is out: capping the price instead invites hiding."""
    assert run([Bid(name="w", operator="A", ask=10, handicap=11)], p_max=20).winner is None
