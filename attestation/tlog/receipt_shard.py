# SPDX-License-Identifier: Apache-2.0
"""Receipt shards: one log a quarter that holds salted commitments to receipts, and nothing anybody can read.

    origin = domain "/receipts/" year "q" quarter           market.example/receipts/2026q4
    leaf   = 0x01 || HMAC-SHA-256(key = salt, receipt)      33 bytes; the salt is 32 random bytes of that receipt alone

Whoever destroys the salt makes the leaf meaningless, and the log stays whole. Refused: any other leaf (ENTRY_INVALID),
a salt of another length.
"""

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog.store import NewEntry

COMMITMENT: Final = 0x01
COMMITMENT_BYTES: Final = 33
SALT_BYTES: Final = 32


def commitment(salt: bytes, receipt: bytes) -> bytes:
    """The leaf of a receipt. Raises `ValueError` for a salt that is not 32 bytes."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt has {len(salt)} bytes, want {SALT_BYTES}")
    return bytes([COMMITMENT]) + hmac.digest(salt, receipt, sha256)


def shard_origin(domain: str, at: datetime) -> str:
    """The shard that a receipt of that time belongs to, by the quarter in UTC."""
    day = at.astimezone(UTC)
    return f"{domain}/receipts/{day.year}q{(day.month + 2) // 3}"


class CommitmentFormat:
    """What a receipt shard takes (`sequencer.LeafFormat`)."""

    def read(self, data: bytes) -> NewEntry:
        """A commitment. It has no columns: what they would say is what the salt hides."""
        entry = NewEntry(data=data)
        self.place(0, entry)
        return entry

    def place(self, index: int, entry: NewEntry) -> None:
        """Refuses what is no commitment. Raises `MalformedEvidence`, ENTRY_INVALID."""
        if len(entry.data) != COMMITMENT_BYTES or entry.data[0] != COMMITMENT:
            raise MalformedEvidence(Reason.ENTRY_INVALID, f"leaf has {len(entry.data)} bytes, want a commitment of 33")
