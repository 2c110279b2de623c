# SPDX-License-Identifier: Apache-2.0
"""Stored OCSP responses: what NVIDIA said of one certificate, at a time, kept by whoever sends the evidence (RFC 6960).

A response is about one certificate, found by the hashes of its issuer's name and key and by its serial number. It
counts only if its signer is that issuer or was delegated by it directly (OCSPSigning). A nonce, if any, is not
compared: these responses were asked for by somebody else.

Refused: answers other than successful, several answers in one, unknown critical extensions (UNSUPPORTED), answers that
never end. NVIDIA answers for the BROM certificate and those above it; its answer for a leaf is "unauthorized".
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import der_of, is_plain, quietly, read_certificate

MAX_RESPONSE_BYTES: Final = 16 << 10
MAX_CERTIFICATES: Final = 4
_HASHES: Final[Mapping[str, Callable[[], SHA1 | SHA256 | SHA384 | SHA512]]] = {
    "sha1": SHA1,  # names a certificate, as RFC 5019 has it; nothing rests on it
    "sha256": SHA256,
    "sha384": SHA384,
    "sha512": SHA512,
}
_SIGNATURE_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """One response, parsed but not verified. `sha256` is of its DER."""

    response: ocsp.OCSPResponse
    sha256: bytes
    this_update: datetime
    next_update: datetime

    @classmethod
    def read(cls, der: bytes) -> "StoredResponse":
        """Exactly one successful response of at most 16 KiB. Raises `MalformedEvidence`."""
        if not 0 < len(der) <= MAX_RESPONSE_BYTES:
            raise _malformed(f"{len(der)} bytes", f"1..{MAX_RESPONSE_BYTES}")
        try:
            response = ocsp.load_der_ocsp_response(der)
            if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                raise _malformed(response.response_status.name.lower(), "successful")
            with quietly():
                _check_form(response)
            this_update, next_update = response.this_update_utc, response.next_update_utc
        except UnsupportedAlgorithm:
            raise _unsupported("of an unknown algorithm", "ECDSA with a SHA-2 digest") from None
        except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise _malformed(f"no response ({type(error).__name__})", "one DER response") from None
        _check_whole_bytes(der, response.signature)
        if next_update is None or next_update < this_update:
            raise _malformed("without an end, or ends before it begins", "a time of validity")
        digest = hashlib.sha256(der).digest()
        return cls(response=response, sha256=digest, this_update=this_update, next_update=next_update)

    def concerns(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Whether the response is about `certificate`, issued by `issuer`."""
        response = self.response
        if response.serial_number != certificate.serial_number:
            return False
        make = _HASHES[response.hash_algorithm.name]
        key = issuer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        names = _digest(make(), issuer.subject.public_bytes()), _digest(make(), point)
        return names == (response.issuer_name_hash, response.issuer_key_hash)

    def verify(self, issuer: x509.Certificate) -> x509.Certificate:
        """The certificate that signed the response: the issuer, or one it delegated to; judges no time.

        Raises `NotGenuine`: CHAIN_INVALID for a responder without delegation, SIGNATURE_INVALID for the signature.
        """
        signer = _responder(self.response, issuer)
        algorithm = self.response.signature_hash_algorithm
        key = signer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or algorithm is None:
            raise NotGenuine(Reason.SIGNATURE_INVALID, "ocsp response is not signed by ECDSA, want it so")
        try:
            key.verify(self.response.signature, self.response.tbs_response_bytes, ec.ECDSA(algorithm))
        except InvalidSignature:
            raise NotGenuine(Reason.SIGNATURE_INVALID, "ocsp response signature does not hold, want it to") from None
        return signer


def _check_form(response: ocsp.OCSPResponse) -> None:
    # Everything the library parses lazily is touched here, so that nothing fails later.
    if len(list(response.responses)) != 1 or len(response.certificates) > MAX_CERTIFICATES:
        raise _unsupported("several answers or certificates", f"one answer, at most {MAX_CERTIFICATES} certificates")
    if response.hash_algorithm.name not in _HASHES:
        raise _unsupported(f"by {response.hash_algorithm.name}", f"one of {', '.join(_HASHES)}")
    algorithm = response.signature_hash_algorithm
    if algorithm is None or algorithm.name not in _SIGNATURE_HASHES:
        raise _unsupported("signed over another digest", f"one of {', '.join(sorted(_SIGNATURE_HASHES))}")
    if any(extension.critical for extension in (*response.extensions, *response.single_extensions)):
        raise _unsupported("with a critical extension", "none")
    for certificate in response.certificates:
        read_certificate(der_of(certificate), "ocsp responder")
    if response.responder_name is not None and not is_plain(response.responder_name):
        raise _malformed("by a responder of an odd name", "one of the lengths that X.520 allows")
    _ = response.produced_at_utc
    _ = response.certificate_status, response.revocation_reason, response.revocation_time_utc


def _check_whole_bytes(der: bytes, signature: bytes) -> None:
    # Nothing covers the count of unused bits before the signature: any but 0 would be a second form of the answer.
    if b"\0" + signature not in der:
        raise _malformed("signed with a part of a byte", "a signature of whole bytes")


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate:
    for certificate in response.certificates:
        if _is_named(response, certificate) and _is_delegate(certificate, issuer):
            return certificate
    if _is_named(response, issuer):
        return issuer
    raise NotGenuine(Reason.CHAIN_INVALID, "ocsp responder has no delegation of the issuer, want one")


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return certificate.subject == response.responder_name
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _digest(SHA1(), point) == response.responder_key_hash  # noqa: S303  # RFC 6960, 4.2.1


def _is_delegate(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _digest(algorithm: SHA1 | SHA256 | SHA384 | SHA512, data: bytes) -> bytes:
    digest = Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _malformed(got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"ocsp response is {got}, want {want}")


def _unsupported(got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.UNSUPPORTED, f"ocsp response is {got}, want {want}")
