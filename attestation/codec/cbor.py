# SPDX-License-Identifier: Apache-2.0
"""Deterministic CBOR: the strict subset of RFC 8949 section 4.2.1 that Sealbid signs and hashes (docs/spec.md, 1).

    item  = uint | nint | bstr | tstr | array | map | true | false | null
    map   = definite length, unsigned integer keys 0..23, ascending, unique

Integers take their shortest form and lengths are definite. Tags, floats, other simple values and bytes after the item
are refused. One value therefore has one encoding, and `decode(b)` succeeds only if `encode(decode(b)) == b`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attestation.errors import Malformed

Item: TypeAlias = "int | bytes | str | bool | Sequence[Item] | Mapping[int, Item] | None"

MAX_DEPTH = 8
"""Deeper than any structure of ours; hostile nesting must not reach the interpreter's recursion limit."""

MAX_KEY = 23
_UINT_END = 1 << 64
_UINT, _NINT, _BSTR, _TSTR, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES: dict[int, bool | None] = {20: False, 21: True, 22: None}


def encode(item: Item) -> bytes:
    """The one encoding of `item`. Raises `Malformed` for a value outside the subset."""
    out = bytearray()
    _encode(item, out)
    return bytes(out)


def decode(data: bytes) -> Item:
    """The value of exactly these bytes. Raises `Malformed` for anything `encode` would not have written."""
    item, end = _decode(data, 0, 0)
    if end != len(data):
        raise Malformed(f"cbor has {len(data) - end} bytes after the item, want 0")
    return item


def decode_map(data: bytes, label: str, size: int) -> Mapping[int, Item]:
    """Decodes a map whose keys are exactly 0..size-1 and whose value at 0 is `label`.

    Raises:
        Malformed: not a map, another label, or a key missing or surplus.
    """
    item = decode(data)
    if not isinstance(item, Mapping):
        raise Malformed(f"{label} is not a map")
    if len(item) != size or any(key not in item for key in range(size)):
        raise Malformed(f"{label} has keys {sorted(item)}, want 0..{size - 1}")
    if item[0] != label:
        raise Malformed(f"label is not {label}")
    return item


def _head(major: int, value: int, out: bytearray) -> None:
    if value < 24:
        out.append(major << 5 | value)
        return
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * width):
            out.append(major << 5 | info)
            out += value.to_bytes(width, "big")
            return
    raise Malformed("integer does not fit in 64 bits")


def _encode(item: Item, out: bytearray) -> None:
    if isinstance(item, bool) or item is None:
        out.append(_SIMPLE << 5 | (22 if item is None else 20 + item))
    elif isinstance(item, int):
        _head(_UINT, item, out) if item >= 0 else _head(_NINT, -1 - item, out)
    elif isinstance(item, (bytes, bytearray, memoryview)):
        _head(_BSTR, len(item), out)
        out += item
    elif isinstance(item, str):
        text = item.encode()
        _head(_TSTR, len(text), out)
        out += text
    elif isinstance(item, Mapping):
        _encode_map(item, out)
    else:
        _head(_ARRAY, len(item), out)
        for element in item:
            _encode(element, out)


def _encode_map(item: Mapping[int, Item], out: bytearray) -> None:
    _head(_MAP, len(item), out)
    for key in sorted(item):
        if not 0 <= key <= MAX_KEY:
            raise Malformed(f"map key is {key}, want 0..{MAX_KEY}")
        out.append(key)
        _encode(item[key], out)


def _decode(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    if depth > MAX_DEPTH:
        raise Malformed(f"cbor nests deeper than {MAX_DEPTH}")
    major, value, at = _decode_head(data, at)
    if major == _UINT:
        return value, at
    if major == _NINT:
        return -1 - value, at
    if major in (_BSTR, _TSTR):
        return _decode_string(data, at, value, text=major == _TSTR)
    if major == _ARRAY:
        return _decode_array(data, at, value, depth)
    if major == _MAP:
        return _decode_map(data, at, value, depth)
    if major == _SIMPLE and value in _SIMPLE_VALUES:
        return _SIMPLE_VALUES[value], at
    raise Malformed(f"cbor item has major type {major}, want integer, string, array, map or simple 20..22")


def _decode_head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise Malformed("cbor ends inside an item")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, at
    if info > 27 or major == _SIMPLE:
        raise Malformed("cbor item has an indefinite length, a float or a reserved head")
    width = 1 << (info - 24)
    value = int.from_bytes(data[at : at + width], "big")
    if at + width > len(data):
        raise Malformed("cbor ends inside an item")
    if value < (24 if width == 1 else 1 << (4 * width)):
        raise Malformed("cbor integer or length is not in its shortest form")
    return major, value, at + width


def _decode_string(data: bytes, at: int, length: int, *, text: bool) -> tuple[Item, int]:
    end = at + length
    if end > len(data):
        raise Malformed("cbor ends inside a string")
    raw = bytes(data[at:end])
    if not text:
        return raw, end
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        raise Malformed("cbor text is not utf-8") from None


def _decode_array(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    if count > len(data) - at:
        raise Malformed("cbor array is longer than its bytes")
    items: list[Item] = []
    for _ in range(count):
        item, at = _decode(data, at, depth + 1)
        items.append(item)
    return items, at


def _decode_map(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    if count > MAX_KEY + 1:
        raise Malformed(f"cbor map has {count} entries, want at most {MAX_KEY + 1}")
    items: dict[int, Item] = {}
    last = -1
    for _ in range(count):
        major, key, at = _decode_head(data, at)
        if major != _UINT or not last < key <= MAX_KEY:
            raise Malformed(f"cbor map keys are not ascending integers 0..{MAX_KEY}")
        last = key
        items[key], at = _decode(data, at, depth + 1)
    return items, at
