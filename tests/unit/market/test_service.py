# SPDX-License-Identifier: Apache-2.0
"""The market as the gateway drives it: placing, awarding, giving back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from attestation.errors import NotAcceptable, NotGenuine, Replayed, Stale
from attestation.offer import Withdrawal
from gateway.market.book import Admitted
from gateway.market.service import Awarded, Market, Refusal, unix_seconds
from gateway.market.transcript import secret_commitment
from gateway.reputation.store import ConstantReputation, Reputation
from tests.support.market import CLOCK, DAY_SECRET, MODEL, TIER, digest, intent, market, worker


class Scores:
    """A reputation that a test may change."""

    def __init__(self) -> None:
        self.by_worker: dict[bytes, Reputation] = {}

    def of(self, worker_id: bytes, *, model: str, tier: str) -> Reputation:
        return self.by_worker.get(worker_id, Reputation(handicap_ppm=0, suspended=False))


def awarded(made: Market, **kwargs: object) -> Awarded:
    """An award that must come about."""
    found = made.award(intent(), now=CLOCK, **kwargs)  # type: ignore[arg-type]
    assert isinstance(found, Awarded)
    return found


def test_an_unattested_keyset_cannot_offer() -> None:
    """An offer whose keyset nobody vouches for is refused before its signature is looked at."""
    made, owner = market(), worker()
    with pytest.raises(Stale, match="no live attestation"):
        made.place_offer(owner.sign(owner.offer()), lambda _: None, now=CLOCK)


def test_an_offer_is_verified_under_the_attested_key() -> None:
    """Signed by another key than the attested one, it is not genuine."""
    made, owner, thief = market(), worker("w0"), worker("w1")
    with pytest.raises(NotGenuine):
        made.place_offer(thief.sign(owner.offer()), lambda _: owner.eligible, now=CLOCK)
    assert made.place_offer(owner.sign(owner.offer()), lambda _: owner.eligible, now=CLOCK) == Admitted(
        offer_id=owner.offer().offer_id
    )


def test_the_lookup_is_asked_for_the_keyset_the_offer_names() -> None:
    """What is looked up is the offer's own keyset id."""
    made, owner = market(), worker()
    known = {owner.eligible.keyset_id: owner.eligible}
    assert isinstance(made.place_offer(owner.sign(owner.offer()), known.get, now=CLOCK), Admitted)


def test_sequences_are_gapless_over_awards_and_refusals() -> None:
    """Every auction has the next number, whatever came of it, starting where the last process stopped."""
    owner = worker()
    made = Market(
        gateway_id=digest("g"),
        day_secret=DAY_SECRET,
        salt_key=digest("salt"),
        terms=market()._terms,
        reputation=ConstantReputation(),
        first_sequence=41,
    )
    made.place_offer(owner.sign(owner.offer(slots=1)), lambda _: owner.eligible, now=CLOCK)
    made.commit(now=CLOCK)
    found = [made.award(intent(), now=CLOCK) for _ in range(3)]
    numbers = [each.award.sequence if isinstance(each, Awarded) else each.sequence for each in found]
    assert numbers == [41, 42, 43]
    assert [isinstance(each, Refusal) for each in found] == [False, True, True]


def test_candidates_begin_with_the_next_winner_and_take_no_slot() -> None:
    """A sealed client's list starts with whom the next award would choose, and asking for it holds nothing."""
    owners = [worker(f"w{n}", provider="ABC"[n % 3]) for n in range(6)]
    made = market([(owner, owner.offer(100, slots=1)) for owner in owners])
    for _ in range(6):
        listed = made.candidates(intent(), 3, now=CLOCK)
        assert awarded(made).award.offer_id == listed[0].offer_id
        assert len({entry.offer_id for entry in listed}) == len(listed)
    assert made.candidates(intent(), 3, now=CLOCK) == []


