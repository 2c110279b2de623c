# SPDX-License-Identifier: Apache-2.0
"""What the market asks of a signed offer beyond its form (docs/spec.md, 8.1).

The value, its bytes and its signature are `attestation.offer`, shared with workers. Refused here: blobs too large to be
one, a worker id that is not the signing key's own, and values no honest worker promises: an absurd price or latency, a
model or region that is no name. Not checked here: whether the keyset is attested.
"""

import re
from typing import Final

from attestation.codec import cose
from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.offer import Offer, Tier, Withdrawal
from attestation.offer import open_offer as _open_offer
from attestation.offer import open_withdrawal as _open_withdrawal
from attestation.offer import peek_offer as _peek_offer

TIERS: Final = tuple(Tier)
MAX_PRICE_NANOS: Final = 10**15
"""A million dollars per 1,000 work units: far above any price, far below what sums could overflow."""
MAX_LATENCY_MS: Final = 3_600_000
MAX_SIGNED_BYTES: Final = 2048
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,127}")
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def open_offer(signed: bytes, receipt_key: bytes) -> Offer:
    """The offer in a COSE_Sign1 made by `receipt_key`. Does not check that the key's keyset is attested.

    Raises:
        Malformed: not a signed offer, or a value out of bounds (OFFER_INVALID).
        NotGenuine: another key signed it (OFFER_INVALID), or it names another worker (KEYSET_MISMATCH).
    """
    _bounded(signed)
    offer = _open_offer(signed, receipt_key)
    check_model(offer.model, "offer")
    check_region(offer.region, "offer")
    _within(offer.ask_nanos, "offer ask", 0, MAX_PRICE_NANOS)
    _within(offer.latency_ms, "offer latency", 1, MAX_LATENCY_MS)
    if offer.worker_id != labelled_sha256("worker", receipt_key):
        raise NotGenuine(Reason.KEYSET_MISMATCH, f"offer worker_id is {offer.worker_id.hex()}, want the signing key's")
    return offer


def peek_offer(signed: bytes) -> Offer:
    """The offer as claimed, its signature not verified: only to learn whose key to verify with. Raises `Malformed`."""
    _bounded(signed)
    return _peek_offer(signed)


def open_withdrawal(signed: bytes, receipt_key: bytes) -> Withdrawal:
    """The withdrawal in a COSE_Sign1 made by `receipt_key`. Does not check whose offer it names.

    Raises:
        Malformed: not a signed withdrawal.
        NotGenuine: another key signed it (OFFER_INVALID).
    """
    _bounded(signed)
    return _open_withdrawal(signed, receipt_key)


def peek_withdrawal(signed: bytes) -> Withdrawal:
    """The withdrawal as claimed, its signature not verified. Raises `Malformed`."""
    _bounded(signed)
    return Withdrawal.decode(cose.parse(signed, "offer").payload)


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


__all__ = [
    "MAX_PRICE_NANOS",
    "TIERS",
    "Offer",
    "Withdrawal",
    "check_model",
    "check_region",
    "check_tier",
    "open_offer",
    "open_withdrawal",
    "peek_offer",
    "peek_withdrawal",
]
