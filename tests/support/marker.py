# SPDX-License-Identifier: Apache-2.0
"""Finds a secret of 64 random bytes in captured bytes, in every form in which software leaks such things.

The secret is cut into eight blocks of eight bytes and each block is looked for, so a piece of fifteen bytes is found
wherever a border of frames, lines or pages cut it; a block is too long to appear by chance. Forms: raw, hexadecimal
(either case, with separators or prefixes), base64 at each of its three phases (both alphabets), UTF-16 of any of these,
escaped text (Python, JSON, protobuf's text form, percent signs), lists of numbers, the numbers of a float tensor, and
all of these inside compressed data.

Bounds, so that a scan ends: compressed data is followed two levels deep and for 4 MiB; zlib and gzip are looked for at
every offset, raw deflate at every offset of blobs up to 64 KiB and within the first 4 KiB of longer ones.
"""

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

MARKER_BYTES: Final = 64
BLOCK_BYTES: Final = 8
MAX_DEPTH: Final = 2
MAX_INFLATED_BYTES: Final = 4 << 20
RAW_EVERYWHERE_BYTES: Final = 64 << 10
RAW_HEAD_BYTES: Final = 4 << 10

_SEPARATORS: Final = b" \t\r\n:-_.,;"
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One trace of the secret."""

    source: str
    form: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needle:
    form: str
    data: bytes = field(repr=False)


class Marker:
    """A secret and every form it is looked for in."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != MARKER_BYTES:
            raise ValueError(f"secret has {len(secret)} bytes, want {MARKER_BYTES}")
        self.secret: Final = secret
        blocks = [secret[start : start + BLOCK_BYTES] for start in range(0, MARKER_BYTES, BLOCK_BYTES)]
        self._needles: dict[bytes, list[_Needle]] = {}
        for needle in [needle for block in blocks for needle in _forms(block)] + _floats(secret):
            self._needles.setdefault(needle.data[:4], []).append(needle)
        self._first = _pair_table(head[:2] for head in self._needles)
        self._second = _pair_table(head[2:] for head in self._needles)
        self._hexes = [block.hex().encode() for block in blocks]

    def scan(self, source: str, blob: bytes) -> list[Found]:
        """Every form of the secret in one blob, each form once."""
        return list(self._scan(source, blob, 0))

    def scan_sequence(self, source: str, blobs: Sequence[bytes]) -> list[Found]:
        """As `scan`, for blobs that followed each other: each alone, and all of them without their borders."""
        found = self.scan(source, b"".join(blobs))
        for index, blob in enumerate(blobs):
            found += self._unpack(f"{source}[{index}]", _raw_deflate(blob), 0)
        return found

    def _scan(self, source: str, blob: bytes, depth: int) -> Iterator[Found]:
        seen: set[str] = set()
        for found in self._plain(source, blob):
            if found.form not in seen:
                seen.add(found.form)
                yield found
        if depth < MAX_DEPTH:
            yield from self._unpack(source, inflations(blob), depth)

    def _unpack(self, source: str, packed: Iterator[tuple[str, int, bytes]], depth: int) -> Iterator[Found]:
        seen: set[str] = set()
        for kind, offset, inflated in packed:
            for found in self._scan(source, inflated, depth + 1):
                form = f"{kind}({found.form})"
                if form not in seen:
                    seen.add(form)
                    yield Found(source=source, form=form, offset=offset)

    def _plain(self, source: str, blob: bytes) -> Iterator[Found]:
        # Two table lookups leave a handful of places in a MiB at which a needle can begin.
        pairs = _pairs(blob)
        places = np.flatnonzero(self._first[pairs[:-2]] & self._second[pairs[2:]])
        for place in map(int, places):
            for needle in self._needles.get(blob[place : place + 4], ()):
                if blob.startswith(needle.data, place):
                    yield Found(source=source, form=needle.form, offset=place)
        for label, text in (("", blob), ("utf-16 ", blob.replace(b"\0", b""))):
            digits = _only_digits(text)
            if any(block in digits for block in self._hexes):
                yield Found(source=source, form=f"{label}hex", offset=-1)


