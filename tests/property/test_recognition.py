# SPDX-License-Identifier: Apache-2.0
"""Recognising a file is total: any bytes under any name are something, without an error and in bounded time."""

from hypothesis import given
from hypothesis import strategies as st

from attestation.audit.recognise import Recognised, recognise

MARKS = (
    b"<",
    b"{",
    b'[{"imr":',
    b"-----BEGIN CERTIFICATE-----\n",
    b"0\x82\x01\x00",
    b"0\x03\x0a\x01\x00",
    b"\x11\xe0\x01\xff",
    b"HCLA",
    b"\xffTCG\x80\x18",
    b"\xa6\x00psealbid/bundle/1",
    b"\x04\0\x02\0\x81\0\0\0" + bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607"),
)
NAMES = ("quote.bin", "tdx_quote.bin", "gpu0.report.bin", "meta.json", "README.md", "", "a/b", "x" * 300)


@given(mark=st.sampled_from((b"", *MARKS)), rest=st.binary(max_size=1500), name=st.sampled_from(NAMES))
def test_any_bytes_are_something(mark: bytes, rest: bytes, name: str) -> None:
    """Exactly one thing is said of a file: evidence, a bundle, endorsements, or what accompanies them."""
    found = recognise(name, mark + rest)
    assert isinstance(found, Recognised)
    said = [found.evidence is not None, bool(found.collateral), found.beside is not None, found.bundle is not None]
    assert sum(said) == 1
