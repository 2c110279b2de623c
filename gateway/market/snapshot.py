# SPDX-License-Identifier: Apache-2.0
"""The committed market: offers with their standing, kept sorted by effective ask, under one root (docs/spec.md, 8.3).

    effective ask e = ask + handicap
    salt      = HMAC(salt key, L("offer salt") || offer_id)
    standing  = {0:"sealbid/standing/1", 1:offer_id, 2:handicap u64, 3:attested until, 4:[policy digest, ..] ascending}
    o-leaf    = H(0x00 || H(L("snapshot offer") || salt || offer))         s-leaf likewise, L("snapshot standing")
    snapshot  = {0:"sealbid/snapshot/1", 1:version u64, 2:offers u64, 3:RFC 6962 root over ascending o-leaves,
                 4:root over ascending s-leaves, 5:terms digest}
    snapshot_root = H(L("snapshot") || snapshot)

A snapshot's composition never changes. What may change under it until the next one is whether an entry is barred and
how many of its lane's slots are taken: both only take offers out of an auction, neither can put one in or move one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from attestation.codec import cbor
from attestation.codec.labels import hmac_sha256, label, labelled_sha256
from attestation.offer import Offer
from attestation.tlog.merkle import leaf_hash

STANDING_LABEL: Final = "sealbid/standing/1"
LABEL: Final = "sealbid/snapshot/1"
_AFTER_ANY_ID: Final = b"\xff" * 33
_SALT_LABEL: Final = label("offer salt")
_MAX_VIEWS: Final = 16

LaneKey = tuple[bytes, str, str]
"""(worker_id, model, tier): one live offer each."""


class Gate(IntEnum):
    """Why an offer is out of an auction; the codes stand in transcripts and are never renumbered."""

    LIVE = 0
    MODEL = 1
    TIER = 2
    PRICE = 3
    BUDGET = 4
    POLICY = 5
    REGION = 6
    CONTEXT = 7
    PREDICTED_LATE = 8
    NO_ATTESTATION = 9
    SUSPENDED = 10
    WITHDRAWN = 11
    ATTESTATION_STALE = 12
    EXPIRED = 13
    EXCLUDED = 14
    NO_SLOT = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligible:
    """What attestation says of a keyset, as the gateway's verifier found it. Only such keysets may offer."""

    worker_id: bytes
    keyset_id: bytes
    receipt_key: bytes
    provider_id: bytes
    engines: frozenset[bytes]
    policies: frozenset[bytes]
    """Digests of the appraisal policies under which the worker was accepted."""
    expires: int
    """Unix seconds until which the attestation holds."""


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """The slots of one worker for one (model, tier); they outlive the offers that renew one another."""

    in_flight: int = 0
    entry: "Entry | None" = None
    """The committed entry whose slots are counted, while there is one."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One offer with the facts auctions read, laid out flat because they are read millions of times.

    All but `bar` and the lane's count is fixed. `bar` is set once, to the gate that took the offer out.
    """

    offer: Offer
    encoded: bytes
    signed: bytes
    handicap_nanos: int
    attested_until: int
    policies: frozenset[bytes]
    lane: Lane
    bar: Gate = Gate.LIVE
    offer_id: bytes = field(init=False)
    effective: int = field(init=False)
    worker_id: bytes = field(init=False)
    provider_id: bytes = field(init=False)
    region: str = field(init=False)
    slots: int = field(init=False)
    latency_ms: int = field(init=False)
    max_rows: int = field(init=False)
    not_before: int = field(init=False)
    until: int = field(init=False)

    def __post_init__(self) -> None:
        offer = self.offer
        self.offer_id = labelled_sha256("offer", self.encoded)
        self.effective = offer.ask_nanos + self.handicap_nanos
        self.worker_id = offer.worker_id
        self.provider_id = offer.provider_id
        self.region = offer.region
        self.slots = offer.slots
        self.latency_ms = offer.latency_ms
        self.max_rows = offer.max_rows
        self.not_before = offer.not_before
        self.until = min(offer.not_after, self.attested_until)

    @property
    def key(self) -> tuple[int, bytes]:
        """Where the entry stands in its index. The offer id only makes the order total; ties are broken per auction."""
        return self.effective, self.offer_id

    @property
    def market(self) -> tuple[str, str]:
        """The (model, tier) it competes in."""
        return self.offer.model, self.offer.tier

    @property
    def standing(self) -> bytes:
        """The canonical row that commits to what was known of the worker when the offer was admitted."""
        return cbor.encode(
            {
                0: STANDING_LABEL,
                1: self.offer_id,
                2: self.handicap_nanos,
                3: self.attested_until,
                4: sorted(self.policies),
            }
        )


