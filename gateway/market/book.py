# SPDX-License-Identifier: Apache-2.0
"""The order book: takes offers in, keeps them sorted, and commits to them (docs/spec.md, 8.3).

Admissions and handicaps are staged; `commit` puts them into the next snapshot, so no auction ever sees an offer that
the committed root does not hold. Leaving works at once: a withdrawn, revoked or suspended entry is barred where it
stands and dropped by the next commit. A renewal replaces its predecessor in one commit, without a gap between them.

Refused: an offer of a keyset that is not attested now, for another provider, engine or worker than the attested one,
for a market without published terms, outside its validity, or with a sequence number that was used before. Two contents
under one number prove equivocation: the caller gets both signed blobs, and both offers are gone.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from attestation.errors import Malformed, NotGenuine, Reason, Replayed, Stale
from attestation.offer import MAX_OFFER_SECONDS, Offer, Withdrawal
from attestation.tlog.merkle import root_of
from gateway.market.snapshot import (
    Eligible,
    Entry,
    Gate,
    Index,
    Lane,
    LaneKey,
    Snapshot,
    index_of,
    leaves_of,
    salt_of,
    snapshot_of,
)
from gateway.market.terms import Terms

_SLACK: Final = 64
"""Lanes kept beyond twice the live ones before the forgotten ones are swept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocation:
    """Two offers under one sequence number, both signed: proof of misbehaviour that needs no witness."""

    worker_id: bytes
    seq: int
    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An offer the next commit will hold, or one that stands already."""

    offer_id: bytes


@dataclass(slots=True, kw_only=True, eq=False)
class _Line:
    """The number line of one lane: what stands, what is staged, and the last number used."""

    lane: Lane = field(default_factory=Lane)
    live: Entry | None = None
    staged: Entry | None = None
    seq: int = -1
    last: Offer | None = None
    last_signed: bytes = b""
    forget_after: int = 0

    def entries(self) -> Iterator[Entry]:
        yield from (entry for entry in (self.live, self.staged) if entry is not None)


class OrderBook:
    """All standing offers. Not safe for threads: one event loop owns it, and no method waits."""

    def __init__(self, *, terms: Terms, salt_key: bytes) -> None:
        """`salt_key` (32 secret bytes) hides offers inside the snapshot root until they are opened to an auditor."""
        self._terms = terms
        self._salt_key = salt_key
        self._lines: dict[LaneKey, _Line] = {}
        self._by_id: dict[bytes, LaneKey] = {}
        self._changed: set[LaneKey] = set()
        self._indexes: dict[tuple[str, str], Index] = {}
        self._leaves: tuple[list[bytes], list[bytes]] = ([], [])
        self.snapshot = self._commit_to(version=0)

    # ---- entering ----------------------------------------------------------------------------------------------------

    def admit(
        self, offer: Offer, signed: bytes, eligible: Eligible, *, handicap_nanos: int, now: int
    ) -> Admitted | Equivocation:
        """Stages an offer whose signature was verified under `eligible.receipt_key`. The same offer again is no change.

        Raises:
            NotGenuine: it names another worker, keyset, provider or engine than the attested one.
            Stale: the attestation or the offer's own validity is over, or lies too far ahead.
            Replayed: a sequence number at or below the last one used.
            Malformed: no published terms for its (model, tier) (OFFER_INVALID).
        """
        self._check(offer, eligible, now)
        line = self._lines.setdefault((offer.worker_id, offer.model, offer.tier), _Line())
        if offer.seq <= line.seq:
            return self._seen(line, offer, signed)
        line.seq, line.last, line.last_signed = offer.seq, offer, signed
        line.forget_after = max(line.forget_after, offer.not_after)
        return self._stage(line, offer, signed, eligible, handicap_nanos)

    def set_handicap(self, worker_id: bytes, model: str, tier: str, handicap_nanos: int) -> None:
        """Stages another handicap for a worker's offer, if it has one; it counts from the next commit on."""
        line = self._lines.get((worker_id, model, tier))
        if line is None:
            return
        newest = line.staged or line.live
        if newest is not None and not newest.bar:
            line.staged = _entry(
                newest.offer, newest.signed, handicap_nanos, newest.attested_until, newest.policies, line.lane
            )
            self._changed.add((worker_id, model, tier))

    def _check(self, offer: Offer, eligible: Eligible, now: int) -> None:
        pairs = (
            ("keyset_id", offer.keyset_id, eligible.keyset_id, Reason.KEYSET_MISMATCH),
            ("worker_id", offer.worker_id, eligible.worker_id, Reason.KEYSET_MISMATCH),
            ("provider_id", offer.provider_id, eligible.provider_id, Reason.PROVIDER_MISMATCH),
        )
        for name, got, want, reason in pairs:
            if got != want:
                raise NotGenuine(reason, f"offer {name} is {got.hex()}, want {want.hex()}")
        if offer.engine_sha256 not in eligible.engines:
            raise NotGenuine(
                Reason.ENGINE_REFUSED, f"offer engine is {offer.engine_sha256.hex()}, want an attested one"
            )
        if now >= eligible.expires:
            raise Stale(Reason.LEASE_EXPIRED, f"attestation expired at {eligible.expires}, want after {now}")
        if not now < offer.not_after <= now + 2 * MAX_OFFER_SECONDS:
            limit = now + 2 * MAX_OFFER_SECONDS
            raise Stale(Reason.OFFER_INVALID, f"offer not_after is {offer.not_after}, want {now + 1}..{limit}")
        if (offer.model, offer.tier) not in self._terms.prices:
            raise Malformed(f"offer market is {offer.model} {offer.tier}, want a published one", Reason.OFFER_INVALID)

    def _stage(self, line: _Line, offer: Offer, signed: bytes, eligible: Eligible, handicap_nanos: int) -> Admitted:
        self._unstage(line)
        entry = _entry(offer, signed, handicap_nanos, eligible.expires, eligible.policies, line.lane)
        line.staged = entry
        key = offer.worker_id, offer.model, offer.tier
        self._by_id[entry.offer_id] = key
        self._changed.add(key)
        return Admitted(offer_id=entry.offer_id)

    def _seen(self, line: _Line, offer: Offer, signed: bytes) -> Admitted | Equivocation:
        """What a number used before means: the same offer again, a replay, or proof that its signer equivocates."""
        if offer.seq == line.seq and line.last is not None:
            if offer != line.last:
                first = line.last_signed
                self._bar(line, Gate.WITHDRAWN)
                line.last = None
                return Equivocation(worker_id=offer.worker_id, seq=offer.seq, first=first, second=signed)
            newest = line.staged or line.live
            if newest is not None and newest.offer == offer and not newest.bar:
                return Admitted(offer_id=newest.offer_id)
        raise Replayed(Reason.REPLAYED, f"offer seq is {offer.seq}, want above {line.seq}")

    def standing(self, offer_id: bytes) -> Entry | None:
        """The entry of an offer that is committed or staged and not barred."""
        key = self._by_id.get(offer_id)
        if key is None:
            return None
        entries = (entry for entry in self._lines[key].entries() if entry.offer_id == offer_id and not entry.bar)
        return next(entries, None)

    # ---- leaving -----------------------------------------------------------------------------------------------------

    def withdraw(self, withdrawal: Withdrawal, worker_id: bytes) -> None:
        """Takes a worker's own offer out at once and uses up the withdrawal's number.

        Raises:
            NotGenuine: no standing offer of this worker has that id (OFFER_INVALID).
            Replayed: the number is not above the last one used.
        """
        entry = self.standing(withdrawal.offer_id)
        if entry is None or entry.worker_id != worker_id:
            raise NotGenuine(Reason.OFFER_INVALID, f"offer {withdrawal.offer_id.hex()} does not stand for this worker")
        line = self._lines[self._by_id[withdrawal.offer_id]]
        if withdrawal.seq <= line.seq:
            raise Replayed(Reason.REPLAYED, f"withdrawal seq is {withdrawal.seq}, want above {line.seq}")
        line.seq, line.last = withdrawal.seq, None
        self._bar(line, Gate.WITHDRAWN)

    def withdraw_worker(self, keyset_id: bytes) -> None:
        """Takes every offer of a keyset out at once: its lease ended or was revoked."""
        for line in self._lines.values():
            if any(entry.offer.keyset_id == keyset_id for entry in line.entries()):
                self._bar(line, Gate.NO_ATTESTATION, keyset_id)

    def suspend(self, worker_id: bytes) -> None:
        """Takes every offer of a worker out at once. Refusing its next ones is up to the reputation store."""
        for key, line in self._lines.items():
            if key[0] == worker_id:
                self._bar(line, Gate.SUSPENDED)

    def _bar(self, line: _Line, gate: Gate, keyset_id: bytes | None = None) -> None:
        """Bars what stands and drops what is staged, of one keyset or of all."""
        for entry in line.entries():
            if keyset_id is not None and entry.offer.keyset_id != keyset_id:
                continue
            entry.bar = entry.bar or gate
            if entry is line.staged:
                self._unstage(line)
            self._changed.add((entry.worker_id, *entry.market))

    def _unstage(self, line: _Line) -> None:
        """Drops what is staged; its id is forgotten unless the standing entry, under another handicap, has the same."""
        if line.staged is not None:
            if line.live is None or line.live.offer_id != line.staged.offer_id:
                self._by_id.pop(line.staged.offer_id, None)
            line.staged = None

    # ---- slots -------------------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Lane:
        """Takes a slot of a committed entry; give its lane back by `release`, once."""
        entry.lane.in_flight += 1
        self._count(entry.lane)
        return entry.lane

    def release(self, lane: Lane) -> None:
        """Gives one slot back, whatever became of the offer it was taken under."""
        lane.in_flight -= 1
        self._count(lane)

    def _count(self, lane: Lane) -> None:
        if lane.entry is not None:
            self._indexes[lane.entry.market].count(lane.entry)

    # ---- committing --------------------------------------------------------------------------------------------------

    def commit(self, now: int) -> Snapshot:
        """The next snapshot: staged entries in, barred and expired ones out. Without a change, the present one."""
        self._expire(now)
        if self._changed:
            self._apply()
            self.snapshot = self._commit_to(version=self.snapshot.version + 1)
            self._sweep(now)
        return self.snapshot

    def opening(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """(salt, offer, standing) of every entry of the present snapshot: what an auditor needs to replay under it."""
        entries = (entry for index in self._indexes.values() for entry in index.entries)
        return tuple((salt_of(self._salt_key, entry.offer_id), entry.encoded, entry.standing) for entry in entries)

    def _expire(self, now: int) -> None:
        for key, line in self._lines.items():
            if any(now >= entry.until for entry in line.entries()):
                self._changed.add(key)
                if line.staged is not None and now >= line.staged.until:
                    self._unstage(line)
                if line.live is not None and now >= line.live.until:
                    line.live.bar = line.live.bar or Gate.EXPIRED

    def _apply(self) -> None:
        drafts: dict[tuple[str, str], list[Entry]] = {}
        for key in sorted(self._changed):
            line, market = self._lines[key], key[1:]
            if market not in drafts:
                drafts[market] = list(self._indexes[market].entries) if market in self._indexes else []
            if line.live is not None and (line.live.bar or line.staged is not None):
                self._remove(drafts[market], line.live)
                line.live = None
            if line.staged is not None:
                line.live, line.staged = line.staged, None
                self._insert(drafts[market], line.live, key)
            line.lane.entry = line.live
        for market, entries in drafts.items():
            self._indexes[market] = index_of(entries)
        self._changed.clear()

    def _insert(self, entries: list[Entry], entry: Entry, key: LaneKey) -> None:
        insort(entries, entry, key=_key_of)
        self._by_id[entry.offer_id] = key
        for sorted_leaves, leaf in zip(self._leaves, self._leaves_of(entry), strict=True):
            insort(sorted_leaves, leaf)

    def _remove(self, entries: list[Entry], entry: Entry) -> None:
        del entries[bisect_left(entries, entry.key, key=_key_of)]
        self._by_id.pop(entry.offer_id, None)
        for sorted_leaves, leaf in zip(self._leaves, self._leaves_of(entry), strict=True):
            del sorted_leaves[bisect_left(sorted_leaves, leaf)]

    def _leaves_of(self, entry: Entry) -> tuple[bytes, bytes]:
        return leaves_of(salt_of(self._salt_key, entry.offer_id), entry.encoded, entry.standing)

    def _commit_to(self, *, version: int) -> Snapshot:
        offers, standings = self._leaves
        return snapshot_of(
            version=version,
            indexes={market: index for market, index in self._indexes.items() if index.entries},
            offers_root=root_of(offers),
            standing_root=root_of(standings),
            terms=self._terms.sha256,
        )

    def _sweep(self, now: int) -> None:
        """Forgets lanes nobody uses once every offer they ever held has expired, so that memory stays bounded."""
        if len(self._lines) <= 2 * self.snapshot.size + _SLACK:
            return
        idle = [
            key
            for key, line in self._lines.items()
            if not any(line.entries()) and not line.lane.in_flight and now >= line.forget_after
        ]
        for key in idle:
            del self._lines[key]


def _key_of(entry: Entry) -> tuple[int, bytes]:
    return entry.key


def _entry(
    offer: Offer, signed: bytes, handicap_nanos: int, until: int, policies: frozenset[bytes], lane: Lane
) -> Entry:
    return Entry(
        offer=offer,
        encoded=offer.encode(),
        signed=signed,
        handicap_nanos=handicap_nanos,
        attested_until=until,
        policies=policies,
        lane=lane,
    )
