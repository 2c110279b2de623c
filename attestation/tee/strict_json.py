# SPDX-License-Identifier: Apache-2.0
"""JSON that strangers made, read within bounds: signed statements of vendors and event logs of guests.

A text is UTF-8 of bounded size and depth; refused are duplicate keys, floats, NaN, integers of more than 19 digits and
text that is not Unicode. Values are reached through typed reads that name the field they refuse.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeAlias

from attestation.errors import MalformedEvidence, Reason

JSON: TypeAlias = "str | int | bool | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_DEPTH: Final = 16
_MAX_DIGITS: Final = 19
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEX: Final = re.compile(r"[0-9A-Fa-f]*")


class JSONObject:
    """One object of a text; `name` leads every error. Keys nobody reads are allowed: vendors add some."""

    def __init__(self, value: JSON, name: str) -> None:
        if not isinstance(value, Mapping):
            raise malformed(name, "not an object", "an object")
        self._items = value
        self._name = name

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def text(self, key: str, most: int) -> str:
        """The text at `key`, of at most `most` characters."""
        value = self._items.get(key)
        if not isinstance(value, str) or len(value) > most:
            raise malformed(f"{self._name}.{key}", "not such a text", f"a text of at most {most} characters")
        return value

    def integer(self, key: str, most: int) -> int:
        """The integer 0..`most` at `key`."""
        value = self._items.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise malformed(f"{self._name}.{key}", "not such an integer", f"an integer 0..{most}")
        return value

    def boolean(self, key: str) -> bool:
        """The boolean at `key`."""
        value = self._items.get(key)
        if not isinstance(value, bool):
            raise malformed(f"{self._name}.{key}", "not a boolean", "true or false")
        return value

    def octets(self, key: str, least: int, most: int) -> bytes:
        """The bytes that the hexadecimal text at `key` spells, `least`..`most` of them."""
        text = self.text(key, 2 * most)
        if len(text) < 2 * least or len(text) % 2 or not _HEX.fullmatch(text):
            raise malformed(f"{self._name}.{key}", "not such hex", f"{least}..{most} bytes of hex")
        return bytes.fromhex(text)

    def time(self, key: str) -> datetime:
        """The time at `key`, written as `2026-04-24T01:37:51Z`."""
        text = self.text(key, 32)
        try:
            if _TIME.fullmatch(text):
                return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            pass
        raise malformed(f"{self._name}.{key}", "no such time", "a time as 2026-01-31T00:00:00Z")

    def object(self, key: str) -> "JSONObject":
        """The object at `key`."""
        return JSONObject(self._items.get(key), f"{self._name}.{key}")

    def objects(self, key: str, most: int) -> tuple["JSONObject", ...]:
        """The objects of the array at `key`, at most `most`."""
        return objects(self._items.get(key), f"{self._name}.{key}", most)

    def texts(self, key: str, most: int, length: int) -> tuple[str, ...]:
        """The texts of the array at `key`, at most `most` of at most `length` characters each."""
        values = _array(self._items.get(key), f"{self._name}.{key}", most)
        texts = tuple(value for value in values if isinstance(value, str) and len(value) <= length)
        if len(texts) != len(values):
            raise malformed(f"{self._name}.{key}", "not texts", f"texts of at most {length} characters")
        return texts


def objects(value: JSON, name: str, most: int) -> tuple[JSONObject, ...]:
    """The objects of an array of at most `most`. Raises `MalformedEvidence`."""
    return tuple(JSONObject(item, name) for item in _array(value, name, most))


def read_json(data: bytes, name: str, most: int) -> JSON:
    """The value of exactly these bytes, at most `most` of them. Raises `MalformedEvidence`."""
    if len(data) > most:
        raise malformed(name, f"{len(data)} bytes", f"at most {most}")
    try:
        value: JSON = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse,
            parse_int=_integer,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        raise malformed(name, "no such json", "json without duplicate keys or floats") from None
    _check_tree(value, name)
    return value


def malformed(name: str, got: str, want: str) -> MalformedEvidence:
    """The error for one field."""
    return MalformedEvidence(Reason.MALFORMED, f"{name} is {got}, want {want}")


def _array(value: JSON, name: str, most: int) -> Sequence[JSON]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > most:
        raise malformed(name, "not such an array", f"an array of at most {most}")
    return value


def _unique(pairs: list[tuple[str, JSON]]) -> Mapping[str, JSON]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("duplicate key")
    return items


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("integer too long")
    return int(digits)


def _refuse(_: str) -> NoReturn:
    raise ValueError("no such number")


def _check_tree(value: JSON, name: str) -> None:
    level: Sequence[JSON] = (value,)
    for _ in range(MAX_DEPTH):
        level = tuple(child for item in level for child in _children(item, name))
        if not level:
            return
    raise malformed(name, "nested deeper", f"at most {MAX_DEPTH} levels")


def _children(item: JSON, name: str) -> Iterator[JSON]:
    if isinstance(item, str):
        if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
            raise malformed(name, "text that is not unicode", "unicode")
    elif isinstance(item, Mapping):
        yield from item
        yield from item.values()
    elif isinstance(item, Sequence):
        yield from item
