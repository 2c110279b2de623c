# SPDX-License-Identifier: Apache-2.0
"""A bounded reader of binary evidence: every read says what it reads, and none goes past the end.

All formats are read through it, so that a length which lies is one named error and never an allocation.
"""

from attestation.errors import MalformedEvidence, Reason


class Reader:
    """Reads fields in order from `data`; `name` leads every error. Slices share the bytes given and copy on `take`."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    @property
    def offset(self) -> int:
        """Where the next read starts."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes are unread."""
        return len(self._data) - self._at

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes. Raises `MalformedEvidence` if there are fewer."""
        if count < 0 or count > self.left:
            raise self.malformed(field, f"{self.left} bytes", f"{count} bytes")
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]

    def little(self, width: int, field: str) -> int:
        """The next `width` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(width, field), "little")

    def big(self, width: int, field: str) -> int:
        """The next `width` bytes as an unsigned big-endian integer."""
        return int.from_bytes(self.take(width, field), "big")

    def end(self) -> None:
        """Raises `MalformedEvidence` if anything is left."""
        if self.left:
            raise self.malformed("end", f"{self.left} more bytes", "no trailing bytes")

    def malformed(self, field: str, got: str, want: str) -> MalformedEvidence:
        """The error for one field."""
        return MalformedEvidence(Reason.MALFORMED, f"{self._name} {field} is {got}, want {want}")