def salt_of(salt_key: bytes, offer_id: bytes) -> bytes:
    """The salt that hides an offer in the snapshot; each can be opened without the others."""
    return hmac_sha256(salt_key, _SALT_LABEL + offer_id)


def leaves_of(salt: bytes, offer: bytes, standing: bytes) -> tuple[bytes, bytes]:
    """The Merkle leaves of an offer and of its standing."""
    return (
        leaf_hash(labelled_sha256("snapshot offer", salt + offer)),
        leaf_hash(labelled_sha256("snapshot standing", salt + standing)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The entries of one (model, tier), ascending by key. Made by `index_of`."""

    keys: Sequence[tuple[int, bytes]]
    entries: Sequence[Entry]
    full: bytearray
    """One byte per position, 1 where no slot is free: what the lanes say, laid out for searching."""
    _views: dict[tuple[bytes, tuple[str, ...]], bytes] = field(default_factory=dict, init=False, repr=False)

    def below(self, ceiling: int) -> int:
        """How many entries have an effective ask of at most `ceiling`."""
        return bisect_right(self.keys, (ceiling, _AFTER_ANY_ID))

    def count(self, entry: Entry) -> None:
        """Notes whether an entry is full, after its lane's count changed."""
        position = bisect_left(self.keys, entry.key)
        if position < len(self.entries) and self.entries[position] is entry:
            self.full[position] = entry.lane.in_flight >= entry.slots

    def view(self, policy: bytes, regions: tuple[str, ...]) -> bytes:
        """The policy or region code of each position, computed once for each such pair while the snapshot lasts."""
        view = self._views.get((policy, regions))
        if view is None:
            if len(self._views) >= _MAX_VIEWS:
                self._views.clear()
            view = self._views[policy, regions] = _view(self.entries, policy, regions)
        return view


def index_of(entries: Sequence[Entry]) -> Index:
    """The index of entries that are ascending by key already."""
    full = bytearray(entry.lane.in_flight >= entry.slots for entry in entries)
    return Index(keys=[entry.key for entry in entries], entries=entries, full=full)


def _view(entries: Sequence[Entry], policy: bytes, regions: tuple[str, ...]) -> bytes:
    no_policy, no_region = int(Gate.POLICY), int(Gate.REGION)
    return bytes(
        [
            no_policy if policy not in e.policies else no_region if regions and e.region not in regions else 0
            for e in entries
        ]
    )


EMPTY_INDEX: Final = index_of(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One committed state of the market."""

    version: int
    size: int
    encoded: bytes
    root: bytes
    indexes: Mapping[tuple[str, str], Index]
    models: Mapping[str, int]
    """Offers per model, over all tiers."""

    def index(self, model: str, tier: str) -> Index:
        """The offers of one market, none if nobody offers there."""
        return self.indexes.get((model, tier), EMPTY_INDEX)


def snapshot_of(
    *, version: int, indexes: Mapping[tuple[str, str], Index], offers_root: bytes, standing_root: bytes, terms: bytes
) -> Snapshot:
    """The snapshot over these indexes and roots; does not check that the roots belong to the indexes."""
    models: dict[str, int] = {}
    for (model, _), index in indexes.items():
        models[model] = models.get(model, 0) + len(index.entries)
    size = sum(models.values())
    encoded = cbor.encode({0: LABEL, 1: version, 2: size, 3: offers_root, 4: standing_root, 5: terms})
    return Snapshot(
        version=version,
        size=size,
        encoded=encoded,
        root=labelled_sha256("snapshot", encoded),
        indexes=indexes,
        models=models,
    )
