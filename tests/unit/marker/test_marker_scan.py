# SPDX-License-Identifier: Apache-2.0
"""The scanner finds a planted secret in every form it promises, whole or cut, and nothing in bytes that hold none."""

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.marker import Marker

SECRET = random.Random(20260101).randbytes(64)
MARKER = Marker(SECRET)


def _raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


def _fixed_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15, strategy=zlib.Z_FIXED)
    return machine.compress(data) + machine.flush()


def _base64_at(phase: int, encode: Callable[[bytes], bytes]) -> bytes:
    return encode(b"\x9c" * phase + SECRET + b"\x9c\x9c")


HEX = SECRET.hex()
PAIRS = [HEX[start : start + 2] for start in range(0, 128, 2)]
FORMS = {
    "raw": SECRET,
    "raw reversed": SECRET[::-1],
    "hex": HEX.encode(),
    "hex upper": HEX.upper().encode(),
    "hex colons": ":".join(PAIRS).encode(),
    "hex spaces upper": " ".join(PAIRS).upper().encode(),
    "hex 0x": ", ".join(f"0x{pair}" for pair in PAIRS).encode(),
    "hex backslash": "".join(f"\\x{pair}" for pair in PAIRS).encode(),
    "hex in lines": "\n".join(HEX[start : start + 10] for start in range(0, 128, 10)).encode(),
    "base64 phase 0": _base64_at(0, base64.b64encode),
    "base64 phase 1": _base64_at(1, base64.b64encode),
    "base64 phase 2": _base64_at(2, base64.b64encode),
    "base64url phase 0": _base64_at(0, base64.urlsafe_b64encode),
    "base64url phase 1": _base64_at(1, base64.urlsafe_b64encode),
    "base64url phase 2": _base64_at(2, base64.urlsafe_b64encode),
    "base64 in lines": base64.encodebytes(b"some words before it, and then " + SECRET),
    "utf-16-le of hex": HEX.encode("utf-16-le"),
    "utf-16-be of hex": HEX.encode("utf-16-be"),
    "utf-16-le of upper hex": HEX.upper().encode("utf-16-le"),
    "utf-16-le of base64": base64.b64encode(SECRET).decode().encode("utf-16-le"),
    "utf-16-be of base64": base64.b64encode(b"ab" + SECRET).decode().encode("utf-16-be"),
    "utf-16-le of the bytes": SECRET.decode("latin-1").encode("utf-16-le"),
    "utf-16-be of the bytes": SECRET.decode("latin-1").encode("utf-16-be"),
    "utf-8 of the bytes": SECRET.decode("latin-1").encode(),
    "python": repr(SECRET).encode(),
    "json": json.dumps(SECRET.decode("latin-1")).encode(),
    "protobuf text": "".join(f"\\{byte:03o}" for byte in SECRET).encode(),
    "numbers": str(list(SECRET)).encode(),
    "float32 numbers": str(np.frombuffer(SECRET, np.float32).tolist()).encode(),
    "zlib": zlib.compress(SECRET),
    "zlib fast": zlib.compress(SECRET * 3, 1),
    "gzip": gzip.compress(SECRET),
    "deflate": _raw_deflate(SECRET),
    "deflate fixed": _fixed_deflate(SECRET),
    "zlib of base64": zlib.compress(base64.b64encode(SECRET)),
    "gzip of zlib": gzip.compress(b"frame " + zlib.compress(HEX.encode())),
    "zlib cut short": zlib.compress(bytes(1000) + SECRET + random.Random(1).randbytes(2000))[:1200],
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_inside_other_bytes(form: str) -> None:
    """A form of the secret between random bytes is found, whatever its offset."""
    noise = random.Random(form)
    blob = noise.randbytes(333) + b'{"text": "' + FORMS[form] + b'"}' + noise.randbytes(444)
    assert MARKER.scan("blob", blob)


@pytest.mark.parametrize("size", [1_000, 60_000, 700_000])
def test_random_bytes_hold_nothing(size: int) -> None:
    """Bytes without the secret give no finding, however many there are."""
    assert MARKER.scan("noise", random.Random(size).randbytes(size)) == []


def test_the_same_text_around_another_secret_holds_nothing() -> None:
    """Every form of another secret is no finding: it is the secret that is found, not its dress."""
    other = Marker(random.Random(7).randbytes(64))
    assert [found for form in FORMS.values() for found in other.scan("blob", form)] == []


@pytest.mark.parametrize("length", [15, 16, 32, 63])
@pytest.mark.parametrize("start", [0, 1, 7, 8, 31, 49])
def test_a_piece_of_fifteen_bytes_is_enough(start: int, length: int) -> None:
    """A piece of the secret is found, so a border inside the secret hides nothing."""
    piece = SECRET[start : start + length]
    if len(piece) >= 15:
        assert MARKER.scan("blob", b"header" + piece + b"next header")


@pytest.mark.parametrize("width", [3, 5, 7])
def test_slivers_are_found_once_joined(width: int) -> None:
    """Frames too small to hold a telling piece are found by the scan over consecutive frames."""
    frames = [SECRET[start : start + width] for start in range(0, 64, width)]
    assert all(not MARKER.scan("frame", frame) for frame in frames)
    assert {found.source for found in MARKER.scan_sequence("frames", frames)} == {"frames"}


@pytest.mark.parametrize("border", [1, 20, 40, 70])
def test_a_compressed_form_is_found_across_a_border(border: int) -> None:
    """A compressed secret cut by a frame border is found by the scan over consecutive frames."""
    packed = zlib.compress(b"some text " + SECRET + b" some text")
    found = MARKER.scan_sequence("frames", [b"\x01" + packed[:border], packed[border:]])
    assert any(trace.form.startswith("zlib(") for trace in found)


def test_a_finding_says_where_and_how() -> None:
    """The source, form and offset of a finding name the place."""
    (found,) = MARKER.scan("gateway.log", b"0123456789" + SECRET[:8])
    assert (found.source, found.form, found.offset) == ("gateway.log", "raw", 10)
