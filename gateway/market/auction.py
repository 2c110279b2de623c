# SPDX-License-Identifier: Apache-2.0
"""One auction: hard gates, then the second-score rule, over a committed snapshot (docs/spec.md, 8.4).

    live   = every gate passes and e <= p_max        e = ask + handicap, from the snapshot, never from this request
    winner = argmin over live of (e, SHA256("tb1" || seed || offer_id), offer_id)
    price  = (min e over the live offers of *other operators* than the winner's, else p_max) - handicap of the winner
    p_max  = min(min(intent price, reserve) * 10^6 / (10^6 + fee ppm),  max total * 10^9 / (wu_cap * (10^6 + fee ppm)))
    seed   = HMAC(day secret, gateway id || u64 sequence || intent digest || snapshot root)

Every gate comes before every score, a free slot included: an offer that could not have served this request neither wins
nor sets the price. The order of ties decides who wins and never what is paid. Integers only.

An offer above p_max counts as PRICE or BUDGET whatever else bars it; below, the first failing gate in the order of
`gate` counts. The walk stops once winner and runner-up are known. The first `WALK` positions are judged one by one; the
rest through a view, which has judged policy and region for the whole index once per snapshot, and the index's own note
of who is full, so that leaping over a thousand offers costs as little as over ten.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Final

from attestation.codec.labels import hmac_sha256, u64
from gateway.market.intent import Intent
from gateway.market.snapshot import Entry, Gate, Index, Snapshot
from gateway.market.terms import PPM, PricingRule, Terms

WALK: Final = 16
_TIE_LABEL: Final = b"tb1"
_LIVE: Final = bytes((Gate.LIVE,))
_NO_SLOT: Final = bytes((Gate.NO_SLOT,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One attempt at filling an intent: when, and without whom. `excluded` are workers already tried."""

    intent: Intent
    now: int
    """Unix seconds."""
    excluded: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What an offer may cost at most: by price alone, and with the request's whole budget counted in."""

    price_nanos: int
    p_max_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """What an auction found. `walk` holds the gate code of each index position it looked at, in order."""

    winner: Entry | None
    runner_up: Entry | None
    price_nanos: int
    """What the winner is paid per 1,000 work units; 0 without a winner."""
    walk: bytes


def ceiling(intent: Intent, terms: Terms) -> Ceiling:
    """The caller's limits and the reserve as a bound on effective asks, the platform fee taken off."""
    listed = terms.prices.get((intent.model, intent.tier))
    user = min(intent.max_price_nanos, listed.reserve_nanos) if listed else 0
    with_fee = PPM + terms.fee_ppm
    price = user * PPM // with_fee
    budget = intent.max_total_nanos * 1000 * PPM // (intent.wu_cap * with_fee)
    return Ceiling(price_nanos=price, p_max_nanos=min(price, budget))


def seed_of(secret: bytes, gateway_id: bytes, sequence: int, intent_sha256: bytes, snapshot_root: bytes) -> bytes:
    """The seed of one auction; nobody can choose it once the secret, the snapshot and the sequence are fixed."""
    return hmac_sha256(secret, gateway_id + u64(sequence) + intent_sha256 + snapshot_root)


def gate(entry: Entry, demand: Demand) -> int:
    """The first gate that shuts this offer out, 0 for none. Price is not among them: the index is cut there before."""
    intent = demand.intent
    if intent.policy_sha256 not in entry.policies:
        return Gate.POLICY
    if intent.regions and entry.region not in intent.regions:
        return Gate.REGION
    return _gate_in_view(entry, demand)


def _gate_in_view(entry: Entry, demand: Demand) -> int:
    """The gates after policy and region, which a view has judged already."""
    if entry.lane.in_flight >= entry.slots:
        return Gate.NO_SLOT
    intent, now = demand.intent, demand.now
    if entry.max_rows < intent.context:
        return Gate.CONTEXT
    if entry.latency_ms > intent.deadline_ms:
        return Gate.PREDICTED_LATE
    if entry.bar:
        return entry.bar
    if now >= entry.until or now < entry.not_before:
        return Gate.ATTESTATION_STALE if now >= entry.attested_until else Gate.EXPIRED
    if entry.worker_id in demand.excluded:
        return Gate.EXCLUDED
    return 0


