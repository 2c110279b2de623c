# SPDX-License-Identifier: Apache-2.0
"""Deterministic CBOR for the IETF's claims sets (RFC 8949, 4.2.1): maps with integer or text keys, and one outer tag.

    item = uint | nint | bstr | tstr | array | map | true | false | null      map keys: int or tstr, ascending by bytes

What Sealbid itself signs and hashes has a narrower form (`attestation.codec.cbor`); this one is for formats others
define. Refused when reading: indefinite lengths, floats, other simple values, tags inside, unordered or repeated keys,
lengths not in their shortest form, deep nesting, bytes after the item. So one value has one encoding here too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.reader import Reader

Key: TypeAlias = int | str
Item: TypeAlias = "int | bytes | str | bool | Sequence[Item] | Mapping[Key, Item] | None"

MAX_DEPTH: Final = 12
MAX_ITEMS: Final = 4096
_SIMPLE: Final[dict[int, bool | None]] = {20: False, 21: True, 22: None}
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}


def encode(item: Item, *, tag: int | None = None) -> bytes:
    """The one encoding of `item`, in an outer tag if one is given."""
    body = _encode(item)
    return body if tag is None else _head(6, tag) + body


def decode(data: bytes, name: str) -> tuple[Item, int | None]:
    """The value of exactly these bytes and its outer tag, if any. Raises `MalformedEvidence`."""
    reader = _Decoder(data, name)
    tag = reader.tag()
    item = reader.item(0)
    reader.end()
    return item, tag


def _encode(item: Item) -> bytes:
    if item is None or isinstance(item, bool):
        return b"\xf6" if item is None else b"\xf5" if item else b"\xf4"
    if isinstance(item, int):
        return _head(0, item) if item >= 0 else _head(1, -1 - item)
    if isinstance(item, bytes):
        return _head(2, len(item)) + item
    if isinstance(item, str):
        text = item.encode()
        return _head(3, len(text)) + text
    if isinstance(item, Mapping):
        pairs = sorted((_encode(key), _encode(value)) for key, value in item.items())
        return _head(5, len(pairs)) + b"".join(key + value for key, value in pairs)
    return _head(4, len(item)) + b"".join(_encode(element) for element in item)


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    for info, width in _WIDTHS.items():
        if value < 1 << 8 * width:
            return bytes((major << 5 | info,)) + value.to_bytes(width, "big")
    raise MalformedEvidence(Reason.MALFORMED, "cbor integer is above 64 bits, want one within")


class _Decoder:
    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._reader = Reader(data, name)
        self._left = MAX_ITEMS
        self._kinds: dict[int, Callable[[int, int], Item]] = {
            0: lambda value, _: value,
            1: lambda value, _: -1 - value,
            2: lambda size, _: self._reader.take(size, "string"),
            3: lambda size, _: self._text(size),
            4: self._array,
            5: self._map,
        }

    def end(self) -> None:
        self._reader.end()

    def tag(self) -> int | None:
        if not self._data or self._data[0] >> 5 != 6:
            return None
        return self._head()[1]

    def item(self, depth: int) -> Item:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise self._malformed("nested deeper or longer", f"{MAX_DEPTH} levels and {MAX_ITEMS} items")
        major, value = self._head()
        if major == 7 and value in _SIMPLE:
            return _SIMPLE[value]
        kind = self._kinds.get(major)
        if kind is None:
            raise self._malformed("a tag, float or other simple value", "none of these")
        return kind(value, depth)

    def _head(self) -> tuple[int, int]:
        first = self._reader.big(1, "head")
        major, info = first >> 5, first & 31
        if info < 24 or major == 7:
            return major, info
        width = _WIDTHS.get(info)
        if width is None:
            raise self._malformed("of indefinite length", "definite lengths")
        value = self._reader.big(width, "head")
        if value < (24 if width == 1 else 1 << 4 * width):
            raise self._malformed("not in its shortest form", "the shortest")
        return major, value

    def _text(self, size: int) -> str:
        try:
            return self._reader.take(size, "text").decode()
        except UnicodeDecodeError:
            raise self._malformed("text that is not utf-8", "utf-8") from None

    def _array(self, count: int, depth: int) -> Item:
        self._fits(count)
        return [self.item(depth + 1) for _ in range(count)]

    def _map(self, count: int, depth: int) -> Item:
        self._fits(2 * count)
        found: dict[Key, Item] = {}
        last = b""
        for _ in range(count):
            start = self._reader.offset
            key = self.item(depth + 1)
            encoded = self._data[start : self._reader.offset]
            if isinstance(key, bool) or not isinstance(key, (int, str)) or encoded <= last:
                raise self._malformed("a map key out of order or of another type", "ascending integers and texts")
            found[key], last = self.item(depth + 1), encoded
        return found

    def _fits(self, count: int) -> None:
        if count > self._reader.left:
            raise self._malformed("longer than its bytes", "as long as stated")

    def _malformed(self, got: str, want: str) -> MalformedEvidence:
        return self._reader.malformed("cbor", got, want)