def test_candidates_come_best_first() -> None:
    """Effective asks ascend through the list."""
    owners = [worker(f"w{n}") for n in range(5)]
    made = market([(owner, owner.offer(105 - n // 2)) for n, owner in enumerate(owners)])
    effective = [entry.effective for entry in made.candidates(intent(), 9, now=CLOCK)]
    assert effective == sorted(effective)
    assert len(effective) == 5


def test_a_suspended_worker_cannot_offer() -> None:
    """Reputation is read when an offer is admitted."""
    scores, owner = Scores(), worker()
    scores.by_worker[owner.worker_id] = Reputation(handicap_ppm=0, suspended=True)
    with pytest.raises(NotAcceptable, match="suspended"):
        market(reputation=scores).place_offer(owner.sign(owner.offer()), lambda _: owner.eligible, now=CLOCK)


def test_reputation_becomes_a_handicap_on_the_reference_price() -> None:
    """50,000 ppm of a reference of 1,000 is 50 nUSD, at admission and when an epoch changes it."""
    scores, owner = Scores(), worker()
    scores.by_worker[owner.worker_id] = Reputation(handicap_ppm=50_000, suspended=False)
    made = market([(owner, owner.offer(100))], reputation=scores)
    assert [entry.effective for entry in made.candidates(intent(), 1, now=CLOCK)] == [150]
    scores.by_worker[owner.worker_id] = Reputation(handicap_ppm=10_000, suspended=False)
    made.update_handicap(owner.worker_id, model=MODEL, tier=TIER)
    made.update_handicap(owner.worker_id, model="unlisted", tier=TIER)
    made.commit(now=CLOCK)
    assert [entry.effective for entry in made.candidates(intent(), 1, now=CLOCK)] == [110]


def test_the_constant_reputation_is_the_same_for_all() -> None:
    """Until history counts nobody is handicapped or suspended; absurd constants do not start."""
    found = ConstantReputation().of(digest("anyone"), model=MODEL, tier=TIER)
    assert found == Reputation(handicap_ppm=0, suspended=False)
    for absurd in (-1, 1_000_001):
        with pytest.raises(ValueError, match="handicap_ppm"):
            ConstantReputation(absurd)


def test_a_worker_withdraws_its_own_offer_with_its_signature() -> None:
    """The withdrawal is verified under the key attested for the offer's keyset."""
    owner, thief = worker("w0"), worker("w1")
    offer = owner.offer(seq=1)
    made = market([(owner, offer)])
    withdrawal = Withdrawal(offer_id=offer.offer_id, seq=2)
    assert made.keyset_of(owner.sign(withdrawal)) == owner.eligible.keyset_id
    with pytest.raises(NotGenuine):
        made.withdraw_offer(thief.sign(withdrawal), owner.eligible)
    with pytest.raises(NotGenuine):
        made.withdraw_offer(thief.sign(withdrawal), thief.eligible)
    made.withdraw_offer(owner.sign(withdrawal), owner.eligible)
    assert made.standing() == ()
    assert made.keyset_of(owner.sign(withdrawal)) is None
    with pytest.raises(NotGenuine):
        made.withdraw_offer(owner.sign(withdrawal), owner.eligible)
    with pytest.raises(Replayed):
        made.place_offer(owner.sign(offer), lambda _: owner.eligible, now=CLOCK)


def test_standing_offers_show_what_is_taken() -> None:
    """The list a provider sees counts running requests."""
    owner = worker()
    made = market([(owner, owner.offer(slots=3))])
    first = awarded(made)
    awarded(made)
    assert [(each.offer, each.taken) for each in made.standing()] == [(owner.offer(slots=3), 2)]
    made.release(first.award)
    assert [each.taken for each in made.standing()] == [1]


def test_a_release_after_the_offer_left_is_harmless() -> None:
    """A request may end after its worker's offer was revoked, and the slot is free for the next offer."""
    owner = worker()
    made = market([(owner, owner.offer(slots=1))])
    held = awarded(made)
    made.withdraw_worker(owner.eligible.keyset_id)
    made.commit(now=CLOCK)
    made.place_offer(owner.sign(owner.offer(seq=2, slots=1)), lambda _: owner.eligible, now=CLOCK)
    made.commit(now=CLOCK)
    assert isinstance(made.award(intent(), now=CLOCK), Refusal)
    made.release(held.award)
    assert awarded(made).offer.seq == 2


def test_the_day_secret_can_be_rotated() -> None:
    """Transcripts commit to the secret in use; the market never shows the secret itself."""
    made = market()
    assert made.commitment == secret_commitment(DAY_SECRET)
    made.rotate_secret(digest("tomorrow"))
    assert made.commitment == secret_commitment(digest("tomorrow"))
    assert digest("tomorrow").hex() not in repr(made)


def test_unix_seconds_are_whole_and_zone_free() -> None:
    """Moments are floored to seconds, in whatever zone they are given."""
    late = datetime(2027, 1, 15, 8, 0, 0, 999_999, tzinfo=UTC)
    assert unix_seconds(late) == 1_800_000_000
    assert unix_seconds(late.astimezone(timezone(timedelta(hours=5)))) == 1_800_000_000
