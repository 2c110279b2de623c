# SPDX-License-Identifier: Apache-2.0
"""Makers of offers, eligibility, books and markets for tests: everything has a sane default and a name for its role."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cose
from attestation.codec.labels import labelled_sha256
from attestation.offer import Offer, Tier, Withdrawal
from gateway.market.auction import Clearing, Demand, clear
from gateway.market.book import OrderBook
from gateway.market.intent import Intent
from gateway.market.service import Market
from gateway.market.snapshot import Eligible, Entry, Lane, Snapshot, index_of, snapshot_of
from gateway.market.terms import Price, PricingRule, Terms
from gateway.reputation.store import ConstantReputation, ReputationStore

NOW = 1_800_000_000
CLOCK = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=NOW)
MODEL = "llama-tiny"
TIER = "standard"
REGION = "eu-west"


def digest(name: str) -> bytes:
    """32 bytes that stand for whatever `name` says."""
    return hashlib.sha256(name.encode()).digest()


POLICY = digest("policy")
ENGINE = digest("engine")
SALT_KEY = digest("salt key")
DAY_SECRET = digest("day secret")
GATEWAY = digest("gateway")


def terms(
    reserve: int = 10**9, *, reference: int = 1000, fee_ppm: int = 0, rule: PricingRule = PricingRule.SECOND_SCORE
) -> Terms:
    """Terms for `MODEL` in two tiers and one other model."""
    price = Price(reference_nanos=reference, reserve_nanos=reserve)
    listed = {(MODEL, TIER): price, (MODEL, "batch"): price, ("other", TIER): price}
    return Terms(prices=listed, fee_ppm=fee_ppm, rule=rule)


def intent(
    *,
    max_price: int = 10**9,
    max_total: int = 10**15,
    wu_cap: int = 1000,
    regions: tuple[str, ...] = (),
    policy: bytes = POLICY,
    deadline_ms: int = 10_000,
    context: int = 1,
    model: str = MODEL,
    tier: str = TIER,
) -> Intent:
    """An intent that any default offer satisfies."""
    return Intent(
        model=model,
        tier=tier,
        max_price_nanos=max_price,
        regions=regions,
        policy_sha256=policy,
        wu_cap=wu_cap,
        max_total_nanos=max_total,
        deadline_ms=deadline_ms,
        context=context,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker with its receipt key, and what attestation would say of it."""

    key: Ed25519PrivateKey
    eligible: Eligible

    @property
    def worker_id(self) -> bytes:
        return self.eligible.worker_id

    def offer(self, ask: int = 100, *, seq: int = 1, **changes: object) -> Offer:
        """An offer of this worker, valid at `NOW`."""
        fields: dict[str, object] = {
            "seq": seq,
            "keyset_id": self.eligible.keyset_id,
            "worker_id": self.eligible.worker_id,
            "provider_id": self.eligible.provider_id,
            "model": MODEL,
            "engine_sha256": ENGINE,
            "tier": TIER,
            "region": REGION,
            "ask_nanos": ask,
            "slots": 4,
            "latency_ms": 20,
            "not_before": NOW - 10,
            "not_after": NOW + 60,
            "max_rows": 1024,
        }
        fields |= changes
        fields["tier"] = Tier(str(fields["tier"]))
        return Offer(**fields)  # type: ignore[arg-type]

    def sign(self, offer: Offer | Withdrawal) -> bytes:
        """What the worker would send."""
        return cose.sign(self.key, "offer", offer.encode())


def worker(name: str = "w0", *, provider: str = "A", expires: int = NOW + 3600, keyset: str = "") -> Worker:
    """A worker known by `name`: the same name is the same key."""
    key = Ed25519PrivateKey.from_private_bytes(digest(name))
    public = key.public_key().public_bytes_raw()
    eligible = Eligible(
        worker_id=labelled_sha256("worker", public),
        keyset_id=digest(f"keyset {keyset or name}"),
        receipt_key=public,
        provider_id=digest(f"provider {provider}"),
        engines=frozenset({ENGINE}),
        policies=frozenset({POLICY}),
        expires=expires,
    )
    return Worker(key=key, eligible=eligible)


def market(
    offers: Iterable[tuple[Worker, Offer]] = (),
    *,
    under: Terms | None = None,
    reputation: ReputationStore | None = None,
) -> Market:
    """A market with these offers placed and committed."""
    made = Market(
        gateway_id=GATEWAY,
        day_secret=DAY_SECRET,
        salt_key=SALT_KEY,
        terms=under or terms(),
        reputation=reputation or ConstantReputation(),
    )
    for owner, offer in offers:
        made.place_offer(owner.sign(offer), lambda _, owner=owner: owner.eligible, now=CLOCK)  # type: ignore[misc]
    made.commit(now=CLOCK)
    return made


def book(under: Terms | None = None) -> OrderBook:
    """An empty book."""
    return OrderBook(terms=under or terms(), salt_key=SALT_KEY)


# ---- auctions over bare asks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """An offer reduced to what scoring reads. `name` is its identity."""

    name: str
    operator: str
    ask: int
    handicap: int = 0
    region: str = REGION
    slots: int = 1
    in_flight: int = 0


def encoded_of(bid: Bid) -> bytes:
    """Stands for a bid's signed bytes; auctions read only the id they hash to."""
    return bid.name.encode()


def id_of(bid: Bid | str) -> bytes:
    """The offer id of a bid, or of the bid of that name."""
    return labelled_sha256("offer", bid.encode() if isinstance(bid, str) else encoded_of(bid))


def entry(bid: Bid) -> Entry:
    """The committed entry of a bid."""
    offer = Offer(
        seq=1,
        keyset_id=digest(f"keyset {bid.name}"),
        worker_id=digest(f"worker {bid.name}"),
        provider_id=digest(f"provider {bid.operator}"),
        model=MODEL,
        engine_sha256=ENGINE,
        tier=Tier(TIER),
        region=bid.region,
        ask_nanos=bid.ask,
        slots=bid.slots,
        latency_ms=20,
        not_before=NOW - 10,
        not_after=NOW + 60,
        max_rows=1024,
    )
    return Entry(
        offer=offer,
        encoded=encoded_of(bid),
        signed=b"",
        handicap_nanos=bid.handicap,
        attested_until=NOW + 3600,
        policies=frozenset({POLICY}),
        lane=Lane(in_flight=bid.in_flight),
    )


def snapshot(bids: Iterable[Bid]) -> Snapshot:
    """A snapshot of bids whose roots are left empty: auctions read only its indexes."""
    ordered = sorted((entry(bid) for bid in bids), key=lambda e: e.key)
    index = index_of(ordered)
    return snapshot_of(
        version=1, indexes={(MODEL, TIER): index}, offers_root=b"", standing_root=b"", terms=terms().sha256
    )


def run(
    bids: Iterable[Bid],
    *,
    p_max: int,
    seed: bytes = b"\x00" * 32,
    rule: PricingRule = PricingRule.SECOND_SCORE,
    **limits: object,
) -> Clearing:
    """One auction over bare bids under a ceiling of `p_max` per 1,000 work units."""
    asked = intent(max_price=p_max, **limits)  # type: ignore[arg-type]
    return clear(snapshot(bids), Demand(intent=asked, now=NOW), seed=seed, terms=terms(rule=rule))
