# SPDX-License-Identifier: Apache-2.0
"""The market's parsers are total: any bytes give a value that encodes back to them, or `Malformed`, or `NotGenuine`."""

from collections.abc import Callable
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.codec import cbor
from attestation.errors import Malformed, NotGenuine
from attestation.offer import Offer, Withdrawal
from gateway.market.intent import Intent
from gateway.market.offers import open_offer, open_withdrawal, peek_offer
from gateway.market.service import Awarded
from gateway.market.transcript import Award, Transcript
from tests.support.market import CLOCK, intent, market, worker

WORKER = worker()
OFFER = WORKER.offer()
SIGNED = WORKER.sign(OFFER)


def award() -> Awarded:
    """An award with something in every field."""
    found = market([(WORKER, OFFER)]).award(intent(regions=("eu-west", "us")), now=CLOCK, exclude=[b"\x01" * 32])
    assert isinstance(found, Awarded)
    return found


AWARDED = award()

SAMPLES: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "offer": (lambda data: Offer.decode(data).encode(), OFFER.encode()),
    "withdrawal": (
        lambda data: Withdrawal.decode(data).encode(),
        Withdrawal(offer_id=OFFER.offer_id, seq=3).encode(),
    ),
    "intent": (lambda data: Intent.decode(data).encoded, intent(regions=("eu-west", "us")).encoded),
    "transcript": (lambda data: Transcript.decode(data).encode(), AWARDED.transcript),
    "award": (lambda data: Award.decode(data).encoded, AWARDED.award.encoded),
}


def mutated(data: st.DataObject, sample: bytes) -> bytes:
    """The sample with bytes overwritten, cut out or put in."""
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    return bytes(changed)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_bytes_parse_to_themselves_or_are_malformed(name: str, data: st.DataObject) -> None:
    """Whatever parses encodes back to the very same bytes."""
    again, sample = SAMPLES[name]
    candidate = mutated(data, sample)
    try:
        assert again(candidate) == candidate
    except Malformed:
        assert candidate != sample


ITEMS = st.one_of(
    st.integers(0, 2**64 - 1), st.binary(max_size=40), st.text(max_size=8), st.none(), st.lists(st.binary(max_size=33))
)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_foreign_values_in_a_field_parse_or_are_malformed(name: str, data: st.DataObject) -> None:
    """Canonical maps with fields of other types and sizes raise nothing but `Malformed`."""
    again, sample = SAMPLES[name]
    decoded = cbor.decode(sample)
    assert isinstance(decoded, dict)
    decoded[data.draw(st.sampled_from(sorted(decoded)))] = data.draw(ITEMS)
    candidate = cbor.encode(decoded)
    try:
        assert again(candidate) == candidate
    except Malformed:
        assert candidate != sample


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_change_to_a_signed_offer_is_refused(data: st.DataObject) -> None:
    """A signed offer opens only as it was signed; anything else is `Malformed` or `NotGenuine`."""
    candidate = mutated(data, SIGNED)
    try:
        assert open_offer(candidate, WORKER.eligible.receipt_key) == OFFER
        assert candidate == SIGNED
    except (Malformed, NotGenuine):
        assert candidate != SIGNED


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_garbage_is_malformed(garbage: bytes) -> None:
    """Bytes from nowhere never raise anything unnamed."""
    for parse in (
        peek_offer,
        lambda data: open_offer(data, WORKER.eligible.receipt_key),
        lambda data: open_withdrawal(data, WORKER.eligible.receipt_key),
    ):
        with pytest.raises(Malformed):
            parse(garbage)


def test_samples_cover_every_field() -> None:
    """The samples above decode to the values they came from, so the mutations start from something real."""
    assert Offer.decode(OFFER.encode()) == OFFER
    assert Award.decode(AWARDED.award.encoded) == AWARDED.award
    assert len(fields(Offer)) == 14
