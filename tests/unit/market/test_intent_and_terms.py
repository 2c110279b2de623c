# SPDX-License-Identifier: Apache-2.0
"""Intents and terms: what bounds a request's price before any offer is looked at."""

import pytest

from attestation.codec import cbor
from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, SettingsError
from gateway.market.auction import ceiling
from gateway.market.intent import Intent
from gateway.market.terms import Price, Terms, flat_terms
from tests.support.market import MODEL, POLICY, TIER, intent, terms


def test_an_intent_is_its_specified_map() -> None:
    """The bytes are the canonical map of docs/spec.md section 8.2, and the digest is labelled."""
    asked = intent(regions=("eu-west", "us-east"), max_price=7, max_total=9, wu_cap=11, deadline_ms=13, context=17)
    assert cbor.decode(asked.encoded) == {
        0: "sealbid/intent/1",
        1: MODEL,
        2: TIER,
        3: 7,
        4: ["eu-west", "us-east"],
        5: POLICY,
        6: 11,
        7: 9,
        8: 13,
        9: 17,
    }
    assert asked.sha256 == labelled_sha256("intent", asked.encoded)
    assert Intent.decode(asked.encoded) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"regions": ("us", "eu")},
        {"regions": ("eu", "eu")},
        {"regions": ("EU",)},
        {"regions": tuple(f"r{n:02}" for n in range(17))},
        {"wu_cap": 0},
        {"wu_cap": 10**12 + 1},
        {"max_total": 10**18 + 1},
        {"max_price": -1},
        {"deadline_ms": 2**32},
        {"policy": b""},
        {"tier": "gold"},
        {"model": ""},
    ],
)
def test_an_intent_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    """Regions out of order and numbers that sums could not hold make no intent."""
    with pytest.raises(Malformed):
        intent(**change)  # type: ignore[arg-type]


def test_the_reserve_bounds_a_naive_ceiling() -> None:
    """A caller who allows anything still pays at most the reserve."""
    assert ceiling(intent(max_price=10**9), terms(reserve=500)).p_max_nanos == 500
    assert ceiling(intent(max_price=400), terms(reserve=500)).p_max_nanos == 400


def test_the_budget_bounds_the_price() -> None:
    """With 2,500 work units and 10 nUSD in all, the price may be 4 per 1,000."""
    found = ceiling(intent(max_total=10, wu_cap=2500), terms())
    assert (found.price_nanos, found.p_max_nanos) == (10**9, 4)


def test_the_fee_comes_out_of_the_ceiling() -> None:
    """At 2 percent and a ceiling of 1,000 the provider's price may be 980, so that the caller pays 999.6."""
    assert ceiling(intent(max_price=1000), terms(fee_ppm=20_000)).p_max_nanos == 980


def test_a_market_without_terms_has_no_ceiling_to_offer_under() -> None:
    """No published price means that nothing is affordable there."""
    assert ceiling(intent(tier="interactive"), terms()).p_max_nanos == 0


def test_handicaps_scale_with_the_reference_price_and_are_capped() -> None:
    """A handicap is a floor of ppm of the reference, never more than all of it, never negative."""
    price = Price(reference_nanos=999, reserve_nanos=2000)
    assert [price.handicap_nanos(ppm) for ppm in (0, 1000, 500_000, 1_000_000, 2_000_000, -5)] == [
        0,
        0,
        499,
        999,
        999,
        0,
    ]


def test_flat_terms_double_the_reference_in_every_tier() -> None:
    """One reference price per model gives all three tiers and a reserve of twice that."""
    found = flat_terms({"m": 30})
    assert set(found.prices) == {("m", "interactive"), ("m", "standard"), ("m", "batch")}
    assert {price.reserve_nanos for price in found.prices.values()} == {60}


def test_terms_are_committed_to_in_one_order() -> None:
    """The digest does not depend on the order prices were listed in, and does on every number."""
    price, other = Price(reference_nanos=1, reserve_nanos=2), Price(reference_nanos=1, reserve_nanos=3)
    one = Terms(prices={("a", "batch"): price, ("b", "batch"): other})
    two = Terms(prices={("b", "batch"): other, ("a", "batch"): price})
    assert one.sha256 == two.sha256
    assert one.sha256 != Terms(prices={("a", "batch"): price, ("b", "batch"): price}).sha256
    assert one.sha256 != Terms(prices=one.prices, fee_ppm=1).sha256


@pytest.mark.parametrize("fee", [-1, 1_000_001])
def test_an_absurd_fee_does_not_start(fee: int) -> None:
    """A configuration with a fee outside 0..100 percent must not start."""
    with pytest.raises(SettingsError, match="fee_ppm"):
        Terms(prices={}, fee_ppm=fee)


@pytest.mark.parametrize(
    "price", [Price(reference_nanos=0, reserve_nanos=1), Price(reference_nanos=1, reserve_nanos=0)]
)
def test_a_market_without_a_price_does_not_start(price: Price) -> None:
    """A reference or reserve of nothing must not start."""
    with pytest.raises(SettingsError, match="m batch"):
        Terms(prices={("m", "batch"): price})
