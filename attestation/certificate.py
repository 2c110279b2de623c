# SPDX-License-Identifier: Apache-2.0
"""The one question the core asks of a TLS certificate: which key is it about? (docs/spec.md, 3.4)

It does not check who signed the certificate, its names or its dates: the attested keyset pins the key itself.
"""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.errors import MalformedEvidence, Reason

MAX_CERTIFICATE_BYTES: Final = 8 << 10


def spki_sha256(certificate_der: bytes) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo. Raises `MalformedEvidence` unless it holds a P-256 key."""
    if len(certificate_der) > MAX_CERTIFICATE_BYTES:
        raise _malformed(f"{len(certificate_der)} bytes, want at most {MAX_CERTIFICATE_BYTES}")
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except Exception:  # noqa: BLE001  hostile DER makes the parser raise several unrelated types
        raise _malformed("not der, want a p-256 certificate") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _malformed("of another key type, want p-256")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _malformed(text: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"certificate is {text}")
