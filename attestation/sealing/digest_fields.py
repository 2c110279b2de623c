# SPDX-License-Identifier: Apache-2.0
"""The 32-byte fields of a structure, checked and read at once: these values are made on the path of every request."""

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from attestation.codec.fields import octets

_BYTES: Final = {bytes}
_LENGTH: Final = {32}


class DigestFields:
    """The named attributes of one kind of structure, all of which must be 32 bytes."""

    __slots__ = ("_name", "_names", "read")

    def __init__(self, name: str, *names: str) -> None:
        """`name` is the structure's name in refusals; at least two attributes."""
        self._name = name
        self._names = names
        self.read: Callable[[object], tuple[bytes, ...]] = attrgetter(*names)

    def check(self, value: object) -> None:
        """Accepts a structure whose named fields are all 32 bytes. Raises `Malformed` naming the first that is not."""
        values = self.read(value)
        if set(map(type, values)) != _BYTES or set(map(len, values)) != _LENGTH:
            for name, field in zip(self._names, values, strict=True):
                octets(field, f"{self._name}.{name}", 32)
