# SPDX-License-Identifier: Apache-2.0
"""Standing offers: what a worker promises, at what price, signed by its receipt key (docs/spec.md section 8.1).

    offer      = {0:"sealbid/offer/1", 1:seq u64, 2:keyset_id, 3:worker_id, 4:provider_id, 5:model tstr,
                  6:engine digest, 7:tier tstr, 8:region tstr, 9:ask u64 nUSD per 1,000 WU, 10:slots u16,
                  11:latency ms u32, 12:not_before, 13:not_after, 14:max context u32, 15:"1000wu"}
    withdrawal = {0:"sealbid/offer-withdraw/1", 1:offer_id, 2:seq u64}
    offer_id   = H(L("offer") || offer)                both travel as COSE_Sign1 with purpose "offer"

Refused: bytes that are not canonical, a signature of another key, a worker id that is not the key's own, and values no
honest worker promises (a span above 120 s, no slot, an absurd price). Not checked here: whether the keyset is attested.
"""

import re
from dataclasses import dataclass
from typing import Final

from attestation.codec import cbor, cose
from attestation.codec.fields import U16_MAX, U32_MAX, octets, text, uint
from attestation.codec.labels import DIGEST_BYTES, labelled_sha256
from attestation.errors import Malformed, NotGenuine, Reason

