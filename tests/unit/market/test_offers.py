# SPDX-License-Identifier: Apache-2.0
"""Standing offers at the market's door: whose they are, and what is too absurd to be one."""

from pathlib import Path
from typing import Any

import pytest

from attestation.codec import cbor, cose
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.offer import Offer, Withdrawal
from gateway.market.offers import (
    MAX_PRICE_NANOS,
    MAX_SIGNED_BYTES,
    open_offer,
    open_withdrawal,
    peek_offer,
    peek_withdrawal,
)
from gateway.market.service import Awarded
from tests.support.market import CLOCK, NOW, Worker, intent, market, worker

ROOT = Path(__file__).parents[3]


def forged(owner: Worker, **fields: Any) -> bytes:
    """A signed map that differs from the worker's offer in numbered fields, whatever they may hold."""
    decoded = cbor.decode(owner.offer().encode())
    assert isinstance(decoded, dict)
    return cose.sign(owner.key, "offer", cbor.encode(decoded | {int(key[1:]): value for key, value in fields.items()}))


def test_a_signed_offer_opens_to_what_was_signed() -> None:
    """Signing and opening are inverse."""
    owner = worker()
    offer = owner.offer(123)
    assert open_offer(owner.sign(offer), owner.eligible.receipt_key) == offer
    assert peek_offer(owner.sign(offer)) == offer


def test_the_published_examples() -> None:
    """The digests in docs/spec.md section 8, by which a second implementation can check itself, are ours."""
    owner = worker()
    made = market([(owner, owner.offer(123))])
    found = made.award(intent(), now=CLOCK)
    assert isinstance(found, Awarded)
    ours = [owner.offer(123).offer_id, intent().sha256, made.snapshot.root, found.award.sha256]
    assert [digest.hex()[:16] for digest in ours] == [
        "6ccbb356c2199c46",
        "d9cac093a909c8fa",
        "afd83dcf7a615c66",
        "69c55ff76a60ddcb",
    ]
    published = "".join(path.read_text() for path in (ROOT / "docs").glob("spec*.md"))
    assert all(digest.hex() in published for digest in ours)


def test_another_key_is_not_genuine() -> None:
    """An offer signed by another worker's receipt key is refused."""
    owner, other = worker("w0"), worker("w1")
    with pytest.raises(NotGenuine) as caught:
        open_offer(other.sign(owner.offer()), owner.eligible.receipt_key)
    assert caught.value.reason is Reason.OFFER_INVALID


def test_a_worker_cannot_sign_in_anothers_name() -> None:
    """The worker id inside must be the signing key's own."""
    owner, other = worker("w0"), worker("w1")
    with pytest.raises(NotGenuine) as caught:
        open_offer(other.sign(owner.offer()), other.eligible.receipt_key)
    assert caught.value.reason is Reason.KEYSET_MISMATCH


def test_a_withdrawal_is_not_an_offer_and_an_offer_no_withdrawal() -> None:
    """The label tells the two apart although one purpose signs both."""
    owner = worker()
    withdrawal = Withdrawal(offer_id=b"\x01" * 32, seq=9)
    assert open_withdrawal(owner.sign(withdrawal), owner.eligible.receipt_key) == withdrawal
    assert peek_withdrawal(owner.sign(withdrawal)) == withdrawal
    with pytest.raises(Malformed):
        open_offer(owner.sign(withdrawal), owner.eligible.receipt_key)
    with pytest.raises(Malformed):
        open_withdrawal(owner.sign(owner.offer()), owner.eligible.receipt_key)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"f9": MAX_PRICE_NANOS + 1}, "ask"),
        ({"f9": -1}, "ask"),
        ({"f10": 0}, "slots"),
        ({"f10": 65_536}, "slots"),
        ({"f11": 0}, "latency"),
        ({"f11": 3_600_001}, "latency"),
        ({"f14": 0}, "rows"),
        ({"f13": NOW - 10}, "lasts"),
        ({"f13": NOW + 111}, "lasts"),
        ({"f7": "gold"}, "tier"),
        ({"f8": "EU"}, "region"),
        ({"f8": ""}, "region"),
        ({"f8": "x" * 33}, "region"),
        ({"f5": ""}, "model"),
        ({"f5": "a b"}, "model"),
        ({"f5": "x" * 129}, "model"),
        ({"f6": b"short"}, "engine"),
        ({"f15": "1wu"}, "unit"),
    ],
)
def test_absurd_values_are_refused_by_name(fields: dict[str, Any], named: str) -> None:
    """No value that an honest worker would not sign opens, and the text names the field."""
    owner = worker()
    with pytest.raises(Malformed, match=named):
        open_offer(forged(owner, **fields), owner.eligible.receipt_key)


@pytest.mark.parametrize("change", [{"ask_nanos": 0}, {"ask_nanos": MAX_PRICE_NANOS}, {"not_after": NOW + 110}])
def test_the_bounds_themselves_are_allowed(change: dict[str, Any]) -> None:
    """The edges are inside."""
    owner = worker()
    offer: Offer = owner.offer(**change)
    assert open_offer(owner.sign(offer), owner.eligible.receipt_key) == offer


@pytest.mark.parametrize("parse", [peek_offer, peek_withdrawal])
def test_oversized_blobs_are_refused_before_parsing(parse: Any) -> None:
    """The size is bounded before any signature is verified."""
    with pytest.raises(Malformed, match=str(MAX_SIGNED_BYTES)):
        parse(b"\x00" * (MAX_SIGNED_BYTES + 1))
