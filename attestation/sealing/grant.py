# SPDX-License-Identifier: Apache-2.0
"""Grant: a gateway's signature that a control session is its own (docs/spec.md, 4.5).

    COSE_Sign1(gateway key, "sealbid/1 grant") over {0: gateway_id, 1: session_id, 2: key_id, 3: expires}

HPKE tells the worker that somebody knows the session's secret; the grant tells it who. It is the first message of a
gateway's control session, and without it the worker performs no key encapsulation. Refused: a grant for another
gateway, an expired one, and a signature by another key.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.codec.fields import numbered, octets, uint
from attestation.errors import Reason, SealingError

PURPOSE: Final = "grant"
MAX_GRANTS: Final = 16
"""Grants one transport may hold: a control session per generation and suite, with room for a reconnecting gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The session and key a gateway vouches for. Raises `Malformed` for a field of the wrong size."""

    gateway_id: bytes
    session_id: bytes
    key_id: bytes
    expires: int

    def __post_init__(self) -> None:
        for name in ("gateway_id", "session_id", "key_id"):
            octets(getattr(self, name), f"grant.{name}", 32)
        uint(self.expires, "grant.expires")

    def encode(self) -> bytes:
        """The canonical payload bytes."""
        return cbor.encode({0: self.gateway_id, 1: self.session_id, 2: self.key_id, 3: self.expires})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The grant of exactly these payload bytes, unverified. Raises `Malformed`."""
        items = numbered(cbor.decode(data), "grant", 4)
        return cls(
            gateway_id=octets(items[0], "grant.gateway_id"),
            session_id=octets(items[1], "grant.session_id"),
            key_id=octets(items[2], "grant.key_id"),
            expires=uint(items[3], "grant.expires"),
        )


def sign_grant(key: Ed25519PrivateKey, grant: Grant) -> bytes:
    """The COSE_Sign1 of a grant, by the gateway's key."""
    return cose.sign(key, PURPOSE, grant.encode())


def open_grant(data: bytes, public_key: bytes) -> Grant:
    """The grant signed by this gateway key; its expiry and gateway are `GrantedTransport`'s business.

    Raises:
        Malformed: the bytes are no grant.
        NotGenuine: another key signed it.
    """
    return Grant.decode(cose.verify(data, public_key, PURPOSE))


class GrantedTransport:
    """The grants that arrived on one authenticated connection; one per connection, used by one task at a time."""

    __slots__ = ("_grants", "_public_key", "gateway_id")

    def __init__(self, *, gateway_id: bytes, gateway_key: bytes) -> None:
        """`gateway_key` is the Ed25519 key that the transport's authentication led to."""
        self.gateway_id = gateway_id
        self._public_key = gateway_key
        self._grants: dict[bytes, Grant] = {}

    def admit(self, data: bytes, *, now: datetime) -> Grant:
        """Verifies a grant and remembers it for this connection; the oldest makes room beyond `MAX_GRANTS`.

        Raises:
            Malformed, NotGenuine: see `open_grant`.
            SealingError: NOT_GRANTED, for another gateway's grant or an expired one.
        """
        grant = open_grant(data, self._public_key)
        if grant.gateway_id != self.gateway_id:
            raise _refused("gateway_id", grant.gateway_id.hex(), self.gateway_id.hex())
        if grant.expires <= now.timestamp():
            raise _refused("expires", str(grant.expires), f"later than {int(now.timestamp())}")
        self._grants.pop(grant.session_id, None)
        self._grants[grant.session_id] = grant
        if len(self._grants) > MAX_GRANTS:
            del self._grants[next(iter(self._grants))]
        return grant

    def granted(self, now: datetime) -> tuple[Grant, ...]:
        """The grants still valid, newest first."""
        at = now.timestamp()
        return tuple(grant for grant in reversed(self._grants.values()) if grant.expires > at)

    def require(self, session_id: bytes, key_id: bytes, *, now: datetime) -> None:
        """Accepts a control session that this transport's gateway vouched for.

        Raises:
            SealingError: NOT_GRANTED.
        """
        grant = self._grants.get(session_id)
        if grant is None or grant.key_id != key_id or grant.expires <= now.timestamp():
            raise SealingError(
                Reason.NOT_GRANTED, "control session has no valid grant on this transport, want one first"
            )

    def require_any(self, *, now: datetime) -> None:
        """Accepts a sealed client's session on a transport with at least one valid grant.

        Raises:
            SealingError: NOT_GRANTED.
        """
        if not self.granted(now):
            raise SealingError(Reason.NOT_GRANTED, "transport has no granted control session, want one first")


def _refused(name: str, got: str, want: str) -> SealingError:
    return SealingError(Reason.NOT_GRANTED, f"grant.{name} is {got}, want {want}")
