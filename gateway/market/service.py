# SPDX-License-Identifier: Apache-2.0
"""The market as a gateway uses it: place and withdraw offers, commit, award, give slots back (docs/spec.md, 8).

One event loop owns it and no method waits, so an award and the slot it takes are one step. `commit` hashes the whole
book: call it when offers changed, at most about once a second, never on a request's path. Offers and new handicaps
count from the next commit on.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from attestation.errors import NotAcceptable, Reason, Stale
from gateway.market.auction import Demand, clear, gate_counts, ranking, seed_of
from gateway.market.book import Admitted, Equivocation, OrderBook
from gateway.market.intent import Intent
from gateway.market.offers import Offer, open_offer, open_withdrawal, peek_offer, peek_withdrawal
from gateway.market.replay import Opening
from gateway.market.snapshot import Eligible, Entry, Gate, Lane, Snapshot
from gateway.market.terms import Terms
from gateway.market.transcript import Award, Transcript, secret_commitment, transcript_sha256
from gateway.reputation.store import ReputationStore

Attested = Callable[[bytes], Eligible | None]
"""What attestation says of a keyset id now; None when nothing live is known of it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awarded:
    """An award with its transcript. The winner holds one slot until the award is released."""

    award: Award
    offer: Offer
    runner_up: bytes | None
    transcript: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No offer was live: why, by reason, over the whole book."""

    sequence: int
    reason: Reason
    counts: dict[Gate, int]
    transcript: bytes = field(repr=False)
    transcript_sha256: bytes

    @property
    def message(self) -> str:
        """The counted reasons as one line, fit for the caller."""
        counted = ", ".join(f"{gate.name} {count}" for gate, count in self.counts.items())
        return f"no offer is eligible: {counted or 'nothing is offered'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOffer:
    """One committed offer and how many of its slots are taken."""

    offer_id: bytes
    offer: Offer
    taken: int


class Market:
    """Offers, auctions and slots of one gateway."""

    def __init__(
        self,
        *,
        gateway_id: bytes,
        day_secret: bytes,
        salt_key: bytes,
        terms: Terms,
        reputation: ReputationStore,
        first_sequence: int = 0,
    ) -> None:
        """`day_secret` and `salt_key` are 32 secret bytes each; a sequence continues where the last process stopped,
        or starts anew under a day secret never used before."""
        self._gateway_id = gateway_id
        self._terms = terms
        self._reputation = reputation
        self._sequence = first_sequence
        self._book = OrderBook(terms=terms, salt_key=salt_key)
        self._held: dict[int, Lane] = {}
        self.rotate_secret(day_secret)

    @property
    def commitment(self) -> bytes:
        """What is to be logged before awards under the present day secret count as fair."""
        return self._commitment

    @property
    def snapshot(self) -> Snapshot:
        """The committed snapshot awards are made under."""
        return self._book.snapshot

    def rotate_secret(self, day_secret: bytes) -> None:
        """Takes the next day secret into use; the old one may then be revealed."""
        self._day_secret = day_secret
        self._commitment = secret_commitment(day_secret)

    # ---- offers ------------------------------------------------------------------------------------------------------

    def place_offer(self, signed: bytes, attested: Attested, *, now: datetime) -> Admitted | Equivocation:
        """Stages a signed offer for the next commit.

        Raises:
            Malformed, NotGenuine, Replayed: as `open_offer` and `OrderBook.admit`.
            Stale: the keyset it names holds no live attestation (LEASE_EXPIRED), or as `OrderBook.admit`.
            NotAcceptable: the worker is suspended (POLICY_REFUSED).
        """
        eligible = _attested(attested, peek_offer(signed).keyset_id)
        offer = open_offer(signed, eligible.receipt_key)
        reputation = self._reputation.of(offer.worker_id, model=offer.model, tier=offer.tier)
        if reputation.suspended:
            raise NotAcceptable(Reason.POLICY_REFUSED, f"worker {offer.worker_id.hex()} is suspended")
        listed = self._terms.prices.get((offer.model, offer.tier))
        handicap = listed.handicap_nanos(reputation.handicap_ppm) if listed else 0
        return self._book.admit(offer, signed, eligible, handicap_nanos=handicap, now=unix_seconds(now))

    def withdraw_offer(self, signed: bytes, eligible: Eligible) -> None:
        """Takes an offer out at once, at the signed request of the worker `eligible` describes.

        Raises:
            Malformed, NotGenuine, Replayed: as `open_withdrawal` and `OrderBook.withdraw`.
        """
        self._book.withdraw(open_withdrawal(signed, eligible.receipt_key), eligible.worker_id)

    def keyset_of(self, signed: bytes) -> bytes | None:
        """The keyset whose standing offer a signed withdrawal names, None if none stands. Raises `Malformed`."""
        entry = self._book.standing(peek_withdrawal(signed).offer_id)
        return None if entry is None else entry.offer.keyset_id

    def withdraw_worker(self, keyset_id: bytes) -> None:
        """Takes all offers of a keyset out at once: its lease ended or was revoked."""
        self._book.withdraw_worker(keyset_id)

    def suspend(self, worker_id: bytes) -> None:
        """Takes all offers of a worker out at once."""
        self._book.suspend(worker_id)

    def update_handicap(self, worker_id: bytes, *, model: str, tier: str) -> None:
        """Reads a worker's reputation again, for the next commit."""
        listed = self._terms.prices.get((model, tier))
        if listed is not None:
            ppm = self._reputation.of(worker_id, model=model, tier=tier).handicap_ppm
            self._book.set_handicap(worker_id, model, tier, listed.handicap_nanos(ppm))

    def commit(self, *, now: datetime) -> Snapshot:
        """Puts staged changes into the next snapshot; the present one when nothing changed."""
        return self._book.commit(unix_seconds(now))

    def standing(self) -> tuple[StandingOffer, ...]:
        """Every committed offer that no withdrawal has taken out, in no order that says anything about its price."""
        entries = (entry for index in self.snapshot.indexes.values() for entry in index.entries if not entry.bar)
        return tuple(
            StandingOffer(offer_id=entry.offer_id, offer=entry.offer, taken=entry.lane.in_flight)
            for entry in sorted(entries, key=lambda entry: entry.offer_id)
        )

    def openings(self) -> tuple[Opening, ...]:
        """The present snapshot opened, for an auditor."""
        return tuple(Opening(salt=salt, offer=offer, standing=row) for salt, offer, row in self._book.opening())

    # ---- awards ------------------------------------------------------------------------------------------------------

    def award(
        self, intent: Intent, *, now: datetime, attempt: int = 1, exclude: Collection[bytes] = ()
    ) -> Awarded | Refusal:
        """Auctions one attempt among the live offers and takes a slot of the winner. `exclude` are worker ids tried."""
        snapshot, seconds = self._book.snapshot, unix_seconds(now)
        sequence = self._sequence
        self._sequence += 1
        demand = Demand(intent=intent, now=seconds, excluded=frozenset(exclude))
        seed = seed_of(self._day_secret, self._gateway_id, sequence, intent.sha256, snapshot.root)
        found = clear(snapshot, demand, seed=seed, terms=self._terms)
        winner, runner_up = found.winner, found.runner_up
        transcript = Transcript(
            sequence=sequence,
            gateway_id=self._gateway_id,
            secret_commitment=self._commitment,
            intent_sha256=intent.sha256,
            snapshot_root=snapshot.root,
            version=snapshot.version,
            now=seconds,
            attempt=attempt,
            excluded=tuple(sorted(demand.excluded)),
            terms_sha256=self._terms.sha256,
            walk=found.walk,
            winner=winner.offer_id if winner else None,
            runner_up=runner_up.offer_id if runner_up else None,
            price_nanos=found.price_nanos,
        ).encode()
        if winner is None:
            return self._refuse(sequence, snapshot, demand, transcript, found.walk)
        award = Award(
            sequence=sequence,
            gateway_id=self._gateway_id,
            intent_sha256=intent.sha256,
            snapshot_root=snapshot.root,
            version=snapshot.version,
            transcript_sha256=transcript_sha256(transcript),
            offer_id=winner.offer_id,
            worker_id=winner.worker_id,
            keyset_id=winner.offer.keyset_id,
            price_nanos=found.price_nanos,
            wu_cap=intent.wu_cap,
            attempt=attempt,
            now=seconds,
        )
        self._held[sequence] = self._book.take(winner)
        return Awarded(
            award=award,
            offer=winner.offer,
            runner_up=runner_up.offer_id if runner_up else None,
            transcript=transcript,
        )

    def candidates(self, intent: Intent, count: int, *, now: datetime, exclude: Collection[bytes] = ()) -> list[Entry]:
        """The best live offers now, best first, without awarding: whom a sealed client may wrap a request for."""
        snapshot = self._book.snapshot
        demand = Demand(intent=intent, now=unix_seconds(now), excluded=frozenset(exclude))
        seed = seed_of(self._day_secret, self._gateway_id, self._sequence, intent.sha256, snapshot.root)
        return list(islice(ranking(snapshot, demand, seed=seed, terms=self._terms), count))

    def release(self, award: Award) -> None:
        """Gives the award's slot back. A second release of the same award does nothing."""
        lane = self._held.pop(award.sequence, None)
        if lane is not None:
            self._book.release(lane)

    def _refuse(self, sequence: int, snapshot: Snapshot, demand: Demand, transcript: bytes, walk: bytes) -> Refusal:
        return Refusal(
            sequence=sequence,
            reason=Reason.NO_ELIGIBLE_OFFER,
            counts=gate_counts(snapshot, demand, walk, self._terms),
            transcript=transcript,
            transcript_sha256=transcript_sha256(transcript),
        )


def unix_seconds(now: datetime) -> int:
    """Whole seconds since 1970, without a detour over floating point."""
    return (now - _EPOCH) // _SECOND


def _attested(attested: Attested, keyset_id: bytes) -> Eligible:
    eligible = attested(keyset_id)
    if eligible is None:
        raise Stale(Reason.LEASE_EXPIRED, f"keyset {keyset_id.hex()} holds no live attestation")
    return eligible
