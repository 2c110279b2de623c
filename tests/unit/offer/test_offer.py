# SPDX-License-Identifier: Apache-2.0
"""The signed offer both sides of the market read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.offer import (
    Offer,
    Tier,
    Withdrawal,
    open_offer,
    open_withdrawal,
    peek_offer,
    sign_offer,
    sign_withdrawal,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OFFER = Offer(
    seq=7,
    keyset_id=b"k" * 32,
    worker_id=b"w" * 32,
    provider_id=b"p" * 32,
    model="magika",
    engine_sha256=b"e" * 32,
    tier=Tier.STANDARD,
    region="eu-west",
    ask_nanos=900,
    slots=4,
    latency_ms=50,
    not_before=1_000,
    not_after=1_120,
    max_rows=64,
)


def receipt_key() -> bytes:
    return KEY.public_key().public_bytes_raw()


def test_a_signed_offer_opens_to_itself() -> None:
    """What a worker signs is what the market reads, and its id is the labelled hash of its bytes."""
    signed = sign_offer(KEY, OFFER)
    assert open_offer(signed, receipt_key()) == peek_offer(signed) == OFFER
    assert OFFER.offer_id == labelled_sha256("offer", OFFER.encode())


def test_an_offer_of_another_key_is_not_genuine() -> None:
    """Only the machine's receipt key may price it."""
    other = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key().public_bytes_raw()
    with pytest.raises(NotGenuine) as caught:
        open_offer(sign_offer(KEY, OFFER), other)
    assert caught.value.reason is Reason.OFFER_INVALID


def test_a_withdrawal_is_no_offer_and_the_reverse() -> None:
    """One purpose string covers both, so the label inside keeps them apart."""
    withdrawal = Withdrawal(offer_id=OFFER.offer_id, seq=8)
    signed = sign_withdrawal(KEY, withdrawal)
    assert open_withdrawal(signed, receipt_key()) == withdrawal
    with pytest.raises(Malformed):
        open_offer(signed, receipt_key())
    with pytest.raises(Malformed):
        open_withdrawal(sign_offer(KEY, OFFER), receipt_key())


@pytest.mark.parametrize(
    "wrong",
    [
        {"not_after": OFFER.not_before},
        {"not_after": OFFER.not_before + 121},
        {"slots": 0},
        {"slots": 1 << 16},
        {"max_rows": 0},
        {"model": ""},
        {"model": "m" * 129},
        {"ask_nanos": -1},
        {"keyset_id": b"short"},
    ],
)
def test_an_offer_outside_its_bounds_does_not_encode(wrong: dict[str, object]) -> None:
    """A worker cannot sign what the market would refuse."""
    with pytest.raises(Malformed):
        replace(OFFER, **wrong).encode()  # type: ignore[arg-type]  # one bad field at a time


@pytest.mark.parametrize("key", range(16))
def test_every_field_is_required_and_typed(key: int) -> None:
    """Leaving out or mistyping any one field is refused, and an extra one too."""
    fields = dict(_fields(OFFER))
    for broken in ({k: v for k, v in fields.items() if k != key}, {**fields, key: None}, {**fields, 16: 0}):
        with pytest.raises(Malformed):
            open_offer(cose.sign(KEY, "offer", cbor.encode(broken)), receipt_key())


def test_an_offer_stands_in_its_half_open_interval() -> None:
    """It stands from the first second on and no longer in the last."""
    first = datetime.fromtimestamp(OFFER.not_before, UTC)
    assert OFFER.stands(first)
    assert OFFER.stands(OFFER.ends - timedelta(seconds=1))
    assert not OFFER.stands(first - timedelta(seconds=1))
    assert not OFFER.stands(OFFER.ends)


def _fields(offer: Offer) -> dict[int, cbor.Item]:
    return dict(cbor.decode_map(offer.encode(), "sealbid/offer/1", 16))
