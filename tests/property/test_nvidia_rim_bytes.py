# SPDX-License-Identifier: Apache-2.0
"""Manifests of any bytes give a value or a named error, and no altered byte changes what a genuine one says.

Flips that are accepted are the free bytes. There are these, and they alter no value read:
* white space between the attributes of a tag, after the last, and after the root: XML gives it no meaning and the
  canonical form none of it; the same for a line feed in an attribute's value, which XML reads as a space;
* inside the signature, which signs only a part of itself: line feeds of the certificates' Base64, and white space
  between its elements, where no text is read.

Of the 21,053 bytes of NVIDIA's manifest of driver 550.90.07 these are 493, 7 of them inside the signature.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import AttestationError
from attestation.tee.nvidia.rim import RIM_ROOTS, VerifiedRIM, read_rim
from attestation.tee.nvidia.rim_xml import canonical, parse_xml
from tests.support.fake_nvidia_rim import GOLDEN, RIMMaker
from tests.support.vectors import vectors

MAKER = RIMMaker()
GOOD = MAKER.rim()
SPACE = frozenset(b" \n")


def without_file(rim: VerifiedRIM) -> VerifiedRIM:
    """All that a manifest says, apart from the digest of the file that said it."""
    return replace(rim, sha256=b"")


def accepted_flips(rim: bytes, roots: frozenset[bytes], places: range, flips: tuple[int, ...]) -> Iterator[int]:
    """The places where some flip was accepted, each of which said the same as before."""
    said = without_file(read_rim(rim, roots=roots))
    data = bytearray(rim)
    for place in places:
        for flip in flips:
            data[place] ^= flip
            with suppress(AttestationError):
                altered = read_rim(bytes(data), roots=roots)
                assert without_file(altered) == said
                assert data[place] in SPACE
                assert rim[place] in SPACE
                yield place
            data[place] ^= flip


def check_free(rim: bytes, free: set[int]) -> None:
    """Every free byte is white space that the canonical form drops or makes equal, or stands in the signature."""
    for place in free:
        altered = bytearray(rim)
        altered[place] = next(iter(SPACE - {rim[place]}))
        same = canonical(parse_xml(bytes(altered), "rim"), "rim") == canonical(parse_xml(rim, "rim"), "rim")
        assert same or rim.index(b"<ds:Signature ") < place < rim.index(b"</ds:Signature>")


FLIPS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x2A, 0xFF)
"""Every single bit, line feed for space and back, and all bits."""


@pytest.mark.parametrize("flip", [0x01, 0x80, 0x2A])
def test_a_flipped_byte_of_a_manifest_is_refused_or_says_the_same(flip: int) -> None:
    """Every byte of a small manifest: a flip is accepted only in white space, and to the same effect."""
    check_free(GOOD, set(accepted_flips(GOOD, MAKER.roots, range(len(GOOD)), (flip,))))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"])
def test_every_flipped_byte_of_nvidias_own_manifest(name: str) -> None:
    """The same for NVIDIA's manifests, under every flip."""
    rim = vectors("nvidia-rim", f"go-nvattest--{name}.xml").read_bytes()
    free = set(accepted_flips(rim, RIM_ROOTS, range(len(rim)), FLIPS))
    check_free(rim, free)
    assert len(free) < len(rim) // 10


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_named_error(data: bytes) -> None:
    """Random bytes are no manifest, and say so in one way."""
    with pytest.raises(AttestationError):
        read_rim(data, roots=MAKER.roots)


@settings(max_examples=200, deadline=None)
@given(end=st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_a_cut_manifest_is_a_named_error(end: int) -> None:
    """No beginning of a manifest is one."""
    with pytest.raises(AttestationError):
        read_rim(GOOD[:end], roots=MAKER.roots)


_PIECES = st.sampled_from(
    [
        *b"< > /> = &amp; <!DOCTYPE> <?x?> <!----> ]]> <ds:Signature/> <ns0:Payload/>".split(b" "),
        *(b" index='1'", b" xmlns='x'", b" xml:id='a'", b"0" * 96, b" ", b"\n", b"\r", b"\xff"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(min_value=0, max_value=len(GOOD)), cut=st.integers(0, 200), piece=_PIECES)
def test_a_spliced_manifest_is_refused_or_says_the_same(place: int, cut: int, piece: bytes) -> None:
    """Anything put in or taken out is refused, unless it changes nothing of what is said."""
    try:
        rim = read_rim(GOOD[:place] + piece + GOOD[place + cut :], roots=MAKER.roots)
    except AttestationError:
        return
    assert dict(rim.golden) == {index: frozenset(values) for index, values in GOLDEN.items()}
    assert without_file(rim) == without_file(read_rim(GOOD, roots=MAKER.roots))


@settings(max_examples=40, deadline=None)
@given(
    golden=st.dictionaries(
        st.integers(0, 254),
        st.lists(st.binary(min_size=48, max_size=48), min_size=1, max_size=5),
        min_size=1,
        max_size=9,
    )
)
def test_golden_values_are_read_as_they_were_written(golden: dict[int, list[bytes]]) -> None:
    """Whatever a maker signs is what is read."""
    rim = read_rim(MAKER.rim(golden=golden), roots=MAKER.roots)
    assert dict(rim.golden) == {index: frozenset(values) for index, values in golden.items()}
