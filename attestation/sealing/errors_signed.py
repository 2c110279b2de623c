# SPDX-License-Identifier: Apache-2.0
"""Signed errors: a worker's refusals that a sender may believe (docs/spec.md, 7.5).

    COSE_Sign1(receipt key, "sealbid/1 error") over {0: reason tstr, 1: session_id, 2: hh, 3: keyset_id}

An unsigned "unknown session" would let anyone on the path make the sender send the same request again. What is not
signed, or names another session or header, is a transport failure and retried at most once per worker.
"""

from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.codec.fields import numbered, octets, text
from attestation.errors import Malformed, Reason, SealingError

PURPOSE: Final = "error"

SIGNABLE: Final = frozenset(
    {
        Reason.UNKNOWN_SESSION,
        Reason.SESSION_CLOSED,
        Reason.KEY_RETIRED,
        Reason.DUPLICATE_REQUEST,
        Reason.SESSION_TABLE_FULL,
        Reason.NOT_GRANTED,
        Reason.DISPATCH_REFUSED,
        Reason.WORKER_OVERLOADED,
    }
)
"""The reasons a worker signs: after each of them it has executed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedError:
    """Why a worker refused one wrapped request; `keyset_id` names the keyset the worker uses now."""

    reason: Reason
    session_id: bytes
    header_sha256: bytes
    keyset_id: bytes

    def __post_init__(self) -> None:
        if self.reason not in SIGNABLE:
            raise Malformed(f"error.reason is {self.reason}, want one of {', '.join(sorted(SIGNABLE))}")
        for name in ("session_id", "header_sha256", "keyset_id"):
            octets(getattr(self, name), f"error.{name}", 32)

    def encode(self) -> bytes:
        """The canonical payload bytes."""
        return cbor.encode({0: self.reason.value, 1: self.session_id, 2: self.header_sha256, 3: self.keyset_id})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The error of exactly these payload bytes, unverified. Raises `Malformed`."""
        items = numbered(cbor.decode(data), "error", 4)
        name = text(items[0], "error.reason", 64)
        if name not in SIGNABLE:
            raise Malformed("error.reason is not one that is signed")
        return cls(
            reason=Reason(name),
            session_id=octets(items[1], "error.session_id"),
            header_sha256=octets(items[2], "error.header_sha256"),
            keyset_id=octets(items[3], "error.keyset_id"),
        )


def sign_error(key: Ed25519PrivateKey, error: SignedError) -> bytes:
    """The COSE_Sign1 of a refusal, by the worker's receipt key."""
    return cose.sign(key, PURPOSE, error.encode())


def open_error(data: bytes, *, receipt_key: bytes, session_id: bytes, header_sha256: bytes) -> SignedError:
    """The refusal of exactly this session and header by this worker.

    Raises:
        Malformed: the bytes are no signed error.
        NotGenuine: another key signed it.
        SealingError: it refuses another session or another request (BINDING_MISMATCH).
    """
    error = SignedError.decode(cose.verify(data, receipt_key, PURPOSE))
    if error.session_id != session_id:
        raise _mismatch("session_id", error.session_id, session_id)
    if error.header_sha256 != header_sha256:
        raise _mismatch("header_sha256", error.header_sha256, header_sha256)
    return error


def _mismatch(name: str, got: bytes, want: bytes) -> SealingError:
    return SealingError(Reason.BINDING_MISMATCH, f"error.{name} is {got.hex()}, want {want.hex()}")
