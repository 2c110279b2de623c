# SPDX-License-Identifier: Apache-2.0
"""A provider's standing offer: one machine's signed price for one model (docs/spec.md, 8).

    Offer      COSE_Sign1(receipt key, "offer") over {0:"sealbid/offer/1", 1:seq u64, 2:keyset_id, 3:worker_id,
               4:provider_id, 5:model tstr, 6:engine digest, 7:tier tstr, 8:region tstr, 9:ask (nUSD per 1,000 work
               units) u64, 10:slots u16, 11:latency ms u32, 12:not_before u64, 13:not_after u64, 14:max rows or context
               u32, 15:unit "1000wu"}
    Withdrawal COSE_Sign1(receipt key, "offer") over {0:"sealbid/offer-withdraw/1", 1:offer_id, 2:seq}
    offer_id = H(L("offer") || offer)

Worker and market share this value and nothing else. An offer that stands longer than two minutes, asks for no slots or
names another unit does not parse. What this does not check: the lease of the keyset, or that the price makes sense.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.codec.fields import U16_MAX, U32_MAX, octets, text, uint
from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, Reason

MAX_OFFER_SECONDS: Final = 120
UNIT: Final = "1000wu"
"""The unit of every price: 1,000 work units."""

_MAX_TIME: Final = 253_402_300_799  # the last second a datetime can hold
_OFFER, _WITHDRAW = "sealbid/offer/1", "sealbid/offer-withdraw/1"


class Tier(StrEnum):
    """What a request buys besides the result: latency first, the ordinary, or price first."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One standing offer. `max_rows` bounds a request: batch rows of a tensor model, context of a generative one."""

    seq: int
    keyset_id: bytes
    worker_id: bytes
    provider_id: bytes
    model: str
    engine_sha256: bytes
    tier: Tier
    region: str
    ask_nanos: int
    slots: int
    latency_ms: int
    not_before: int
    not_after: int
    max_rows: int

    def encode(self) -> bytes:
        """The canonical CBOR. Raises `Malformed` for a value `decode` would refuse."""
        data = cbor.encode(
            {
                0: _OFFER,
                1: self.seq,
                2: self.keyset_id,
                3: self.worker_id,
                4: self.provider_id,
                5: self.model,
                6: self.engine_sha256,
                7: self.tier.value,
                8: self.region,
                9: self.ask_nanos,
                10: self.slots,
                11: self.latency_ms,
                12: self.not_before,
                13: self.not_after,
                14: self.max_rows,
                15: UNIT,
            }
        )
        Offer.decode(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Offer":
        """Reads exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, _OFFER, 16)
        offer = cls(
            seq=uint(fields[1], "offer.seq"),
            keyset_id=octets(fields[2], "offer.keyset_id", 32),
            worker_id=octets(fields[3], "offer.worker_id", 32),
            provider_id=octets(fields[4], "offer.provider_id", 32),
            model=text(fields[5], "offer.model", 128),
            engine_sha256=octets(fields[6], "offer.engine_sha256", 32),
            tier=_tier(fields[7]),
            region=text(fields[8], "offer.region", 64),
            ask_nanos=uint(fields[9], "offer.ask_nanos"),
            slots=uint(fields[10], "offer.slots", U16_MAX),
            latency_ms=uint(fields[11], "offer.latency_ms", U32_MAX),
            not_before=uint(fields[12], "offer.not_before", _MAX_TIME),
            not_after=uint(fields[13], "offer.not_after", _MAX_TIME),
            max_rows=uint(fields[14], "offer.max_rows", U32_MAX),
        )
        if text(fields[15], "offer.unit") != UNIT:
            raise Malformed(f"offer.unit is another than {UNIT}", Reason.OFFER_INVALID)
        _check(offer)
        return offer

    @cached_property
    def offer_id(self) -> bytes:
        """`H(L("offer") || offer)`, 32 bytes."""
        return labelled_sha256("offer", self.encode())

    def stands(self, now: datetime) -> bool:
        """True from `not_before` up to, and without, `not_after`."""
        return self.not_before <= int(now.timestamp()) < self.not_after

    @property
    def ends(self) -> datetime:
        """`not_after` as an aware datetime."""
        return datetime.fromtimestamp(self.not_after, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Takes one offer out of the book; `seq` is above every earlier one of the same receipt key."""

    offer_id: bytes
    seq: int

    def encode(self) -> bytes:
        """The canonical CBOR."""
        return cbor.encode({0: _WITHDRAW, 1: self.offer_id, 2: self.seq})

    @classmethod
    def decode(cls, data: bytes) -> "Withdrawal":
        """Reads exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, _WITHDRAW, 3)
        return cls(offer_id=octets(fields[1], "withdrawal.offer_id", 32), seq=uint(fields[2], "withdrawal.seq"))


def sign_offer(key: Ed25519PrivateKey, offer: Offer) -> bytes:
    """The signed offer, as it is placed."""
    return cose.sign(key, "offer", offer.encode())


def open_offer(data: bytes, receipt_key: bytes) -> Offer:
    """The offer inside, signed by `receipt_key`.

    Raises:
        Malformed: the bytes do not parse.
        NotGenuine: another key signed them (OFFER_INVALID).
    """
    return Offer.decode(cose.verify(data, receipt_key, "offer", Reason.OFFER_INVALID))


def peek_offer(data: bytes) -> Offer:
    """The offer inside with nothing verified: only for finding whose key to verify it under. Raises `Malformed`."""
    return Offer.decode(cose.parse(data, "offer").payload)


def sign_withdrawal(key: Ed25519PrivateKey, withdrawal: Withdrawal) -> bytes:
    """The signed withdrawal."""
    return cose.sign(key, "offer", withdrawal.encode())


def open_withdrawal(data: bytes, receipt_key: bytes) -> Withdrawal:
    """The withdrawal inside, signed by `receipt_key`. Raises as `open_offer`."""
    return Withdrawal.decode(cose.verify(data, receipt_key, "offer", Reason.OFFER_INVALID))


def _tier(item: cbor.Item) -> Tier:
    value = text(item, "offer.tier")
    try:
        return Tier(value)
    except ValueError:
        raise Malformed(f"offer.tier is {value!r}, want one of {', '.join(Tier)}", Reason.OFFER_INVALID) from None


def _check(offer: Offer) -> None:
    lasts = offer.not_after - offer.not_before
    if not 0 < lasts <= MAX_OFFER_SECONDS:
        raise Malformed(f"offer lasts {lasts} seconds, want 1..{MAX_OFFER_SECONDS}", Reason.OFFER_INVALID)
    if offer.slots == 0 or offer.max_rows == 0 or not offer.model:
        raise Malformed("offer has an empty model, no slots or no rows", Reason.OFFER_INVALID)
