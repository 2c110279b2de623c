# SPDX-License-Identifier: Apache-2.0
"""Readers of results and wrapped messages are total: any bytes give a value or one named error."""

from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.results import eat_cbor
from attestation.results.cmw import Collection, Record, decode, encode_cbor, encode_json
from attestation.results.ear import read_cbor, read_ear_json
from tests.support.ears import ear

SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=30) | st.text(max_size=20)
ITEMS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
RECORDS = st.builds(
    Record,
    type=st.sampled_from(["application/a", "text/b; c=d", 'x/y;z="q r"']),
    value=st.binary(max_size=40),
    indicator=st.none() | st.integers(1, 31),
)
WRAPPERS = st.recursive(
    RECORDS,
    lambda inner: st.builds(
        Collection,
        members=st.dictionaries(st.text(max_size=8), inner, min_size=1, max_size=4),
        type=st.none() | st.just("tag:example.com,2024:x"),
    ),
    max_leaves=6,
)


@given(ITEMS)
def test_cbor_comes_back_the_same(item: eat_cbor.Item) -> None:
    """Every item of the subset has one encoding, which reads as that item."""
    assert eat_cbor.decode(eat_cbor.encode(item), "item") == (item, None)


@given(st.binary(max_size=200))
def test_any_bytes_are_cbor_or_malformed(data: bytes) -> None:
    """What reads is written again as the same bytes: no value has two spellings."""
    try:
        item, tag = eat_cbor.decode(data, "item")
    except MalformedEvidence:
        return
    assert eat_cbor.encode(item, tag=tag) == data


@given(WRAPPERS)
def test_wrappers_come_back_the_same(cmw: Record | Collection) -> None:
    """In both forms, unless nested too deep."""
    for encode in (encode_cbor, encode_json):
        try:
            assert decode(encode(cmw)) == cmw
        except MalformedEvidence:
            assert isinstance(cmw, Collection)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_wrapper_or_malformed(data: bytes) -> None:
    """A value that writes the same value, or one named error."""
    try:
        cmw = decode(data)
    except MalformedEvidence:
        return
    assert decode(encode_cbor(cmw)) == cmw


@given(st.data())
def test_damaged_results_are_results_or_malformed(data: st.DataObject) -> None:
    """Any byte of a result flipped, cut or doubled gives a result or one named error."""
    for whole, read in ((ear().to_cbor(), read_cbor), (ear().to_json(), read_ear_json)):
        place = data.draw(st.integers(0, len(whole) - 1))
        flipped = bytes((whole[place] ^ data.draw(st.integers(1, 255)),))
        for broken in (whole[:place] + flipped + whole[place + 1 :], whole[:place], whole[:place] + whole):
            try:
                read(broken)
            except MalformedEvidence:
                continue
