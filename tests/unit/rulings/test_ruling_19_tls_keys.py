# SPDX-License-Identifier: Apache-2.0
"""Ruling 19: the TLS key is P-256 and bound by its SPKI; a key that common stacks cannot use is refused."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from attestation.certificate import spki_sha256
from attestation.codec.labels import sha256
from attestation.errors import Malformed, MalformedEvidence
from attestation.rpc.pinning import check_certificate
from enclave.keys import KeyCustody


@pytest.fixture(scope="module")
def ed25519_certificate() -> bytes:
    """A self-signed certificate of an Ed25519 key, otherwise as ours are."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )


def test_ruling_19_an_ed25519_certificate_is_neither_registered_nor_pinned(ed25519_certificate: bytes) -> None:
    """Registering it and pinning it are both refused: a bound key that cannot be used would be decoration."""
    with pytest.raises(MalformedEvidence):
        spki_sha256(ed25519_certificate)
    with pytest.raises(Malformed):
        check_certificate(ed25519_certificate)


def test_ruling_19_a_workers_keyset_binds_the_key_it_shows() -> None:
    """A worker's certificate is of a P-256 key, and its keyset holds the digest of exactly that key's SPKI."""
    custody = KeyCustody()
    key = x509.load_der_x509_certificate(custody.tls.certificate_der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    spki = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert custody.propose().tls_spki_sha256 == spki == spki_sha256(custody.tls.certificate_der)
