# SPDX-License-Identifier: Apache-2.0
"""Intel evidence is read totally: any quote and any collateral gives claims or one named error."""

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import AttestationError
from attestation.tee.dcap.verifier import SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifier
from tests.support.fake_intel import World, mint

KINDS = (TEEKind.TDX, TEEKind.SGX)
LENGTHS = (0x278, 0x276, 0x2FE, 0x2FE + 452, 0x30, 0x32, 432)
"""Where quotes of some form keep a length, and its neighbourhood."""


@cache
def sample(kind: TEEKind, version: int) -> tuple[World, Verifier]:
    """One world, made once, and a verifier that trusts it."""
    world = mint(kind, version=version)
    return world, TDXVerifier(roots=world.roots) if kind is TEEKind.TDX else SGXVerifier(roots=world.roots)


def verify(kind: TEEKind, quote: bytes, version: int = 0) -> bool:
    """True if the bytes are accepted; anything raised but an error of ours fails the test."""
    world, verifier = sample(kind, version)
    with suppress(AttestationError):
        evidence = Evidence(kind=kind, format=f"{kind.value}-quote", data=quote)
        verifier.verify(evidence, (world.collateral,), now=world.now)
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=2000))
@example(data=b"")
def test_random_bytes_are_no_quote(kind: TEEKind, data: bytes) -> None:
    """Nothing but an error of ours comes of them."""
    assert not verify(kind, data)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_quote_changed_anywhere_is_refused_by_name(kind: TEEKind, data: st.DataObject) -> None:
    """Several bytes overwritten at once, at any place; free is the newline at the end, which may be a zero byte."""
    quote = sample(kind, 0)[0].evidence.data
    place = data.draw(st.integers(0, len(quote) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=64))
    changed = (quote[:place] + patch + quote[place + len(patch) :])[: len(quote)]
    assert verify(kind, changed) is (changed in {quote, quote[:-1] + b"\0"})


@pytest.mark.parametrize(("kind", "version"), [(TEEKind.TDX, 4), (TEEKind.TDX, 5), (TEEKind.SGX, 3)])
@settings(max_examples=100, deadline=None)
@given(place=st.sampled_from(LENGTHS), value=st.integers(0, 0xFFFFFFFF), cut=st.integers(0, 5000))
def test_a_quote_with_a_lying_length_or_cut_short_is_refused(
    kind: TEEKind, version: int, place: int, value: int, cut: int
) -> None:
    """No length makes the reader read past the end, and no truncation passes."""
    quote = sample(kind, version)[0].evidence.data
    lying = quote[:place] + value.to_bytes(4, "little") + quote[place + 4 :]
    assert verify(kind, lying, version) is (lying == quote)
    shorter = quote[:cut]
    assert verify(kind, shorter, version) is (shorter == quote)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_no_collateral(data: bytes) -> None:
    """The quote is genuine so far; what comes beside it is read totally too."""
    world, verifier = sample(TEEKind.TDX, 0)
    with pytest.raises(AttestationError):
        verifier.verify(world.evidence, (Collateral(kind="intel-dcap-json", data=data),), now=world.now)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(sample(TEEKind.TDX, 0)[0].statements)), value=JSON)
def test_collateral_with_any_member_replaced_is_refused_by_name(name: str, value: object) -> None:
    """Members of other types, and texts that hold other things."""
    world, verifier = sample(TEEKind.TDX, 0)
    spoiled = world.with_statements(**{name: value})
    with pytest.raises(AttestationError):
        verifier.verify(spoiled.evidence, (spoiled.collateral,), now=spoiled.now)
