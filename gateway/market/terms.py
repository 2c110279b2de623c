# SPDX-License-Identifier: Apache-2.0
"""The market's published terms: reference prices, reserves, the platform fee and the pricing rule (docs/spec.md, 8.3).

    terms = {0:"sealbid/terms/1", 1:rule u8, 2:fee ppm u32, 3:[[model, tier, reference u64, reserve u64], ..] ascending}
    terms digest = H(L("terms") || terms)

Terms never depend on current asks: they are configured or recomputed daily, and every snapshot commits to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from attestation.codec import cbor
from attestation.codec.labels import labelled_sha256
from attestation.errors import SettingsError
from gateway.market.offers import MAX_PRICE_NANOS, TIERS

LABEL: Final = "sealbid/terms/1"
PPM: Final = 1_000_000
RESERVE_FACTOR: Final = 2


class PricingRule(IntEnum):
    """How the winner is paid. Pay-as-bid is a control for experiments: it is not truthful."""

    SECOND_SCORE = 0
    PAY_AS_BID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Published prices of one (model, tier), nUSD per 1,000 work units."""

    reference_nanos: int
    """Scales handicaps."""
    reserve_nanos: int
    """The most any request pays, whatever its own ceiling, so that a lone operator cannot take all of that."""

    def handicap_nanos(self, ppm: int) -> int:
        """A handicap in parts per million of the reference price, as an amount; capped at the whole price."""
        return self.reference_nanos * min(max(ppm, 0), PPM) // PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Prices by (model, tier). An unlisted pair takes no offers."""

    prices: Mapping[tuple[str, str], Price]
    fee_ppm: int = 0
    """Platform fee on top of the provider's price, inside the caller's ceiling."""
    rule: PricingRule = PricingRule.SECOND_SCORE
    sha256: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.fee_ppm <= PPM:
            raise SettingsError(f"terms fee_ppm is {self.fee_ppm}, want 0..{PPM}")
        for (model, tier), price in self.prices.items():
            if not 0 < price.reference_nanos <= MAX_PRICE_NANOS or not 0 < price.reserve_nanos <= MAX_PRICE_NANOS:
                raise SettingsError(f"terms price of {model} {tier} is {price}, want 1..{MAX_PRICE_NANOS}")
        object.__setattr__(self, "sha256", labelled_sha256("terms", self.encode()))

    def encode(self) -> bytes:
        """The canonical bytes snapshots commit to."""
        rows: list[cbor.Item] = [
            [*market, self.prices[market].reference_nanos, self.prices[market].reserve_nanos]
            for market in sorted(self.prices)
        ]
        return cbor.encode({0: LABEL, 1: int(self.rule), 2: self.fee_ppm, 3: rows})


def flat_terms(references: Mapping[str, int], *, fee_ppm: int = 0, tiers: Iterable[str] = TIERS) -> Terms:
    """Terms from one reference price per model: the same in every tier, the reserve twice that."""
    every = tuple(tiers)
    prices = {
        (model, tier): Price(reference_nanos=nanos, reserve_nanos=min(RESERVE_FACTOR * nanos, MAX_PRICE_NANOS))
        for model, nanos in references.items()
        for tier in every
    }
    return Terms(prices=prices, fee_ppm=fee_ppm)
