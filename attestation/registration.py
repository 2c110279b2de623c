# SPDX-License-Identifier: Apache-2.0
"""What a worker and a gateway sign when they enter: proof that the keys are theirs (docs/spec.md, 3.6, ruling 5).

Registration  COSE_Sign1(receipt key, "register") over {0:"sealbid/register/1", 1:binding_digest,
              2:SHA-256(certificate), 3:endpoint tstr}
Enrolment     COSE_Sign1(signing key, "gateway-enrol") over {0:"sealbid/gateway-enrol/1", 1:SHA-256(certificate)}
"""

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.errors import NotGenuine, Reason

MAX_ENDPOINT_CHARACTERS: Final = 255
_REGISTER, _ENROL = "sealbid/register/1", "sealbid/gateway-enrol/1"


def sign_registration(
    receipt_key: Ed25519PrivateKey, binding_digest: bytes, certificate_der: bytes, endpoint: str
) -> bytes:
    """The registration a worker sends beside its bundle."""
    return cose.sign(receipt_key, "register", _registration(binding_digest, certificate_der, endpoint))


def check_registration(
    data: bytes, receipt_key: bytes, binding_digest: bytes, certificate_der: bytes, endpoint: str
) -> None:
    """Checks that the holder of `receipt_key` registers exactly this binding, certificate and endpoint.

    Raises:
        Malformed: the bytes do not parse.
        NotGenuine: another key signed, or something else is registered (BINDING_MISMATCH).
    """
    payload = cose.verify(data, receipt_key, "register")
    if payload != _registration(binding_digest, certificate_der, endpoint):
        raise NotGenuine(
            Reason.BINDING_MISMATCH, "registration is for another binding, certificate or endpoint than presented"
        )


def sign_enrolment(signing_key: Ed25519PrivateKey, certificate_der: bytes) -> bytes:
    """The enrolment a gateway sends with its keys."""
    return cose.sign(signing_key, "gateway-enrol", _enrolment(certificate_der))


def check_enrolment(data: bytes, signing_key: bytes, certificate_der: bytes) -> None:
    """Checks that the holder of `signing_key` enrols exactly this certificate. Raises `Malformed` or `NotGenuine`."""
    if cose.verify(data, signing_key, "gateway-enrol") != _enrolment(certificate_der):
        raise NotGenuine(Reason.BINDING_MISMATCH, "enrolment is for another certificate than presented")


def _registration(binding_digest: bytes, certificate_der: bytes, endpoint: str) -> bytes:
    return cbor.encode({0: _REGISTER, 1: binding_digest, 2: hashlib.sha256(certificate_der).digest(), 3: endpoint})


def _enrolment(certificate_der: bytes) -> bytes:
    return cbor.encode({0: _ENROL, 1: hashlib.sha256(certificate_der).digest()})
