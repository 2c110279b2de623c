# SPDX-License-Identifier: Apache-2.0
"""Typed reads of decoded CBOR fields, each naming the field it refuses (docs/spec.md, 1.2)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from attestation.codec.cbor import Item
from attestation.errors import Malformed

U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1


def uint(item: Item, name: str, maximum: int = U64_MAX) -> int:
    """An unsigned integer of at most `maximum`. Raises `Malformed` naming the field."""
    if type(item) is int and 0 <= item <= maximum:
        return item
    if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= maximum:
        raise Malformed(f"{name} is not an integer 0..{maximum}")
    return item


def octets(item: Item, name: str, size: int | None = None, maximum: int | None = None) -> bytes:
    """A byte string of exactly `size`, or at most `maximum`, bytes. Raises `Malformed` naming the field."""
    if not isinstance(item, bytes):
        raise Malformed(f"{name} is not a byte string")
    if size is not None and len(item) != size:
        raise Malformed(f"{name} has {len(item)} bytes, want {size}")
    if maximum is not None and len(item) > maximum:
        raise Malformed(f"{name} has {len(item)} bytes, want at most {maximum}")
    return item


def text(item: Item, name: str, maximum: int = 256) -> str:
    """A text string of at most `maximum` characters. Raises `Malformed` naming the field."""
    if not isinstance(item, str) or len(item) > maximum:
        raise Malformed(f"{name} is not a text of at most {maximum} characters")
    return item


def array(item: Item, name: str, maximum: int) -> Sequence[Item]:
    """An array of at most `maximum` items. Raises `Malformed` naming the field."""
    if isinstance(item, (str, bytes)) or not isinstance(item, Sequence) or len(item) > maximum:
        raise Malformed(f"{name} is not an array of at most {maximum} items")
    return item


def digests(item: Item, name: str, maximum: int) -> tuple[bytes, ...]:
    """An ascending array of unique 32-byte strings. Raises `Malformed` naming the field."""
    values = tuple(octets(value, name, 32) for value in array(item, name, maximum))
    if any(a >= b for a, b in pairwise(values)):
        raise Malformed(f"{name} is not ascending and unique")
    return values


def mapping(item: Item, name: str) -> Mapping[int, Item]:
    """A map. Raises `Malformed` naming the field."""
    if not isinstance(item, Mapping):
        raise Malformed(f"{name} is not a map")
    return item


def numbered(item: Item, name: str, size: int) -> Mapping[int, Item]:
    """A map without a label, whose keys are exactly 0..size-1. Raises `Malformed` naming the structure."""
    items = mapping(item, name)
    # Keys are ascending and unique, so their number and the last one say it all.
    if len(items) != size or (size - 1) not in items:
        raise Malformed(f"{name} has keys {list(items)}, want 0..{size - 1}")
    return items
