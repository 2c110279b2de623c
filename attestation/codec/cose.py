# SPDX-License-Identifier: Apache-2.0
"""COSE_Sign1 with Ed25519 and a purpose in external_aad (RFC 9052 section 4; docs/spec.md, 1.4).

    COSE_Sign1 = [ protected: bstr .cbor {1: -8}, unprotected: {}, payload: bstr, signature: bstr(64) ]      untagged
    signed     = [ "Signature1", protected, external_aad: "sealbid/1 " || purpose, payload ]

The bytes are refused unless they are exactly what `sign` would have written, so a signed object has one form.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attestation.codec import cbor
from attestation.codec.fields import array, octets
from attestation.errors import Malformed, NotGenuine, Reason

_PROTECTED: Final = cbor.encode({1: -8})
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign1:
    """A parsed COSE_Sign1 whose signature is not yet verified."""

    payload: bytes
    signature: bytes


def sign(key: Ed25519PrivateKey, purpose: str, payload: bytes) -> bytes:
    """The COSE_Sign1 of `payload` for `purpose`, for example "offer"."""
    return cbor.encode([_PROTECTED, {}, payload, key.sign(_to_be_signed(purpose, payload))])


def parse(data: bytes, name: str = "cose_sign1") -> Sign1:
    """The parts, unverified. Raises `Malformed`."""
    parts = array(cbor.decode(data), name, 4)
    if len(parts) != 4 or parts[0] != _PROTECTED or parts[1] != {}:
        raise Malformed(f"{name} is not a COSE_Sign1 with alg EdDSA and an empty unprotected header")
    return Sign1(payload=octets(parts[2], name), signature=octets(parts[3], name, SIGNATURE_BYTES))


def verify(data: bytes, public_key: bytes, purpose: str, reason: Reason = Reason.SIGNATURE_INVALID) -> bytes:
    """The payload of a COSE_Sign1 made by `public_key` (32 bytes) for `purpose`.

    Raises:
        Malformed: the bytes are no COSE_Sign1 of this form.
        NotGenuine: the signature does not hold (with `reason`).
    """
    parsed = parse(data, purpose)
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(parsed.signature, _to_be_signed(purpose, parsed.payload))
    except (InvalidSignature, ValueError):
        raise NotGenuine(reason, f"{purpose} signature does not verify under the expected key") from None
    return parsed.payload


def _to_be_signed(purpose: str, payload: bytes) -> bytes:
    return cbor.encode(["Signature1", _PROTECTED, b"sealbid/1 " + purpose.encode(), payload])
