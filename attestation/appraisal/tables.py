# SPDX-License-Identifier: Apache-2.0
"""Strict reads of a policy's TOML tables: every key is asked for, and every key present must have been asked for."""

from collections.abc import Sequence

from attestation.appraisal.reference import ReferenceValue, read_reference
from attestation.errors import MalformedEvidence, Reason

MAX_TEXT = 1024


def invalid(name: str, got: str, want: str) -> MalformedEvidence:
    """The error for one key of a policy."""
    return MalformedEvidence(Reason.POLICY_INVALID, f"policy {name} is {got}, want {want}".replace("  ", " "))


class Table:
    """One table of a policy. Reads name the key they refuse; `done` refuses keys nobody read."""

    def __init__(self, items: dict[str, object], path: str) -> None:
        self._items = items
        self._path = path
        self._read: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """The keys present."""
        return tuple(self._items)

    def table(self, key: str) -> "Table":
        """The table at `key`."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise invalid(self._name(key), "not a table", "a table")
        return Table(value, self._name(key))

    def tables(self, key: str) -> "Table":
        """The table at `key`, or an empty one if there is none."""
        return self.table(key) if key in self._items else Table({}, self._name(key))

    def text(self, key: str) -> str:
        """The non-empty text at `key`."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
            raise invalid(self._name(key), "not such a text", f"a text of 1..{MAX_TEXT} characters")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts at `key`."""
        return tuple(value for value in self._list(key, str, "texts") if isinstance(value, str))

    def integers(self, key: str) -> tuple[int, ...]:
        """The list of integers at `key`."""
        return tuple(value for value in self._list(key, int, "integers") if isinstance(value, int))

    def integer(self, key: str, least: int, most: int) -> int:
        """The integer at `key`, within bounds."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise invalid(self._name(key), "not such an integer", f"an integer {least}..{most}")
        return value

    def boolean(self, key: str) -> bool:
        """The boolean at `key`."""
        value = self._take(key)
        if not isinstance(value, bool):
            raise invalid(self._name(key), "not a boolean", "true or false")
        return value

    def reference(self, key: str) -> ReferenceValue:
        """The reference value at `key`."""
        return read_reference(self._take(key), self._name(key))

    def done(self) -> None:
        """Raises `MalformedEvidence` (POLICY_INVALID) for a key nobody read: a misspelt check must not pass for one."""
        surplus = sorted(set(self._items) - self._read)
        if surplus:
            raise invalid(self._name(surplus[0]), "an unknown key", "only the keys of this version")

    def _list(self, key: str, kind: type, name: str) -> Sequence[object]:
        value = self._take(key)
        if not isinstance(value, list) or not all(type(element) is kind for element in value):
            raise invalid(self._name(key), f"not a list of {name}", f"a list of {name}")
        return value

    def _take(self, key: str) -> object:
        if key not in self._items:
            raise invalid(self._name(key), "missing", "a value; not checking is { unchecked = reason }")
        self._read.add(key)
        return self._items[key]

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key