def inflations(blob: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Every stretch of `blob` that inflates to something: (kind, offset, inflated)."""
    yield from _wrapped(blob)
    yield from _raw_deflate(blob)


def _pairs(blob: bytes) -> "NDArray[np.uint16]":
    """The two bytes at each offset, as one number."""
    octets = np.frombuffer(blob, np.uint8).astype(np.uint16)
    return np.asarray((octets[:-1] << 8) | octets[1:], np.uint16)


def _pair_table(pairs: Iterable[bytes]) -> "NDArray[np.bool_]":
    table = np.zeros(1 << 16, np.bool_)
    table[[int.from_bytes(pair, "big") for pair in pairs]] = True
    return table


def _forms(block: bytes) -> Iterator[_Needle]:
    """The forms of a block that are found as they stand; hexadecimal is looked for separately."""
    texts = {
        "python": repr(block)[2:-1].encode(),
        "json": json.dumps(block.decode("latin-1"))[1:-1].encode(),
        "utf-8": block.decode("latin-1").encode("utf-8"),
        "protobuf text": "".join(f"\\{byte:03o}" for byte in block).encode(),
        "percent": "".join(f"%{byte:02X}" for byte in block).encode(),
        "percent lower": "".join(f"%{byte:02x}" for byte in block).encode(),
        "numbers": ", ".join(str(byte) for byte in block).encode(),
        "packed numbers": ",".join(str(byte) for byte in block).encode(),
    }
    for phase in range(3):
        plain = _base64_inside(block, phase)
        texts[f"base64 phase {phase}"] = plain
        texts[f"base64url phase {phase}"] = plain.translate(_URL_SAFE)
    yield _Needle(form="raw", data=block)
    yield _Needle(form="raw reversed", data=block[::-1])
    yield _Needle(form="utf-16 raw", data=_wide(block))
    for form, text in texts.items():
        yield _Needle(form=form, data=text)
        # The same needle finds both byte orders: one begins a byte earlier and ends a byte earlier than the other.
        yield _Needle(form=f"utf-16 {form}", data=_wide(text))


def _wide(text: bytes) -> bytes:
    """UTF-16 without its outermost zero, which is before the text in one byte order and after it in the other."""
    return b"\0".join(text[index : index + 1] for index in range(len(text)))


def _base64_inside(block: bytes, phase: int) -> bytes:
    """The characters of the block's base64 that depend on nothing but the block, `phase` bytes into a group."""
    text = base64.b64encode(bytes(phase) + block + bytes(2))
    first, bits = (phase * 8 + 5) // 6, (phase + len(block)) * 8
    return text[first : bits // 6]


def _floats(secret: bytes) -> list[_Needle]:
    """The secret as the numbers of a float32 tensor, as logs print them: shortest for 32 bits and for 64."""
    needles = []
    for (number,) in struct.iter_unpack("<f", secret):
        texts = {repr(number), f"{number:.8e}", f"{number:.9g}"}
        needles += [_Needle(form="float", data=text.encode()) for text in texts if len(text) >= 11]
    return needles


def _only_digits(blob: bytes) -> bytes:
    """The blob in lower case without what people write between hexadecimal digits."""
    lowered = blob.lower().translate(None, delete=_SEPARATORS)
    return lowered.replace(b"0x", b"").replace(b"\\x", b"").replace(b"%", b"")


def _wrapped(blob: bytes) -> Iterator[tuple[str, int, bytes]]:
    for offset in map(int, np.flatnonzero(_WRAPPERS[_pairs(blob)])):
        gzip = blob[offset] == _GZIP_MAGIC[0]
        if inflated := _inflate(blob, offset, 31 if gzip else 15):
            yield "gzip" if gzip else "zlib", offset, inflated


def _raw_deflate(blob: bytes) -> Iterator[tuple[str, int, bytes]]:
    span = len(blob) if len(blob) <= RAW_EVERYWHERE_BYTES else RAW_HEAD_BYTES
    for offset in range(span):
        kind = blob[offset] >> 1 & 3
        if kind == 3 or (kind == 0 and not _stored(blob, offset)):
            continue
        inflated = _inflate(blob, offset, -15)
        if len(inflated) >= BLOCK_BYTES:
            yield "deflate", offset, inflated


def _stored(blob: bytes, offset: int) -> bool:
    """True when the length of a stored block and its complement agree."""
    lengths = blob[offset + 1 : offset + 5]
    return len(lengths) == 4 and lengths[0] ^ lengths[2] == 0xFF and lengths[1] ^ lengths[3] == 0xFF


def _inflate(data: bytes, start: int, window: int) -> bytes:
    """What comes out before the end or the first error; a stream cut short gives what it has."""
    machine = zlib.decompressobj(window)
    out, position = bytearray(), start
    # Small steps first: an error throws away the output of its step, and most candidates fail at once.
    while position < len(data) and not machine.eof and len(out) < MAX_INFLATED_BYTES:
        step = 64 if position - start < 1024 else 16384
        try:
            out += machine.decompress(data[position : position + step], MAX_INFLATED_BYTES - len(out))
        except zlib.error:
            break
        position += step
    return bytes(out)


_GZIP_MAGIC: Final = b"\x1f\x8b"
_WRAPPERS: Final = _pair_table(
    [
        _GZIP_MAGIC,
        # RFC 1950: method 8, a window of at most 32 KiB, no dictionary, and a check of both bytes.
        *(header.to_bytes(2, "big") for header in range(0, 1 << 15, 31) if header >> 8 & 15 == 8 and not header & 0x20),
    ]
)
