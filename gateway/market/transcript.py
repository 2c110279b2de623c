# SPDX-License-Identifier: Apache-2.0
"""What an auction leaves behind: its transcript, and the award a worker is dispatched under (docs/spec.md, 8.5).

    transcript = {0:"sealbid/transcript/1", 1:sequence u64, 2:gateway_id, 3:day secret commitment, 4:intent digest,
                  5:snapshot root, 6:version u64, 7:now, 8:attempt u32, 9:[excluded worker_id, ..] ascending,
                  10:terms digest, 11:walk bstr (gate code per index position), 12:winner offer_id | null,
                  13:runner-up offer_id | null, 14:price u64}
    award      = {0:"sealbid/award/1", 1:sequence u64, 2:gateway_id, 3:intent digest, 4:snapshot root, 5:version u64,
                  6:transcript digest, 7:offer_id, 8:worker_id, 9:keyset_id, 10:price u64, 11:wu_cap u64,
                  12:attempt u32, 13:now}
    transcript digest = H(L("transcript") || transcript)          award_sha256 = H(L("award") || award)
    day secret commitment = H(L("day secret") || secret)

Both are written on the request path, so the bytes are joined here directly; tests hold them equal to the general
encoder.
"""

from dataclasses import dataclass, field
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import U32_MAX, array, octets, uint
from attestation.codec.labels import DIGEST_BYTES, labelled_sha256
from attestation.errors import Malformed

