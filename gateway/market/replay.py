# SPDX-License-Identifier: Apache-2.0
"""Runs an auction again from what it left behind, and compares byte for byte (docs/spec.md, 8.6).

From the transcript come the moment, the exclusions and, per position walked, the facts that change faster than
snapshots: who was withdrawn, revoked, suspended or full. Everything else is recomputed from the snapshot's opening, the
intent, the terms and the revealed day secret, each of which must be the one the transcript names. Revocations,
suspensions and withdrawals leave signed traces elsewhere; that an offer was full is the gateway's word.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import array, octets, uint
from attestation.codec.labels import DIGEST_BYTES
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.offer import Offer
from attestation.tlog.merkle import root_of
from gateway.market.auction import Clearing, Demand, clear, seed_of
from gateway.market.intent import Intent
from gateway.market.snapshot import (
    STANDING_LABEL,
    Entry,
    Gate,
    Index,
    Lane,
    Snapshot,
    index_of,
    leaves_of,
    snapshot_of,
)
from gateway.market.terms import Terms
from gateway.market.transcript import Transcript, secret_commitment

_MAX_POLICIES: Final = 1024
_BARRED: Final = frozenset({Gate.NO_ATTESTATION, Gate.SUSPENDED, Gate.WITHDRAWN})
"""Gates that shut an entry for good between two snapshots: taken from the transcript, as full slots are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A committed offer opened to an auditor: its salt, its bytes, its standing row."""

    salt: bytes
    offer: bytes
    standing: bytes


def open_snapshot(openings: Iterable[Opening], *, version: int, terms: Terms) -> Snapshot:
    """The snapshot these openings commit to; compare its root with the logged one.

    Raises:
        Malformed: an opening does not parse, or its standing is about another offer.
    """
    markets: dict[tuple[str, str], list[Entry]] = {}
    offers: list[bytes] = []
    standings: list[bytes] = []
    for opening in openings:
        entry = _entry(opening)
        markets.setdefault(entry.market, []).append(entry)
        offer_leaf, standing_leaf = leaves_of(opening.salt, opening.offer, opening.standing)
        offers.append(offer_leaf)
        standings.append(standing_leaf)
    indexes = {market: _index(entries) for market, entries in markets.items()}
    return snapshot_of(
        version=version,
        indexes=indexes,
        offers_root=root_of(sorted(offers)),
        standing_root=root_of(sorted(standings)),
        terms=terms.sha256,
    )


def replay(
    transcript: bytes, *, openings: Iterable[Opening], intent: Intent, terms: Terms, day_secret: bytes
) -> Clearing:
    """The auction's outcome, after running it again. Does not check that the snapshot root or the secret were logged.

    Raises:
        Malformed: a transcript or opening does not parse.
        NotGenuine: an input is not the one the transcript names, or the auction comes out otherwise (PROOF_INVALID).
    """
    stated = Transcript.decode(transcript)
    snapshot = open_snapshot(openings, version=stated.version, terms=terms)
    _same("intent digest", stated.intent_sha256, intent.sha256)
    _same("terms digest", stated.terms_sha256, terms.sha256)
    _same("secret commitment", stated.secret_commitment, secret_commitment(day_secret))
    _same("snapshot root", stated.snapshot_root, snapshot.root)
    _state(snapshot.index(intent.model, intent.tier), stated.walk)
    seed = seed_of(day_secret, stated.gateway_id, stated.sequence, intent.sha256, snapshot.root)
    demand = Demand(intent=intent, now=stated.now, excluded=frozenset(stated.excluded))
    found = clear(snapshot, demand, seed=seed, terms=terms)
    again = replace(
        stated,
        walk=found.walk,
        winner=found.winner.offer_id if found.winner else None,
        runner_up=found.runner_up.offer_id if found.runner_up else None,
        price_nanos=found.price_nanos,
    )
    if again.encode() != transcript:
        names = [f.name for f in fields(Transcript) if getattr(again, f.name) != getattr(stated, f.name)]
        raise NotGenuine(Reason.PROOF_INVALID, f"auction {stated.sequence} replays to another {', '.join(names)}")
    return found


def _entry(opening: Opening) -> Entry:
    offer = Offer.decode(opening.offer)
    row = cbor.decode_map(opening.standing, STANDING_LABEL, 5)
    if row[1] != offer.offer_id:
        raise Malformed("standing offer_id is not its offer's")
    policies = array(row[4], "standing policies", _MAX_POLICIES)
    return Entry(
        offer=offer,
        encoded=opening.offer,
        signed=b"",
        handicap_nanos=uint(row[2], "standing handicap"),
        attested_until=uint(row[3], "standing attested until"),
        policies=frozenset(octets(policy, "standing policy", DIGEST_BYTES) for policy in policies),
        lane=Lane(),
    )


def _index(entries: list[Entry]) -> Index:
    return index_of(sorted(entries, key=lambda entry: entry.key))


def _state(index: Index, walk: bytes) -> None:
    """Puts the facts only the gateway knew onto the positions they were stated for."""
    for entry, code in zip(index.entries, walk, strict=False):
        if code == Gate.NO_SLOT:
            entry.lane.in_flight = entry.slots
            index.count(entry)
        elif code in _BARRED:
            entry.bar = Gate(code)


def _same(name: str, stated: bytes, computed: bytes) -> None:
    if stated != computed:
        raise NotGenuine(Reason.PROOF_INVALID, f"{name} is {stated.hex()}, want {computed.hex()}")