def clear(snapshot: Snapshot, demand: Demand, *, seed: bytes, terms: Terms) -> Clearing:
    """Runs one auction. Takes no slot: that is for whoever acts on the result."""
    intent = demand.intent
    index = snapshot.index(intent.model, intent.tier)
    p_max = ceiling(intent, terms).p_max_nanos
    codes = bytearray()
    winner, rival = _choose(_walk(index, demand, index.below(p_max), codes), seed)
    if winner is None:
        return Clearing(winner=None, runner_up=None, price_nanos=0, walk=bytes(codes))
    if terms.rule is PricingRule.PAY_AS_BID:
        price = winner.offer.ask_nanos
    else:
        price = (rival.effective if rival else p_max) - winner.handicap_nanos
    return Clearing(winner=winner, runner_up=rival, price_nanos=price, walk=bytes(codes))


def ranking(snapshot: Snapshot, demand: Demand, *, seed: bytes, terms: Terms) -> Iterator[Entry]:
    """Live offers from best to worst, lazily: whom a request may be wrapped for besides its winner."""
    intent = demand.intent
    index = snapshot.index(intent.model, intent.tier)
    end = index.below(ceiling(intent, terms).p_max_nanos)
    for _, ties in groupby(_walk(index, demand, end, bytearray()), lambda entry: entry.effective):
        yield from sorted(ties, key=lambda entry: _tie_key(entry, seed))


def gate_counts(snapshot: Snapshot, demand: Demand, walk: bytes, terms: Terms) -> dict[Gate, int]:
    """Offers shut out, by reason. Whole-book counts when nothing was live; else of the positions walked."""
    counts = {code: walk.count(code) for code in Gate if code and code in walk}
    if Gate.LIVE in walk:
        return counts
    intent, limits = demand.intent, ceiling(demand.intent, terms)
    index = snapshot.index(intent.model, intent.tier)
    of_model, of_market = snapshot.models.get(intent.model, 0), len(index.entries)
    affordable, payable = index.below(limits.price_nanos), index.below(limits.p_max_nanos)
    rest = {
        Gate.MODEL: snapshot.size - of_model,
        Gate.TIER: of_model - of_market,
        Gate.PRICE: of_market - affordable,
        Gate.BUDGET: affordable - payable,
    }
    return {reason: number for reason, number in sorted((counts | rest).items()) if number}


def _choose(live: Iterator[Entry], seed: bytes) -> tuple[Entry | None, Entry | None]:
    """The winner, and the first live offer of another operator in index order."""
    best: list[Entry] = []
    following: Iterable[Entry] = ()
    for entry in live:
        if best and entry.effective != best[0].effective:
            following = chain((entry,), live)
            break
        best.append(entry)
    if not best:
        return None, None
    winner = best[0] if len(best) == 1 else min(best, key=lambda entry: _tie_key(entry, seed))
    for entry in chain(best, following):
        if entry.provider_id != winner.provider_id:
            return winner, entry
    return winner, None


def _tie_key(entry: Entry, seed: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(_TIE_LABEL + seed + entry.offer_id).digest(), entry.offer_id


def _walk(index: Index, demand: Demand, end: int, codes: bytearray) -> Iterator[Entry]:
    """The live entries below `end` in index order; `codes` grows by one code per position looked at."""
    entries = index.entries
    for position in range(min(end, WALK)):
        entry = entries[position]
        code = gate(entry, demand)
        codes.append(code)
        if not code:
            yield entry
    if end > WALK:
        yield from _scan(index, demand, end, codes)


def _scan(index: Index, demand: Demand, end: int, codes: bytearray) -> Iterator[Entry]:
    """The walk beyond its first positions: the same codes and entries, leaping over what is shut out or full."""
    view = index.view(demand.intent.policy_sha256, demand.intent.regions)
    shut = _either(view[WALK:end], index.full[WALK:end])
    at = shut.find(0)
    while at >= 0:
        position = WALK + at
        codes += view[len(codes) : position].replace(_LIVE, _NO_SLOT)
        entry = index.entries[position]
        code = _gate_in_view(entry, demand)
        codes.append(code)
        if not code:
            yield entry
        at = shut.find(0, at + 1)
    codes += view[len(codes) : end].replace(_LIVE, _NO_SLOT)


def _either(left: bytes, right: bytearray) -> bytes:
    """Bitwise or of two strings of one length, done on integers because those are fast."""
    joined = int.from_bytes(left, "big") | int.from_bytes(right, "big")
    return joined.to_bytes(len(left), "big")
