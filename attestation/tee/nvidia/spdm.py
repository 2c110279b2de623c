# SPDX-License-Identifier: Apache-2.0
"""The signed SPDM exchange NVIDIA devices hand out as evidence: request and response of GET_MEASUREMENTS (DSP0274 1.1).

    report    = request response                                   integers little-endian, exactly these bytes
    request   = 11 E0 01 FF  nonce(32)  slot=00                    all measurements, signed
    response  = 11 60 00 00  count u8  length u24  block*count  nonce(32)  length u16  field*  r(48) s(48)
    block     = index u8 (1, 2, ..)  01  size u16=51  type u8  size u16=48  digest(48)
    field     = type u16  size u16  value                          NVIDIA's own; see `report`
    signed    = everything before r, ECDSA P-384 with SHA-384, r and s big-endian

Refused: other SPDM versions and message codes and digests of another size (UNSUPPORTED), a raw bit stream in place of a
digest, indices out of order, a field type twice, any length that does not add up, any byte left over (MALFORMED).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.reader import Reader

MAX_REPORT_BYTES: Final = 16 << 10
"""Recorded reports are 2 to 4.3 KiB; the lengths inside could say up to 64 KiB of opaque fields."""

MAX_FIELDS: Final = 64
DIGEST_BYTES: Final = 48
NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 96

_REQUEST: Final = bytes.fromhex("11e001ff")
_RESPONSE: Final = bytes.fromhex("11600000")
_BLOCK_BYTES: Final = 7 + DIGEST_BYTES
_MOST_DIGEST_TYPES: Final = 0x7F
"""DSP0274 table 45: bit 7 of the value type marks a raw bit stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementExchange:
    """One request and its response, parsed but not verified.

    `digests` are the measurement blocks in order, so block 1 is `digests[0]`, which reference manifests call index 0.
    """

    nonce: bytes
    digests: tuple[bytes, ...]
    fields: Mapping[int, bytes]
    signed: bytes
    signature: bytes


def read_exchange(data: bytes, name: str) -> MeasurementExchange:
    """Exactly one exchange. Raises `MalformedEvidence` (MALFORMED or UNSUPPORTED); checks no signature."""
    reader = Reader(data, name)
    if len(data) > MAX_REPORT_BYTES:
        raise reader.malformed("size", f"{len(data)} bytes", f"at most {MAX_REPORT_BYTES}")
    _exactly(reader, _REQUEST, "request header", name)
    nonce = reader.take(NONCE_BYTES, "request nonce")
    _exactly(reader, b"\0", "request slot", name)
    _exactly(reader, _RESPONSE, "response header", name)
    digests = _digests(reader, name)
    reader.take(NONCE_BYTES, "response nonce")
    fields = _fields(Reader(reader.take(reader.little(2, "opaque length"), "opaque data"), f"{name} opaque data"))
    signed = data[: reader.offset]
    signature = reader.take(SIGNATURE_BYTES, "signature")
    reader.end()
    return MeasurementExchange(nonce=nonce, digests=digests, fields=fields, signed=signed, signature=signature)


def _digests(reader: Reader, name: str) -> tuple[bytes, ...]:
    count = reader.little(1, "block count")
    length = reader.little(3, "measurement record length")
    if length != count * _BLOCK_BYTES:
        raise _unsupported(name, f"measurement record is {length} bytes of {count} blocks", "blocks of SHA-384 digests")
    record = reader.take(length, "measurement record")
    blocks = [record[at : at + _BLOCK_BYTES] for at in range(0, length, _BLOCK_BYTES)]
    return tuple(_digest(block, index, name) for index, block in enumerate(blocks, start=1))


def _digest(block: bytes, index: int, name: str) -> bytes:
    header = bytes((index, 1, 3 + DIGEST_BYTES, 0, block[4], DIGEST_BYTES, 0))
    if block[:7] != header or block[4] > _MOST_DIGEST_TYPES:
        got = f"measurement block {index} header is {block[:7].hex()}"
        raise MalformedEvidence(Reason.MALFORMED, f"{name} {got}, want the header of a SHA-384 digest of this index")
    return block[7:]


def _fields(reader: Reader) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    while reader.left:
        kind = reader.little(2, "field type")
        if kind in fields or len(fields) == MAX_FIELDS:
            raise reader.malformed(
                "field type", f"{kind} after {len(fields)} fields", f"each once, at most {MAX_FIELDS}"
            )
        fields[kind] = reader.take(reader.little(2, "field size"), f"field {kind}")
    return fields


def _exactly(reader: Reader, want: bytes, field: str, name: str) -> None:
    got = reader.take(len(want), field)
    if got != want:
        raise _unsupported(name, f"{field} is {got.hex()}", want.hex())


def _unsupported(name: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.UNSUPPORTED, f"{name} {got}, want {want}")
