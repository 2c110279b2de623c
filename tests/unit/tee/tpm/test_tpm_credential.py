# SPDX-License-Identifier: Apache-2.0
"""Credentials sealed to endorsement keys, opened by an independent reading of the specification."""

import hashlib

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import MalformedEvidence, Reason
from attestation.registry.activation import Activations
from attestation.tee.tpm.credential import PROOF_BYTES, AttestationKey, activation_proof, make_credential
from tests.support.fake_tpm import an_ak, good, open_credential, private
from tests.support.worlds import Entropy

SECRET = hashlib.sha256(b"secret").digest()
KEYS = ("ek", "rsa3072-ek", "p256-ek", "p384-ek")


@pytest.mark.parametrize("name", KEYS)
def test_the_tpm_of_the_key_opens_the_credential(name: str) -> None:
    """RSA and ECDH, small and large keys."""
    credential = make_credential(private(name).public_key(), an_ak().name, SECRET, Entropy())
    assert open_credential(private(name), an_ak().name, credential) == SECRET


@pytest.mark.parametrize("name", KEYS)
def test_another_attestation_key_does_not_open_it(name: str) -> None:
    """The name of the key is in the credential's integrity."""
    credential = make_credential(private(name).public_key(), an_ak().name, SECRET, Entropy())
    with pytest.raises(ValueError, match="integrity"):
        open_credential(private(name), an_ak(key=private("p256-other")).name, credential)


@pytest.mark.parametrize("name", KEYS)
def test_another_tpm_does_not_open_it(name: str) -> None:
    """Only the endorsement key it was sealed to."""
    credential = make_credential(private(name).public_key(), an_ak().name, SECRET, Entropy())
    with pytest.raises((ValueError, InvalidTag)):
        open_credential(private(f"{name}-of-another"), an_ak().name, credential)


def test_a_proof_is_of_one_secret_nonce_and_pair_of_keys() -> None:
    """Each input changes it, also where bytes move from one to its neighbour."""
    base = {"verifier_nonce": b"n" * 32, "ak_name": b"\0\x0b" + b"a" * 32, "ek_identity": b"e" * 32}
    proofs = {
        activation_proof(SECRET, **base),
        activation_proof(bytes(32), **base),
        *(activation_proof(SECRET, **{**base, name: value + b"x"}) for name, value in base.items()),
        activation_proof(
            SECRET, **{**base, "ak_name": base["ak_name"][:-1], "ek_identity": b"a" + base["ek_identity"]}
        ),
    }
    assert len(proofs) == 6
    assert {len(proof) for proof in proofs} == {PROOF_BYTES}


def with_numbers(*, n: int | None = None, e: int | None = None) -> bytes:
    """A good EK certificate whose RSA key has another modulus or exponent; its signature does not matter here."""
    der = good().parts.ek_certificate
    numbers = private("ek").public_key().public_numbers()
    old = numbers.n.to_bytes(256, "big") + b"\x02\x03" + numbers.e.to_bytes(3, "big")
    assert der.count(old) == 1
    new = (n or numbers.n).to_bytes(256, "big") + b"\x02\x03" + (e or numbers.e).to_bytes(3, "big")
    return der.replace(old, new)


MODULUS = private("ek").public_key().public_numbers().n


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (with_numbers(n=MODULUS - 1), Reason.MALFORMED),
        (with_numbers(n=1 << 2047), Reason.MALFORMED),
        (with_numbers(e=65539), Reason.UNSUPPORTED),
    ],
    ids=["even modulus", "power of two", "another exponent"],
)
def test_a_key_no_tpm_has_is_refused_by_name(certificate: bytes, reason: Reason) -> None:
    """A certificate anybody can make, of an RSA key that cannot be encrypted to, is refused before it is used."""
    key = AttestationKey(public=an_ak().public, ek_certificate=certificate)
    activations = Activations(lease_key=Ed25519PrivateKey.generate(), entropy=Entropy())
    with pytest.raises(MalformedEvidence) as refused:
        activations.check(key)
    assert refused.value.reason is reason
    with pytest.raises(MalformedEvidence):
        activations.seal(key, bytes(32))


def test_what_the_library_cannot_encrypt_to_is_a_named_error() -> None:
    """A key that got this far and still fails is the sender's fault, told as such."""
    certificate = x509.load_der_x509_certificate(with_numbers(n=MODULUS - 1))
    with pytest.raises(MalformedEvidence):
        make_credential(certificate.public_key(), an_ak().name, SECRET, Entropy())  # type: ignore[arg-type]