LABEL: Final = "sealbid/offer/1"
WITHDRAW_LABEL: Final = "sealbid/offer-withdraw/1"
PURPOSE: Final = "offer"
UNIT: Final = "1000wu"
TIERS: Final = ("interactive", "standard", "batch")
MAX_SPAN_SECONDS: Final = 120
MAX_PRICE_NANOS: Final = 10**15
"""A million dollars per 1,000 work units: far above any price, far below what sums could overflow."""
MAX_LATENCY_MS: Final = 3_600_000
MAX_SIGNED_BYTES: Final = 2048
_FIELDS: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,127}")
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One worker's promise for one (model, tier). Constructing it checks every bound, so a value is always sane."""

    seq: int
    keyset_id: bytes
    worker_id: bytes
    provider_id: bytes
    model: str
    engine: bytes
    tier: str
    region: str
    ask_nanos: int
    slots: int
    latency_ms: int
    not_before: int
    not_after: int
    max_context: int
    """Rows of a batch, or tokens of context, that one request may need."""

    def __post_init__(self) -> None:
        for name in ("keyset_id", "worker_id", "provider_id", "engine"):
            octets(getattr(self, name), f"offer {name}", DIGEST_BYTES)
        uint(self.seq, "offer seq")
        check_model(self.model, "offer")
        check_tier(self.tier, "offer")
        check_region(self.region, "offer")
        _within(self.ask_nanos, "offer ask", 0, MAX_PRICE_NANOS)
        _within(self.slots, "offer slots", 1, U16_MAX)
        _within(self.latency_ms, "offer latency", 1, MAX_LATENCY_MS)
        _within(self.max_context, "offer max context", 1, U32_MAX)
        uint(self.not_before, "offer not_before")
        _within(self.not_after, "offer not_after", self.not_before + 1, self.not_before + MAX_SPAN_SECONDS)

    @property
    def offer_id(self) -> bytes:
        """The digest by which dispatches, awards and transcripts know this offer."""
        return labelled_sha256(PURPOSE, self.encode())

    def encode(self) -> bytes:
        """The canonical bytes a worker signs."""
        return cbor.encode(
            {
                0: LABEL,
                1: self.seq,
                2: self.keyset_id,
                3: self.worker_id,
                4: self.provider_id,
                5: self.model,
                6: self.engine,
                7: self.tier,
                8: self.region,
                9: self.ask_nanos,
                10: self.slots,
                11: self.latency_ms,
                12: self.not_before,
                13: self.not_after,
                14: self.max_context,
                15: UNIT,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "Offer":
        """The offer of exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, LABEL, _FIELDS)
        if fields[15] != UNIT:
            raise Malformed(f"offer unit is not {UNIT}", Reason.OFFER_INVALID)
        return cls(
            seq=uint(fields[1], "offer seq"),
            keyset_id=octets(fields[2], "offer keyset_id", DIGEST_BYTES),
            worker_id=octets(fields[3], "offer worker_id", DIGEST_BYTES),
            provider_id=octets(fields[4], "offer provider_id", DIGEST_BYTES),
            model=text(fields[5], "offer model"),
            engine=octets(fields[6], "offer engine", DIGEST_BYTES),
            tier=text(fields[7], "offer tier"),
            region=text(fields[8], "offer region"),
            ask_nanos=uint(fields[9], "offer ask"),
            slots=uint(fields[10], "offer slots"),
            latency_ms=uint(fields[11], "offer latency"),
            not_before=uint(fields[12], "offer not_before"),
            not_after=uint(fields[13], "offer not_after"),
            max_context=uint(fields[14], "offer max context"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A worker takes one of its offers back; `seq` comes from the same number line as its offers."""

    offer_id: bytes
    seq: int

    def encode(self) -> bytes:
        """The canonical bytes a worker signs."""
        return cbor.encode({0: WITHDRAW_LABEL, 1: self.offer_id, 2: self.seq})

    @classmethod
    def decode(cls, data: bytes) -> "Withdrawal":
        """The withdrawal of exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, WITHDRAW_LABEL, 3)
        return cls(
            offer_id=octets(fields[1], "withdrawal offer_id", DIGEST_BYTES), seq=uint(fields[2], "withdrawal seq")
        )


def open_offer(signed: bytes, receipt_key: bytes) -> Offer:
    """The offer in a COSE_Sign1 made by `receipt_key`. Does not check that the key's keyset is attested.

    Raises:
        Malformed: not such a COSE_Sign1, not an offer, or a value out of bounds (OFFER_INVALID).
        NotGenuine: another key signed it (SIGNATURE_INVALID), or it names another worker (KEYSET_MISMATCH).
    """
    _bounded(signed)
    offer = Offer.decode(cose.verify(signed, receipt_key, PURPOSE))
    if offer.worker_id != labelled_sha256("worker", receipt_key):
        raise NotGenuine(Reason.KEYSET_MISMATCH, f"offer worker_id is {offer.worker_id.hex()}, want the signing key's")
    return offer


def peek_offer(signed: bytes) -> Offer:
    """The offer as claimed, its signature not verified: only to learn whose key to verify with. Raises `Malformed`."""
    _bounded(signed)
    return Offer.decode(cose.parse(signed, PURPOSE).payload)


def open_withdrawal(signed: bytes, receipt_key: bytes) -> Withdrawal:
    """The withdrawal in a COSE_Sign1 made by `receipt_key`. Does not check whose offer it names.

    Raises:
        Malformed: not such a COSE_Sign1, or not a withdrawal.
        NotGenuine: another key signed it (SIGNATURE_INVALID).
    """
    _bounded(signed)
    return Withdrawal.decode(cose.verify(signed, receipt_key, PURPOSE))


def peek_withdrawal(signed: bytes) -> Withdrawal:
    """The withdrawal as claimed, its signature not verified. Raises `Malformed`."""
    _bounded(signed)
    return Withdrawal.decode(cose.parse(signed, PURPOSE).payload)


def check_model(model: str, name: str) -> None:
    """Raises `Malformed` (OFFER_INVALID) unless `model` is a model name."""
    if not _NAME.fullmatch(model):
        raise Malformed(f"{name} model is not a name of letters, digits and ._/:@-", Reason.OFFER_INVALID)


def check_tier(tier: str, name: str) -> None:
    """Raises `Malformed` (OFFER_INVALID) unless `tier` is one of `TIERS`."""
    if tier not in TIERS:
        raise Malformed(f"{name} tier is not one of {', '.join(TIERS)}", Reason.OFFER_INVALID)


def check_region(region: str, name: str) -> None:
    """Raises `Malformed` (OFFER_INVALID) unless `region` is a region name."""
    if not _REGION.fullmatch(region):
        raise Malformed(f"{name} region is not a name of lower-case letters, digits and -", Reason.OFFER_INVALID)


def _within(value: int, name: str, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Malformed(f"{name} is {value}, want {low}..{high}", Reason.OFFER_INVALID)


def _bounded(signed: bytes) -> None:
    if len(signed) > MAX_SIGNED_BYTES:
        raise Malformed(f"signed offer has {len(signed)} bytes, want at most {MAX_SIGNED_BYTES}")
