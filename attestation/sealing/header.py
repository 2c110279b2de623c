# SPDX-License-Identifier: Apache-2.0
"""The request header: a caller's limits in the clear, immutable, whose hash enters every key (docs/spec.md, 5.1).

It names a model and limits; never a tenant, a shape, a tensor, an award or the candidates. Refused: an unknown method,
a quantum that is not a multiple of 512 within one frame, and any field of another size.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from attestation.codec import cbor
from attestation.codec.cbor import Item, decode_map, encode_map
from attestation.codec.fields import U16_MAX, octets, text, uint
from attestation.codec.labels import label, sha256
from attestation.errors import Malformed
from attestation.sealing.schedule import TAG_BYTES

LABEL: Final = "sealbid/request/1"
QUANTUM: Final = 512
MAX_FRAME_BYTES: Final = 1 << 20
MAX_PADDED_BYTES: Final = (MAX_FRAME_BYTES - TAG_BYTES) // QUANTUM * QUANTUM
MAX_CONSTRAINTS_BYTES: Final = 4096
MAX_HEADER_BYTES: Final = 8192
NO_CONSTRAINTS: Final = cbor.encode({})
REQUEST_ID_BYTES: Final = 16
_REQUEST: Final = label("request")


class Method(IntEnum):
    """Which call is sealed; it decides how the response is padded."""

    INFER = 1
    STREAM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What a caller asks and the limits it seals: a worker refuses every dispatch outside them.

    Raises:
        Malformed: a field of the wrong size or a quantum that is no multiple of 512.
    """

    method: Method
    model: str
    intent_sha256: bytes
    policy_sha256: bytes
    max_price_nanos: int
    expires: int
    constraints: bytes = NO_CONSTRAINTS
    req_quantum: int = QUANTUM
    resp_quantum: int = QUANTUM
    flush_ms: int = 0

    def __post_init__(self) -> None:
        text(self.model, "header.model")
        octets(self.intent_sha256, "header.intent_sha256", 32)
        octets(self.policy_sha256, "header.policy_sha256", 32)
        uint(self.max_price_nanos, "header.max_price_nanos")
        uint(self.expires, "header.expires")
        octets(self.constraints, "header.constraints", maximum=MAX_CONSTRAINTS_BYTES)
        _check_quantum(self.req_quantum, "header.req_quantum")
        _check_quantum(self.resp_quantum, "header.resp_quantum")
        uint(self.flush_ms, "header.flush_ms", U16_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One request's header (B6), checked and encoded when made. Raises `Malformed`."""

    request_id: bytes
    limits: RequestLimits
    salt: bytes
    cek_commit: bytes
    _encoded: bytes = field(default=b"", repr=False, compare=False)
    _digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        octets(self.request_id, "header.request_id", REQUEST_ID_BYTES)
        octets(self.salt, "header.salt", 16)
        octets(self.cek_commit, "header.cek_commit", 32)
        # Decoding passes the bytes as received, which strict CBOR has shown to be the only ones of this value.
        encoded = self._encoded or self._canonical()
        object.__setattr__(self, "_encoded", encoded)
        object.__setattr__(self, "_digest", sha256(_REQUEST + encoded))

    def _canonical(self) -> bytes:
        limits = self.limits
        return encode_map(
            LABEL,
            self.request_id,
            int(limits.method),
            limits.model,
            limits.intent_sha256,
            limits.policy_sha256,
            limits.max_price_nanos,
            limits.constraints,
            limits.expires,
            self.salt,
            self.cek_commit,
            limits.req_quantum,
            limits.resp_quantum,
            limits.flush_ms,
        )

    def encode(self) -> bytes:
        """The canonical bytes."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The header of exactly these bytes. Raises `Malformed`."""
        if len(data) > MAX_HEADER_BYTES:
            raise Malformed(f"header has {len(data)} bytes, want at most {MAX_HEADER_BYTES}")
        items = decode_map(data, LABEL, 14)
        return cls(
            request_id=octets(items[1], "header.request_id"),
            limits=RequestLimits(
                method=_method(items[2]),
                model=text(items[3], "header.model"),
                intent_sha256=octets(items[4], "header.intent_sha256"),
                policy_sha256=octets(items[5], "header.policy_sha256"),
                max_price_nanos=uint(items[6], "header.max_price_nanos"),
                constraints=octets(items[7], "header.constraints"),
                expires=uint(items[8], "header.expires"),
                req_quantum=uint(items[11], "header.req_quantum"),
                resp_quantum=uint(items[12], "header.resp_quantum"),
                flush_ms=uint(items[13], "header.flush_ms"),
            ),
            salt=octets(items[9], "header.salt"),
            cek_commit=octets(items[10], "header.cek_commit"),
            _encoded=data,
        )

    @property
    def digest(self) -> bytes:
        """`hh = H(L("request") || header)`."""
        return self._digest


def _method(item: Item) -> Method:
    value = uint(item, "header.method", 255)
    try:
        return Method(value)
    except ValueError:
        raise Malformed(f"header.method is {value}, want 1 or 2") from None


def _check_quantum(value: int, name: str) -> None:
    if value % QUANTUM or not QUANTUM <= value <= MAX_PADDED_BYTES:
        raise Malformed(f"{name} is {value}, want a multiple of {QUANTUM} up to {MAX_PADDED_BYTES}")
