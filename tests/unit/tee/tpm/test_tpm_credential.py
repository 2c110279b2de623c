# SPDX-License-Identifier: Apache-2.0
"""Credentials sealed to endorsement keys, opened by an independent reading of the specification."""

import hashlib

import pytest
from cryptography.exceptions import InvalidTag

from attestation.tee.tpm.credential import PROOF_BYTES, activation_proof, make_credential
from tests.support.fake_tpm import an_ak, open_credential, private
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
