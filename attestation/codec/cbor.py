# SPDX-License-Identifier: Apache-2.0
"""Deterministic CBOR: the strict subset of RFC 8949 section 4.2.1 that Sealbid signs and hashes (docs/spec.md, 1.2).

    item  = uint | nint | bstr | tstr | array | map | true | false | null
    map   = definite length, unsigned integer keys 0..23, ascending, unique

Integers take their shortest form and lengths are definite. Tags, floats, other simple values and bytes after the item
are refused. One value therefore has one encoding, and `decode(b)` succeeds only if `encode(decode(b)) == b`.

Every request is encoded and decoded here several times on each side, hence the tables and the few calls per item.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Final, TypeAlias

from attestation.errors import Malformed

_Put: TypeAlias = Callable[[bytes], None]
Item: TypeAlias = "int | bytes | str | bool | Sequence[Item] | Mapping[int, Item] | None"

MAX_DEPTH: Final = 8
"""Deeper than any structure of ours; hostile nesting must not reach the interpreter's recursion limit."""

MAX_KEY: Final = 23
_DIGEST_BYTES: Final = 32
_UINT, _NINT, _BSTR, _TSTR, _ARRAY, _MAP, _, _SIMPLE = range(8)
_SIMPLE_VALUES: Final[dict[int, bool | None]] = {20: False, 21: True, 22: None}
_HEADS: Final = tuple(
    tuple(bytes((major << 5 | n,)) if n < 24 else bytes((major << 5 | 24, n)) for n in range(256))
    for major in range(_SIMPLE)
)
"""Heads of the values and lengths up to 255, by major type: nearly all there are."""

_HEAD_16, _HEAD_32, _HEAD_64 = Struct(">BH"), Struct(">BI"), Struct(">BQ")
_KEYED_DIGEST: Final = tuple(bytes((key, 0x58, 32)) for key in range(MAX_KEY + 1))
"""A map's key and the head of a 32-byte string after it: most entries there are."""

_KEYS: Final = _HEADS[_UINT]

