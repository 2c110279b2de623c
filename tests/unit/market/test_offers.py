# SPDX-License-Identifier: Apache-2.0
"""Standing offers: what is signed, by whom, and what is too absurd to be one."""

from typing import Any

import pytest

from attestation.codec import cbor, cose
from attestation.errors import Malformed, NotGenuine, Reason
from gateway.market.offers import (
    MAX_PRICE_NANOS,
    MAX_SIGNED_BYTES,
    Offer,
    Withdrawal,
    open_offer,
    open_withdrawal,
    peek_offer,
)
from tests.support.market import NOW, worker


def test_a_signed_offer_opens_to_what_was_signed() -> None:
    """Signing and opening are inverse, and the id is the digest of the payload."""
    owner = worker()
    offer = owner.offer(123)
    opened = open_offer(owner.sign(offer), owner.eligible.receipt_key)
    assert opened == offer
    assert opened.offer_id == offer.offer_id


def test_the_encoding_is_the_specified_map() -> None:
    """The bytes are the canonical map of docs/spec.md section 8.1, field by field."""
    offer = worker().offer(123)
    assert cbor.decode(offer.encode()) == {
        0: "sealbid/offer/1",
        1: 1,
        2: offer.keyset_id,
        3: offer.worker_id,
        4: offer.provider_id,
        5: "llama-tiny",
        6: offer.engine,
        7: "standard",
        8: "eu-west",
        9: 123,
        10: 4,
        11: 20,
        12: NOW - 10,
        13: NOW + 60,
        14: 1024,
        15: "1000wu",
    }


def test_the_published_example() -> None:
    """The example in docs/spec.md section 8.1, by which a second implementation can check itself."""
    assert worker().offer(123).offer_id.hex() == ("6ccbb356c2199c466dac14e189a9d5bc21b17fa1aeb5606ffb072a1ddd03a055")


def test_another_key_is_not_genuine() -> None:
    """An offer signed by another worker's receipt key is refused."""
    owner, other = worker("w0"), worker("w1")
    with pytest.raises(NotGenuine) as caught:
        open_offer(other.sign(owner.offer()), owner.eligible.receipt_key)
    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_a_worker_cannot_sign_in_anothers_name() -> None:
    """The worker id inside must be the signing key's own."""
    owner, other = worker("w0"), worker("w1")
    with pytest.raises(NotGenuine) as caught:
        open_offer(other.sign(owner.offer()), other.eligible.receipt_key)
    assert caught.value.reason is Reason.KEYSET_MISMATCH


def test_a_signature_for_another_purpose_is_not_an_offer() -> None:
    """A receipt key's signature over the same bytes for another purpose does not pass."""
    owner = worker()
    signed = cose.sign(owner.key, "worker-half", owner.offer().encode())
    with pytest.raises(NotGenuine):
        open_offer(signed, owner.eligible.receipt_key)


def test_a_withdrawal_is_not_an_offer_and_an_offer_no_withdrawal() -> None:
    """The label tells the two apart although one purpose signs both."""
    owner = worker()
    withdrawal = Withdrawal(offer_id=b"\x01" * 32, seq=9)
    assert open_withdrawal(owner.sign(withdrawal), owner.eligible.receipt_key) == withdrawal
    with pytest.raises(Malformed):
        open_offer(owner.sign(withdrawal), owner.eligible.receipt_key)
    with pytest.raises(Malformed):
        open_withdrawal(owner.sign(owner.offer()), owner.eligible.receipt_key)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slots": 0}, "slots"),
        ({"slots": 65536}, "slots"),
        ({"ask_nanos": MAX_PRICE_NANOS + 1}, "ask"),
        ({"ask_nanos": -1}, "ask"),
        ({"latency_ms": 0}, "latency"),
        ({"latency_ms": 3_600_001}, "latency"),
        ({"max_context": 0}, "max context"),
        ({"not_after": NOW - 10}, "not_after"),
        ({"not_after": NOW + 111}, "not_after"),
        ({"tier": "gold"}, "tier"),
        ({"region": "EU"}, "region"),
        ({"region": ""}, "region"),
        ({"model": ""}, "model"),
        ({"model": "a b"}, "model"),
        ({"model": "x" * 129}, "model"),
        ({"engine": b"short"}, "engine"),
        ({"seq": 2**64}, "seq"),
    ],
)
def test_absurd_values_are_refused_by_name(change: dict[str, Any], named: str) -> None:
    """No value that an honest worker would not sign makes an offer; the text names the field."""
    with pytest.raises(Malformed, match=f"offer {named}"):
        worker().offer(**change)


@pytest.mark.parametrize("change", [{"ask_nanos": 0}, {"ask_nanos": MAX_PRICE_NANOS}, {"not_after": NOW + 110}])
def test_the_bounds_themselves_are_allowed(change: dict[str, Any]) -> None:
    """The edges are inside."""
    offer = worker().offer(**change)
    assert Offer.decode(offer.encode()) == offer


def test_another_unit_is_refused() -> None:
    """Only nUSD per 1,000 work units is understood; a worker pricing something else is not misread."""
    fields = cbor.decode(worker().offer().encode())
    assert isinstance(fields, dict)
    with pytest.raises(Malformed, match="unit"):
        Offer.decode(cbor.encode(fields | {15: "1wu"}))


def test_oversized_blobs_are_refused_before_parsing() -> None:
    """The size is bounded before any signature is verified."""
    with pytest.raises(Malformed, match=str(MAX_SIGNED_BYTES)):
        peek_offer(b"\x00" * (MAX_SIGNED_BYTES + 1))
