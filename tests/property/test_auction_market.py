# SPDX-License-Identifier: Apache-2.0
"""The market driven at random against a model: slots never oversold, no dead offer ever wins, every award replays."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from attestation.errors import NotGenuine, Replayed, Stale
from attestation.offer import Offer, Withdrawal
from gateway.market.auction import seed_of
from gateway.market.book import Admitted, Equivocation
from gateway.market.replay import replay
from gateway.market.service import Awarded, Refusal
from gateway.market.snapshot import Gate
from gateway.market.transcript import Award
from tests.support.market import CLOCK, DAY_SECRET, GATEWAY, MODEL, NOW, TIER, Worker, intent, market, terms, worker

WORKERS = [worker(f"w{n}", provider="ABC"[n % 3]) for n in range(4)]
REACHED: Counter[str] = Counter()


@dataclass(slots=True)
class Modelled:
    """What the model knows of one worker's lane."""

    owner: Worker
    seq: int = 0
    last: Offer | None = None
    staged: Offer | None = None
    live: Offer | None = None
    barred: bool = False
    held: list[Award] = field(default_factory=list)


class MarketMachine(RuleBasedStateMachine):
    """Every rule predicts legality and outcome from the model before it asks the market."""

    @initialize()
    def start(self) -> None:
        self.market = market()
        self.elapsed = 0
        self.lanes = [Modelled(owner=owner) for owner in WORKERS]
        self.sequence = 0
        self.openings = self.market.openings()
        self.terms = terms()

    @property
    def now(self) -> int:
        return NOW + self.elapsed

    def place(self, lane: Modelled, offer: Offer) -> object:
        return self.market.place_offer(
            lane.owner.sign(offer), lambda _: lane.owner.eligible, now=CLOCK + timedelta(seconds=self.elapsed)
        )

    @rule(at=st.integers(0, 3), ask=st.integers(0, 4), slots=st.integers(1, 2), span=st.integers(1, 60))
    def renew(self, at: int, ask: int, slots: int, span: int) -> None:
        lane = self.lanes[at]
        lane.seq += 1
        validity = {"not_before": self.now - 1, "not_after": self.now + span}
        offer = lane.owner.offer(ask, seq=lane.seq, slots=slots, **validity)
        assert self.place(lane, offer) == Admitted(offer_id=offer.offer_id)
        lane.staged = lane.last = offer
        REACHED["renewed"] += 1

    @rule(at=st.integers(0, 3), ask=st.integers(0, 4), back=st.integers(0, 2))
    def repeat(self, at: int, ask: int, back: int) -> None:
        """An old number: the same offer, another one under it, or one that is past."""
        lane = self.lanes[at]
        if lane.last is None or lane.seq - back < 1 or lane.last.not_after <= self.now:
            return
        validity = {"not_before": lane.last.not_before, "not_after": lane.last.not_after, "slots": lane.last.slots}
        offer = lane.owner.offer(ask, seq=lane.seq - back, **validity)
        standing = lane.staged or (None if lane.barred else lane.live)
        if back == 0 and offer == lane.last and standing == offer:
            assert self.place(lane, offer) == Admitted(offer_id=offer.offer_id)
            REACHED["repeated"] += 1
        elif back == 0 and offer != lane.last:
            found = self.place(lane, offer)
            assert isinstance(found, Equivocation)
            assert (found.first, found.second) == (lane.owner.sign(lane.last), lane.owner.sign(offer))
            lane.staged, lane.last, lane.barred = None, None, True
            REACHED["equivocated"] += 1
        else:
            refused(Replayed, lambda: self.place(lane, offer))
            REACHED["replayed"] += 1

    @rule(at=st.integers(0, 3))
    def late(self, at: int) -> None:
        lane = self.lanes[at]
        offer = lane.owner.offer(1, seq=lane.seq + 1, not_before=self.now - 30, not_after=self.now)
        refused(Stale, lambda: self.place(lane, offer))

    @rule(at=st.integers(0, 3), known=st.booleans())
    def withdraw(self, at: int, known: bool) -> None:
        lane = self.lanes[at]
        standing = lane.staged or (None if lane.barred else lane.live)
        offer_id = standing.offer_id if known and standing else b"\x07" * 32
        signed = lane.owner.sign(Withdrawal(offer_id=offer_id, seq=lane.seq + 1))
        if offer_id == b"\x07" * 32:
            refused(NotGenuine, lambda: self.market.withdraw_offer(signed, lane.owner.eligible))
            return
        self.market.withdraw_offer(signed, lane.owner.eligible)
        lane.seq += 1
        lane.staged, lane.last, lane.barred = None, None, True
        REACHED["withdrawn"] += 1

    @rule(at=st.integers(0, 3))
    def revoke(self, at: int) -> None:
        lane = self.lanes[at]
        self.market.withdraw_worker(lane.owner.eligible.keyset_id)
        lane.staged, lane.barred = None, True
        REACHED["revoked"] += 1

    @rule()
    def commit(self) -> None:
        self.market.commit(now=CLOCK + timedelta(seconds=self.elapsed))
        self.openings = self.market.openings()
        for lane in self.lanes:
            if lane.staged is not None and lane.staged.not_after <= self.now:
                lane.staged = None
            if lane.live is not None and (lane.barred or lane.staged or lane.live.not_after <= self.now):
                REACHED["expired at commit"] += lane.live.not_after <= self.now
                lane.live = None
            if lane.staged is not None:
                lane.live, lane.staged = lane.staged, None
            lane.barred = False

    @rule(asks=st.lists(st.integers(0, 4), min_size=4, max_size=4))
    def open_all(self, asks: list[int]) -> None:
        """Everybody renews and the market commits."""
        for at, ask in enumerate(asks):
            self.renew(at, ask, 1 + at % 2, 60)
        self.commit()

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.elapsed += seconds

    @rule(p_max=st.integers(0, 5), excluded=st.sets(st.integers(0, 3), max_size=1))
    def award(self, p_max: int, excluded: set[int]) -> None:
        asked = intent(max_price=p_max)
        without = [self.lanes[at].owner.worker_id for at in excluded]
        root = self.market.snapshot.root
        seed = seed_of(DAY_SECRET, GATEWAY, self.sequence, asked.sha256, root)
        alive = [lane for at, lane in enumerate(self.lanes) if at not in excluded and self.alive(lane, p_max)]
        found = self.market.award(asked, now=CLOCK + timedelta(seconds=self.elapsed), exclude=without)
        self.sequence += 1
        replayed = replay(
            found.transcript, openings=self.openings, intent=asked, terms=self.terms, day_secret=DAY_SECRET
        )
        if isinstance(found, Refusal):
            assert not alive
            assert found.sequence == self.sequence - 1
            assert replayed.winner is None
            REACHED["refused"] += 1
            REACHED["refused for slots"] += found.counts.get(Gate.NO_SLOT, 0)
            return
        self.check_award(found, alive, seed, p_max)
        assert replayed.winner is not None
        assert replayed.winner.offer_id == found.award.offer_id

    def alive(self, lane: Modelled, p_max: int) -> bool:
        offer = lane.live
        if offer is None or lane.barred:
            return False
        return self.now < offer.not_after and offer.ask_nanos <= p_max and len(lane.held) < offer.slots

    def check_award(self, found: Awarded, alive: list[Modelled], seed: bytes, p_max: int) -> None:
        def order(lane: Modelled) -> tuple[int, bytes]:
            assert lane.live is not None
            return lane.live.ask_nanos, hashlib.sha256(b"tb1" + seed + lane.live.offer_id).digest()

        best = min(alive, key=order)
        operator = best.owner.eligible.provider_id
        others = [lane.live.ask_nanos for lane in alive if lane.live and lane.owner.eligible.provider_id != operator]
        assert best.live is not None
        assert found.award.sequence == self.sequence - 1
        assert (found.award.offer_id, found.award.price_nanos) == (best.live.offer_id, min(others, default=p_max))
        best.held.append(found.award)
        REACHED["awarded"] += 1
        REACHED["last slot taken"] += len(best.held) == best.live.slots
        REACHED["awarded while a renewal was staged"] += best.staged is not None

    @rule(at=st.integers(0, 3), twice=st.booleans())
    def release(self, at: int, twice: bool) -> None:
        lane = self.lanes[at]
        if not lane.held:
            return
        award = lane.held.pop()
        for _ in range(1 + twice):
            self.market.release(award)
        REACHED["released"] += 1
        REACHED["released twice"] += twice

    @invariant()
    def slots_are_what_awards_hold(self) -> None:
        """A lane counts exactly the open awards of its worker, whatever offers came and went meanwhile."""
        held = {lane.owner.worker_id: len(lane.held) for lane in self.lanes}
        for standing in self.market.standing():
            assert standing.taken == held[standing.offer.worker_id]

    @invariant()
    def indexes_are_sorted_and_hold_one_offer_per_lane(self) -> None:
        """The index is strictly ascending, aligned with its entries, and no worker stands in it twice."""
        index = self.market.snapshot.index(MODEL, TIER)
        assert all(a < b for a, b in pairwise(index.keys))
        assert [entry.key for entry in index.entries] == list(index.keys)
        assert len({entry.worker_id for entry in index.entries}) == len(index.entries)


def refused(error: type[Exception], act: object) -> None:
    """`act` must raise exactly that."""
    try:
        act()  # type: ignore[operator]
    except error:
        return
    raise AssertionError(f"want {error.__name__}")


def test_the_market_behaves_as_its_model() -> None:
    """P11 to P13 over random histories, in which everything that can happen did happen."""
    REACHED.clear()
    run_state_machine_as_test(
        MarketMachine,
        settings=settings(
            max_examples=250,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    wanted = {
        "renewed": 200,
        "repeated": 5,
        "equivocated": 5,
        "replayed": 20,
        "withdrawn": 20,
        "revoked": 100,
        "expired at commit": 5,
        "awarded": 50,
        "last slot taken": 10,
        "awarded while a renewal was staged": 5,
        "refused": 50,
        "refused for slots": 3,
        "released": 10,
        "released twice": 3,
    }
    assert {name: REACHED[name] for name, least in wanted.items() if REACHED[name] < least} == {}