_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_LEAST: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""The smallest value that needs each width; a smaller one there is not in its shortest form."""


def encode(item: Item) -> bytes:
    """The one encoding of `item`. Raises `Malformed` for a value outside the subset."""
    parts: list[bytes] = []
    _encode(item, parts.append)
    return b"".join(parts)


def encode_map(label: str, *values: Item) -> bytes:
    """The one encoding of `{0: label, 1: values[0], ..}`, which `decode_map` reads. Raises `Malformed` as `encode`."""
    if len(values) > MAX_KEY:
        raise Malformed(f"map key is {len(values)}, want 0..{MAX_KEY}")
    parts = [_map_start(label, len(values) + 1)]
    put = parts.append
    for key, value in enumerate(values, start=1):
        if type(value) is bytes and len(value) == _DIGEST_BYTES:
            put(_KEYED_DIGEST[key])
            put(value)
        elif type(value) is int:
            put(_KEYS[key])
            put(_number(value))
        else:
            put(_KEYS[key])
            _encode(value, put)
    return b"".join(parts)


def decode(data: bytes) -> Item:
    """The value of exactly these bytes. Raises `Malformed` for anything `encode` would not have written."""
    try:
        item, end = _decode(data, 0, 0)
    except IndexError:
        raise Malformed("cbor ends inside an item") from None
    if end != len(data):
        raise Malformed(f"cbor has {len(data) - end} bytes after the item, want 0")
    return item


def decode_map(data: bytes, label: str, size: int) -> Mapping[int, Item]:
    """Decodes a map whose keys are exactly 0..size-1 and whose value at 0 is `label`.

    Raises:
        Malformed: not a map, another label, or a key missing or surplus.
    """
    item = decode(data)
    if not isinstance(item, dict):
        raise Malformed(f"{label} is not a map")
    # Keys are ascending and unique, so their number and the last one say it all.
    if len(item) != size or (size - 1) not in item:
        raise Malformed(f"{label} has keys {sorted(item)}, want 0..{size - 1}")
    if item[0] != label:
        raise Malformed(f"label is not {label}")
    return item


@cache
def _map_start(label: str, size: int) -> bytes:
    """The head of a map of `size` entries, its key 0 and its label; there are as many as kinds of structures."""
    text = label.encode()
    return b"".join((_head(_MAP, size), _HEADS[_UINT][0], _head(_TSTR, len(text)), text))


def _head(major: int, value: int) -> bytes:
    if value < 256:
        return _HEADS[major][value]
    if value < 1 << 16:
        return _HEAD_16.pack(major << 5 | 25, value)
    if value < 1 << 32:
        return _HEAD_32.pack(major << 5 | 26, value)
    if value < 1 << 64:
        return _HEAD_64.pack(major << 5 | 27, value)
    raise Malformed("integer does not fit in 64 bits")


def _number(value: int) -> bytes:
    return _head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value)


def _encode(item: Item, put: _Put) -> None:
    kind = type(item)
    if kind is bytes:
        put(_head(_BSTR, len(item)))  # type: ignore[arg-type]  # the exact type was just compared
        put(item)  # type: ignore[arg-type]
    elif kind is int:
        put(_number(item))  # type: ignore[arg-type]
    elif isinstance(item, str):
        text = item.encode()
        put(_head(_TSTR, len(text)))
        put(text)
    elif isinstance(item, Mapping):
        _encode_map(item, put)
    elif isinstance(item, bool) or item is None:
        put(b"\xf6" if item is None else b"\xf5" if item else b"\xf4")
    elif isinstance(item, int):
        put(_number(item))
    elif isinstance(item, (bytes, bytearray, memoryview)):
        _encode(bytes(item), put)
    else:
        put(_head(_ARRAY, len(item)))
        for element in item:
            _encode(element, put)


def _encode_map(item: Mapping[int, Item], put: _Put) -> None:
    put(_head(_MAP, len(item)))
    last = -1
    for key in sorted(item):
        if not last < key <= MAX_KEY:
            raise Malformed(f"map key is {key}, want 0..{MAX_KEY}")
        last = key
        put(_HEADS[_UINT][key])
        _encode(item[key], put)


def _decode(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    """One item and where it ends. An `IndexError` means that the bytes end inside it."""
    major, value = data[at] >> 5, data[at] & 31
    at += 1
    if value >= 24 and major != _SIMPLE:
        value, at = _decode_value(data, at, value)
    if major in (_BSTR, _TSTR):
        end = at + value
        if end > len(data):
            raise Malformed("cbor ends inside a string")
        raw = data[at:end]
        return (raw if major == _BSTR else _text(raw)), end
    if major == _UINT:
        return value, at
    if major == _NINT:
        return -1 - value, at
    if depth == MAX_DEPTH:
        raise Malformed(f"cbor nests deeper than {MAX_DEPTH}")
    if major == _MAP:
        return _decode_map(data, at, value, depth + 1)
    if major == _ARRAY:
        return _decode_array(data, at, value, depth + 1)
    if major == _SIMPLE and value in _SIMPLE_VALUES:
        return _SIMPLE_VALUES[value], at
    raise Malformed(f"cbor item has major type {major}, want integer, string, array, map or simple 20..22")


def _decode_value(data: bytes, at: int, info: int) -> tuple[int, int]:
    width = _WIDTHS.get(info)
    if width is None:
        raise Malformed("cbor item has an indefinite length or a reserved head")
    end = at + width
    if end > len(data):
        raise Malformed("cbor ends inside an item")
    value = data[at] if width == 1 else int.from_bytes(data[at:end], "big")
    if value < _LEAST[info]:
        raise Malformed("cbor integer or length is not in its shortest form")
    return value, end


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed("cbor text is not utf-8") from None


def _decode_array(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    if count > len(data) - at:
        raise Malformed("cbor array is longer than its bytes")
    items: list[Item] = []
    for _ in range(count):
        item, at = _decode(data, at, depth)
        items.append(item)
    return items, at


def _decode_map(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    if count > MAX_KEY + 1:
        raise Malformed(f"cbor map has {count} entries, want at most {MAX_KEY + 1}")
    items: dict[int, Item] = {}
    last = -1
    for _ in range(count):
        key = data[at]  # the head of an unsigned integer up to 23 is its value
        if not last < key <= MAX_KEY:
            raise Malformed(f"cbor map keys are not ascending integers 0..{MAX_KEY}")
        last = key
        if data[at + 1] == 0x58 and data[at + 2] == _DIGEST_BYTES and at + 3 + _DIGEST_BYTES <= len(data):
            start, at = at + 3, at + 3 + _DIGEST_BYTES
            items[key] = data[start:at]
        else:
            items[key], at = _decode(data, at + 1, depth)
    return items, at
