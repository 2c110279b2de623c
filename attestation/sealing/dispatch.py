# SPDX-License-Identifier: Apache-2.0
"""Dispatch: what the gateway promises a worker for one attempt, under a tag of the control session (docs/spec.md, 5.5).

    tag = HMAC-SHA256(Exp(prk_control, "dispatch key", "", 32), L("dispatch") || dispatch)
    dd  = H(L("dispatch") || dispatch)                              the worker signs dd in its half

The award travels here and not in the sealed header, so failover may clear again without the caller; the worker refuses
whatever lies outside the limits the caller sealed.
"""

from dataclasses import dataclass
from typing import Final, Self

from attestation.codec.cbor import decode_map, encode_map
from attestation.codec.fields import U32_MAX, octets, uint
from attestation.codec.labels import equal, hmac_sha256, label, sha256
from attestation.errors import Malformed, Reason, Tampered
from attestation.sealing.digest_fields import DigestFields

LABEL: Final = "sealbid/dispatch/1"
MAX_DISPATCH_BYTES: Final = 1024
_DISPATCH: Final = label("dispatch")
_DIGESTS: Final = DigestFields(
    "dispatch", "header_sha256", "session_id", "award_sha256", "offer_id", "gateway_id", "key_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One attempt: which wrapped request, for which award and price, by which gateway, to which key (B11).

    `deadline_ms` is the time left when it was sent, which the worker counts down on its monotonic clock.

    Raises:
        Malformed: a field of the wrong size.
    """

    header_sha256: bytes
    session_id: bytes
    counter: int
    attempt: int
    award_sha256: bytes
    offer_id: bytes
    price_nanos: int
    gateway_id: bytes
    key_id: bytes
    deadline_ms: int

    def __post_init__(self) -> None:
        _DIGESTS.check(self)
        uint(self.counter, "dispatch.counter")
        uint(self.attempt, "dispatch.attempt", U32_MAX)
        uint(self.price_nanos, "dispatch.price_nanos")
        uint(self.deadline_ms, "dispatch.deadline_ms", U32_MAX)

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode_map(
            LABEL,
            self.header_sha256,
            self.session_id,
            self.counter,
            self.attempt,
            self.award_sha256,
            self.offer_id,
            self.price_nanos,
            self.gateway_id,
            self.key_id,
            self.deadline_ms,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The dispatch of exactly these bytes; its tag is `check_tag`'s business. Raises `Malformed`."""
        if len(data) > MAX_DISPATCH_BYTES:
            raise Malformed(f"dispatch has {len(data)} bytes, want at most {MAX_DISPATCH_BYTES}")
        items = decode_map(data, LABEL, 11)
        return cls(
            header_sha256=octets(items[1], "dispatch.header_sha256"),
            session_id=octets(items[2], "dispatch.session_id"),
            counter=uint(items[3], "dispatch.counter"),
            attempt=uint(items[4], "dispatch.attempt"),
            award_sha256=octets(items[5], "dispatch.award_sha256"),
            offer_id=octets(items[6], "dispatch.offer_id"),
            price_nanos=uint(items[7], "dispatch.price_nanos"),
            gateway_id=octets(items[8], "dispatch.gateway_id"),
            key_id=octets(items[9], "dispatch.key_id"),
            deadline_ms=uint(items[10], "dispatch.deadline_ms"),
        )

    @property
    def digest(self) -> bytes:
        """`dd`, the digest by which the worker's half names this dispatch."""
        return digest_of(self.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDispatch:
    """A dispatch as it travels: its bytes, their tag, and `dd`."""

    dispatch: bytes
    tag: bytes
    digest: bytes


def digest_of(dispatch: bytes) -> bytes:
    """`dd = H(L("dispatch") || dispatch)` of the bytes as received."""
    return sha256(_DISPATCH + dispatch)


def authenticate(key: bytes, dispatch: bytes) -> bytes:
    """The tag of these bytes under a control session's dispatch key."""
    return hmac_sha256(key, _DISPATCH + dispatch)


def check_tag(keys: tuple[bytes, ...], dispatch: bytes, tag: bytes) -> None:
    """Accepts a tag made under one of the transport's control sessions.

    Raises:
        Tampered: none of the keys made it (DISPATCH_REFUSED).
    """
    if not any(equal(authenticate(key, dispatch), tag) for key in keys):
        raise Tampered(Reason.DISPATCH_REFUSED, "dispatch.tag does not verify under a granted control session")
