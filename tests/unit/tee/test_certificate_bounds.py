# SPDX-License-Identifier: Apache-2.0
"""What a certificate may cost whoever reads it."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.certificates import MAX_RSA_BITS, read_certificate

SIGNER = ec.generate_private_key(ec.SECP256R1())


def over_rsa(bits: int) -> bytes:
    """A certificate over an RSA key of this size, whose private half nobody has."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "large")])
    key = rsa.RSAPublicNumbers((1 << 64) - 1, (1 << bits) - 1).public_key()
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key).serial_number(1)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    return builder.sign(SIGNER, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_largest_key_of_a_vendor_is_read() -> None:
    """AMD's and some TPM makers' keys have 4,096 bits."""
    key = read_certificate(over_rsa(MAX_RSA_BITS), "certificate").public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == MAX_RSA_BITS


@pytest.mark.parametrize("bits", [MAX_RSA_BITS + 1, 16_384])
def test_a_key_that_makes_every_check_dear_is_unsupported(bits: int) -> None:
    """Forged issuers with such keys would cost milliseconds each, and come by the dozen."""
    with pytest.raises(MalformedEvidence) as refused:
        read_certificate(over_rsa(bits), "certificate")
    assert refused.value.reason is Reason.UNSUPPORTED
