# SPDX-License-Identifier: Apache-2.0
"""Memos: what is closed opens again, for its own dispatch and key only, and their parser is total."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.binding import Profile
from attestation.errors import Malformed, WrongKey
from attestation.sealing.dispatch import Dispatch, digest_of
from attestation.sealing.header import Method
from gateway.receipts.memo import MAX_MEMO_BYTES, QUANTUM, Memo, MemoKey
from gateway.request import Attempt

KEY = MemoKey(bytes(range(32)))
DIGEST = st.binary(min_size=32, max_size=32)
U32 = st.integers(0, 2**32 - 1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """An attempt with a real dispatch, whose award and price it therefore has."""
    dispatch = Dispatch(
        header_sha256=draw(DIGEST),
        session_id=draw(DIGEST),
        counter=draw(U32),
        attempt=draw(U32),
        award_sha256=draw(DIGEST),
        offer_id=draw(DIGEST),
        price_nanos=draw(st.integers(0, 2**60)),
        gateway_id=draw(DIGEST),
        key_id=draw(DIGEST),
        deadline_ms=draw(U32),
    )
    raw = dispatch.encode()
    return Attempt(
        number=draw(U32),
        worker_id=draw(DIGEST),
        keyset_id=draw(DIGEST),
        binding_digest=draw(DIGEST),
        offer_id=dispatch.offer_id,
        price_nanos=dispatch.price_nanos,
        award=b"",
        award_sha256=dispatch.award_sha256,
        dispatch=raw,
        dispatch_sha256=digest_of(raw),
        reason=draw(st.sampled_from(["", "WORKER_FAILED", "DEADLINE_EXCEEDED"])),
    )


@st.composite
def memos(draw: st.DrawFn) -> Memo:
    """A memo of one to three attempts, of which the last has an award."""
    made = draw(st.lists(attempts(), min_size=1, max_size=3))
    made[-1] = replace(made[-1], award=draw(st.binary(max_size=600)))
    return Memo(
        instance=draw(st.binary(min_size=16, max_size=16)),
        request_id=draw(st.binary(min_size=16, max_size=16)),
        tenant=draw(st.text(max_size=64)),
        model=draw(st.text(max_size=64)),
        method=draw(st.sampled_from(Method)),
        attempts=tuple(made),
        wu_cap=draw(U32),
        max_total_nanos=draw(st.integers(0, 2**60)),
        started=draw(MOMENTS),
        profile=draw(st.sampled_from(Profile)),
    )


@given(memos())
@settings(max_examples=100, deadline=None)
def test_what_is_closed_opens_again(memo: Memo) -> None:
    """Seal and open are inverse, and the length says no more than a multiple of 1 KiB."""
    name = memo.attempts[-1].dispatch_sha256
    sealed = KEY.seal(memo, name)
    assert KEY.open(sealed, name) == memo
    assert len(sealed) % QUANTUM == 0
    assert len(sealed) <= MAX_MEMO_BYTES


@given(memos(), st.data())
@settings(max_examples=100, deadline=None)
def test_any_altered_bit_is_refused(memo: Memo, data: st.DataObject) -> None:
    """A worker cannot change what it keeps."""
    name = memo.attempts[-1].dispatch_sha256
    sealed = bytearray(KEY.seal(memo, name))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WrongKey):
        KEY.open(bytes(sealed), name)


@given(memos(), DIGEST)
@settings(max_examples=50, deadline=None)
def test_a_memo_is_of_one_dispatch_and_one_key(memo: Memo, other: bytes) -> None:
    """Shown for another call's half, or to another gateway, it does not open."""
    name = memo.attempts[-1].dispatch_sha256
    sealed = KEY.seal(memo, name)
    if other != name:
        with pytest.raises(WrongKey):
            KEY.open(sealed, other)
    with pytest.raises(WrongKey):
        MemoKey(bytes(32)).open(sealed, name)


@given(st.binary(max_size=MAX_MEMO_BYTES + 10))
@settings(max_examples=200, deadline=None)
def test_the_parsers_are_total(data: bytes) -> None:
    """Any bytes give a memo or a named refusal."""
    with pytest.raises((Malformed, WrongKey)):
        KEY.open(data, bytes(32))
    with pytest.raises(Malformed):
        Memo.decode(data)


@given(memos(), st.data())
@settings(max_examples=200, deadline=None)
def test_mutated_memos_are_refused_or_the_same(memo: Memo, data: st.DataObject) -> None:
    """Whatever decodes is written back to exactly the bytes it came from."""
    encoded = bytearray(memo.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = Memo.decode(bytes(encoded))
    except Malformed:
        return
    assert decoded.encode() == bytes(encoded)


def test_a_memo_that_would_not_fit_is_refused() -> None:
    """The worker takes at most 4 KiB; a longer history is an error of the caller, not a cut memo."""
    raw = Dispatch(
        header_sha256=bytes(32),
        session_id=bytes(32),
        counter=1,
        attempt=1,
        award_sha256=bytes(32),
        offer_id=bytes(32),
        price_nanos=1,
        gateway_id=bytes(32),
        key_id=bytes(32),
        deadline_ms=1,
    ).encode()
    one = Attempt(
        number=1,
        worker_id=bytes(32),
        keyset_id=bytes(32),
        binding_digest=bytes(32),
        offer_id=bytes(32),
        price_nanos=1,
        award=bytes(4000),
        award_sha256=bytes(32),
        dispatch=raw,
        dispatch_sha256=digest_of(raw),
    )
    memo = Memo(
        instance=bytes(16),
        request_id=bytes(16),
        tenant="t",
        model="m",
        method=Method.INFER,
        attempts=(one,),
        wu_cap=1,
        max_total_nanos=1,
        started=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0),
        profile=Profile.DEVELOPMENT,
    )
    with pytest.raises(Malformed):
        KEY.seal(memo, one.dispatch_sha256)
