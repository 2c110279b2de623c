# SPDX-License-Identifier: Apache-2.0
"""What the core asks of a TLS certificate: which key is it about, and is it fit to be pinned? (docs/spec.md, 3.4, 11.1)

It does not ask its names or dates: the attested keyset pins the key itself. Fit is a self-signed version 3 certificate
over a P-256 key that may not issue others; any other would be left out of every handshake, so nobody admits its holder.
"""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.errors import MalformedEvidence, NotGenuine, Reason

MAX_CERTIFICATE_BYTES: Final = 8 << 10


def spki_sha256(certificate_der: bytes) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo. Raises `MalformedEvidence` unless it holds a P-256 key."""
    return _digest(_load(certificate_der))


def pinnable_spki_sha256(certificate_der: bytes) -> bytes:
    """The same of a certificate fit to be pinned. Does not say whose it is.

    Raises:
        MalformedEvidence: no certificate, not P-256, not of version 3, or one that may issue others.
        NotGenuine: not signed by its own key.
    """
    certificate = _load(certificate_der)
    digest = _digest(certificate)
    if certificate.version is not x509.Version.v3:
        raise _malformed("not of version 3, want that version")
    if _may_issue(certificate):
        raise _malformed("one that may issue others, want basicConstraints ca false")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        raise NotGenuine(Reason.SIGNATURE_INVALID, "certificate is signed by another, want by its own key") from None
    return digest


def _load(certificate_der: bytes) -> x509.Certificate:
    if len(certificate_der) > MAX_CERTIFICATE_BYTES:
        raise _malformed(f"{len(certificate_der)} bytes, want at most {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        certificate.public_key()
    except Exception:  # noqa: BLE001  hostile DER makes the parser raise several unrelated types
        raise _malformed("not der, want a p-256 certificate") from None
    return certificate


def _digest(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _malformed("of another key type, want p-256")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return True
    except Exception:  # noqa: BLE001  extensions are parsed here, and hostile ones raise several unrelated types
        raise _malformed("of unreadable extensions, want those of version 3") from None


def _malformed(text: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"certificate is {text}")