TRANSCRIPT_LABEL: Final = "sealbid/transcript/1"
AWARD_LABEL: Final = "sealbid/award/1"
MAX_WALK_BYTES: Final = 1 << 20
_MAX_EXCLUDED: Final = 256
_SMALL: Final = tuple(cbor.encode(number) for number in range(256))
_TRANSCRIPT_HEAD: Final = b"\xaf\x00" + cbor.encode(TRANSCRIPT_LABEL) + b"\x01"
_AWARD_HEAD: Final = b"\xae\x00" + cbor.encode(AWARD_LABEL) + b"\x01"
_NULL: Final = b"\xf6"
_DIGEST: Final = b"\x58\x20"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Everything needed, next to the snapshot's opening, to run the auction again and get the same bytes."""

    sequence: int
    gateway_id: bytes
    secret_commitment: bytes
    intent_sha256: bytes
    snapshot_root: bytes
    version: int
    now: int
    attempt: int
    excluded: tuple[bytes, ...]
    terms_sha256: bytes
    walk: bytes
    winner: bytes | None
    runner_up: bytes | None
    price_nanos: int

    def encode(self) -> bytes:
        """The canonical bytes."""
        return b"".join(
            (
                _TRANSCRIPT_HEAD,
                _uint(self.sequence),
                b"\x02\x58\x20",
                self.gateway_id,
                b"\x03\x58\x20",
                self.secret_commitment,
                b"\x04\x58\x20",
                self.intent_sha256,
                b"\x05\x58\x20",
                self.snapshot_root,
                b"\x06",
                _uint(self.version),
                b"\x07",
                _uint(self.now),
                b"\x08",
                _uint(self.attempt),
                b"\x09",
                cbor.encode(self.excluded) if self.excluded else b"\x80",
                b"\x0a\x58\x20",
                self.terms_sha256,
                b"\x0b",
                _octets(self.walk),
                b"\x0c",
                _NULL if self.winner is None else _DIGEST + self.winner,
                b"\x0d",
                _NULL if self.runner_up is None else _DIGEST + self.runner_up,
                b"\x0e",
                _uint(self.price_nanos),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "Transcript":
        """The transcript of exactly these bytes. Does not check that any auction ran so. Raises `Malformed`."""
        fields = cbor.decode_map(data, TRANSCRIPT_LABEL, 15)
        excluded = tuple(octets(e, "excluded", DIGEST_BYTES) for e in array(fields[9], "excluded", _MAX_EXCLUDED))
        if list(excluded) != sorted(set(excluded)):
            raise Malformed("transcript excluded is not ascending and unique")
        return cls(
            sequence=uint(fields[1], "transcript sequence"),
            gateway_id=octets(fields[2], "transcript gateway_id", DIGEST_BYTES),
            secret_commitment=octets(fields[3], "transcript secret commitment", DIGEST_BYTES),
            intent_sha256=octets(fields[4], "transcript intent digest", DIGEST_BYTES),
            snapshot_root=octets(fields[5], "transcript snapshot root", DIGEST_BYTES),
            version=uint(fields[6], "transcript version"),
            now=uint(fields[7], "transcript now"),
            attempt=uint(fields[8], "transcript attempt", U32_MAX),
            excluded=excluded,
            terms_sha256=octets(fields[10], "transcript terms digest", DIGEST_BYTES),
            walk=octets(fields[11], "transcript walk", maximum=MAX_WALK_BYTES),
            winner=_optional(fields[12], "transcript winner"),
            runner_up=_optional(fields[13], "transcript runner-up"),
            price_nanos=uint(fields[14], "transcript price"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """The right to serve one attempt at one price. `encoded` and `sha256` are derived once, at construction."""

    sequence: int
    gateway_id: bytes
    intent_sha256: bytes
    snapshot_root: bytes
    version: int
    transcript_sha256: bytes
    offer_id: bytes
    worker_id: bytes
    keyset_id: bytes
    price_nanos: int
    """Per 1,000 work units."""
    wu_cap: int
    attempt: int
    now: int
    encoded: bytes = field(init=False, repr=False, compare=False)
    sha256: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        encoded = self._encode()
        object.__setattr__(self, "encoded", encoded)
        object.__setattr__(self, "sha256", labelled_sha256("award", encoded))

    def _encode(self) -> bytes:
        return b"".join(
            (
                _AWARD_HEAD,
                _uint(self.sequence),
                b"\x02\x58\x20",
                self.gateway_id,
                b"\x03\x58\x20",
                self.intent_sha256,
                b"\x04\x58\x20",
                self.snapshot_root,
                b"\x05",
                _uint(self.version),
                b"\x06\x58\x20",
                self.transcript_sha256,
                b"\x07\x58\x20",
                self.offer_id,
                b"\x08\x58\x20",
                self.worker_id,
                b"\x09\x58\x20",
                self.keyset_id,
                b"\x0a",
                _uint(self.price_nanos),
                b"\x0b",
                _uint(self.wu_cap),
                b"\x0c",
                _uint(self.attempt),
                b"\x0d",
                _uint(self.now),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "Award":
        """The award of exactly these bytes. Does not check who made it. Raises `Malformed`."""
        fields = cbor.decode_map(data, AWARD_LABEL, 14)
        return cls(
            sequence=uint(fields[1], "award sequence"),
            gateway_id=octets(fields[2], "award gateway_id", DIGEST_BYTES),
            intent_sha256=octets(fields[3], "award intent digest", DIGEST_BYTES),
            snapshot_root=octets(fields[4], "award snapshot root", DIGEST_BYTES),
            version=uint(fields[5], "award version"),
            transcript_sha256=octets(fields[6], "award transcript digest", DIGEST_BYTES),
            offer_id=octets(fields[7], "award offer_id", DIGEST_BYTES),
            worker_id=octets(fields[8], "award worker_id", DIGEST_BYTES),
            keyset_id=octets(fields[9], "award keyset_id", DIGEST_BYTES),
            price_nanos=uint(fields[10], "award price"),
            wu_cap=uint(fields[11], "award wu_cap"),
            attempt=uint(fields[12], "award attempt", U32_MAX),
            now=uint(fields[13], "award now"),
        )


def transcript_sha256(encoded: bytes) -> bytes:
    """The digest an award cites its transcript by."""
    return labelled_sha256("transcript", encoded)


def secret_commitment(secret: bytes) -> bytes:
    """What is logged of a day secret before the day, and opened the day after."""
    return labelled_sha256("day secret", secret)


def _optional(item: cbor.Item, name: str) -> bytes | None:
    return None if item is None else octets(item, name, DIGEST_BYTES)


def _uint(value: int) -> bytes:
    return _SMALL[value] if value < 256 else cbor.encode(value)


def _octets(value: bytes) -> bytes:
    return bytes((0x40 | len(value),)) + value if len(value) < 24 else cbor.encode(value)
