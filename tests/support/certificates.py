# SPDX-License-Identifier: Apache-2.0
"""Certificates over keys of a test's choice, also those that nobody should pin."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from attestation.errors import Reason
from attestation.rpc.pinning import GATEWAY_NAME, TLSIdentity


def unfit_certificates(identity: TLSIdentity) -> dict[bytes, Reason]:
    """Certificates over this identity's own key that are not fit to be pinned, with the reason of their refusal."""
    key = load_key(identity)
    issuing = certificate(key, ca=True)
    foreign = certificate(key, signer=ec.generate_private_key(ec.SECP256R1()))
    return {
        issuing.public_bytes(Encoding.DER): Reason.MALFORMED,
        without_version(identity): Reason.MALFORMED,
        foreign.public_bytes(Encoding.DER): Reason.SIGNATURE_INVALID,
    }


def without_version(identity: TLSIdentity) -> bytes:
    """The certificate with extensions but no version, which lenient parsers read and strict ones do not."""
    der, version = bytearray(identity.certificate_der), bytes.fromhex("a003020102")
    at = der.index(version)
    del der[at : at + len(version)]
    for length in (2, at - 2):  # of the certificate and of what is signed, two bytes each
        assert der[length - 1] == 0x82
        der[length : length + 2] = (int.from_bytes(der[length : length + 2], "big") - len(version)).to_bytes(2, "big")
    return bytes(der)


def load_key(identity: TLSIdentity) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(identity.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    *,
    signer: ec.EllipticCurvePrivateKey | None = None,
    issuer: x509.Name | None = None,
    subject: str = "name",
    ca: bool = False,
) -> x509.Certificate:
    """A certificate over `key`, self-signed unless `signer` is another."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signing = signer or key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(GATEWAY_NAME)]), critical=False)
        .sign(signing, algorithm)
    )
