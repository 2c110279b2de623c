# SPDX-License-Identifier: Apache-2.0
"""Forms of quotes that are not read: unsupported ones by that name, lengths that lie, bytes that do not belong."""

import pytest

from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.tee.dcap.quote import MAX_QUOTE_BYTES, read_quote
from tests.support.fake_intel import mint

V4_AUTH = 0x278
V5_BODY_TYPE = 0x30
V4_CERTIFICATION = V4_AUTH + 4 + 64 + 64
V4_QE_AUTH = V4_CERTIFICATION + 6 + 384 + 64
V4_CHAIN = V4_QE_AUTH + 2 + 32


def patched(data: bytes, place: int, value: int, width: int) -> bytes:
    """The quote with a little-endian number replaced."""
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def quote(kind: TEEKind = TEEKind.TDX, version: int = 0) -> bytes:
    """A minted quote."""
    return mint(kind, version=version).evidence.data


def refusal(data: bytes, kind: TEEKind = TEEKind.TDX) -> Reason:
    """Why the bytes are not read."""
    with pytest.raises(MalformedEvidence) as refused:
        read_quote(data, kind)
    return refused.value.reason


@pytest.mark.parametrize("version", [0, 1, 2, 3, 6, 7, 0xFFFF])
def test_a_tdx_quote_of_another_version_is_unsupported(version: int) -> None:
    """Version 6 is announced and not known here; that is no fault of the quote."""
    assert refusal(patched(quote(), 0, version, 2)) is Reason.UNSUPPORTED


@pytest.mark.parametrize("version", [2, 4, 5, 6])
def test_an_sgx_quote_of_another_version_is_unsupported(version: int) -> None:
    """SGX quotes are read in version 3 only."""
    assert refusal(patched(quote(TEEKind.SGX), 0, version, 2), TEEKind.SGX) is Reason.UNSUPPORTED


@pytest.mark.parametrize("body_type", [0, 1, 4, 5])
def test_a_v5_quote_with_another_body_is_unsupported(body_type: int) -> None:
    """SGX bodies and TD 1.5 extended ones are not read."""
    assert refusal(patched(quote(version=5), V5_BODY_TYPE, body_type, 2)) is Reason.UNSUPPORTED


@pytest.mark.parametrize(("place", "value", "width"), [(2, 3, 2), (4, 0, 4), (4, 0x82, 4), (0x0C, 0, 1)])
def test_another_key_tee_or_vendor_is_unsupported(place: int, value: int, width: int) -> None:
    """P-384 keys, other TEEs and other makers' quoting enclaves."""
    assert refusal(patched(quote(), place, value, width)) is Reason.UNSUPPORTED


@pytest.mark.parametrize(("place", "kinds"), [(V4_CERTIFICATION, (1, 5, 7)), (V4_CHAIN, (1, 2, 3, 4, 6))])
def test_other_certification_data_is_unsupported(place: int, kinds: tuple[int, ...]) -> None:
    """Encrypted PPIDs and bare certificates need a service to be resolved."""
    assert {refusal(patched(quote(), place, kind, 2)) for kind in kinds} == {Reason.UNSUPPORTED}


@pytest.mark.parametrize(
    ("place", "width"), [(V4_AUTH, 4), (V4_CERTIFICATION + 2, 4), (V4_QE_AUTH, 2), (V4_CHAIN + 2, 4)]
)
@pytest.mark.parametrize("change", [-1, 1, 0x7000])
def test_a_length_that_lies_is_malformed(place: int, width: int, change: int) -> None:
    """Every size must be used up exactly, by one byte too."""
    data = quote()
    right = int.from_bytes(data[place : place + width], "little")
    assert refusal(patched(data, place, right + change, width)) is Reason.MALFORMED


def test_every_truncation_is_malformed() -> None:
    """No prefix of a quote is a quote; the ends of all fields are covered by trying every length."""
    for kind in (TEEKind.TDX, TEEKind.SGX):
        data = quote(kind)
        assert {refusal(data[:length], kind) for length in range(len(data))} == {Reason.MALFORMED}


def test_a_quote_may_be_padded_with_zeros_up_to_a_limit() -> None:
    """Padding is not part of the quote, is zero, and is bounded."""
    data = quote()
    assert read_quote(data.ljust(16_384, b"\0"), TEEKind.TDX).data == data
    assert refusal(data.ljust(MAX_QUOTE_BYTES + 1, b"\0")) is Reason.MALFORMED
    assert refusal(data + b"\0\1") is Reason.MALFORMED


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"-----BEGIN", b" ----BEGIN"), (b"-----\nMII", b"-----\n\n\nMII"[:10]), (b"-----END", b"\n----END")],
    ids=["marker", "line", "end"],
)
def test_a_chain_spelled_otherwise_is_malformed(old: bytes, new: bytes) -> None:
    """PEM is held to one spelling, so that two byte strings are never the same quote."""
    data = quote()
    assert old in data
    assert refusal(data.replace(old, new.ljust(len(old), b"\n"), 1)) is Reason.MALFORMED


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 300])
def test_zero_bytes_may_end_the_chain(tail: bytes) -> None:
    """Intel's library counts the end of its C string, and some hosts a whole buffer, into the chain's size."""
    data = quote()
    end = len(data)
    for place, width in ((V4_AUTH, 4), (V4_CERTIFICATION + 2, 4), (V4_CHAIN + 2, 4)):
        size = int.from_bytes(data[place : place + width], "little")
        data = patched(data, place, size + len(tail), width)
    assert read_quote(data[:end] + tail, TEEKind.TDX).pck_chain
