# SPDX-License-Identifier: Apache-2.0
"""HPKE: the library against RFC 9180's vectors, against pyhpke and against an X-Wing of our own."""

import json
import os
import pickle
from pathlib import Path

import pyhpke
import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.binding import SuiteID
from attestation.errors import Malformed, WrongKey
from attestation.sealing.suite import CIPHERTEXT_BYTES, HPKEKeyPair, seal
from tests.support import independent_hpke as own
from tests.support.sealing import BOTH_SUITES

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/sealing/rfc9180.json").read_text())["vectors"]
BY_SUITE = {(vector["kem_id"], vector["aead_id"]): vector for vector in VECTORS}
INFO = b"what is authenticated"
SECRET = bytes(range(32))


def fromhex(vector: dict[str, str], *names: str) -> tuple[bytes, ...]:
    """The named fields as bytes."""
    return tuple(bytes.fromhex(vector[name]) for name in names)


@pytest.mark.parametrize(("aead_id", "aead"), [(1, hpke.AEAD.AES_128_GCM), (2, hpke.AEAD.AES_256_GCM)])
def test_ruling_20_the_library_opens_rfc_9180_base_vectors_of_x25519(aead_id: int, aead: hpke.AEAD) -> None:
    """The library opens the standard's own ciphertexts, which need an AAD that the public call does not take."""
    vector = BY_SUITE[0x20, aead_id]
    secret_key, enc, info, aad, ct, plaintext = fromhex(vector, "skRm", "enc", "info", "aad", "ciphertext", "plaintext")
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, aead)
    private = X25519PrivateKey.from_private_bytes(secret_key)
    assert openssl.hpke._decrypt_with_aad(suite, enc + ct, private, info, aad) == plaintext


def test_ruling_20_the_library_opens_the_published_vector_of_kem_647a() -> None:
    """MLKEM768-X25519 in the library is the KEM 0x647A others implement."""
    vector = BY_SUITE[0x647A, 3]
    seed, enc, info, aad, ct, plaintext = fromhex(vector, "skRm", "enc", "info", "aad", "ciphertext", "plaintext")
    ml_kem, x25519 = own.xwing_keys(seed)
    private = hpke.MLKEM768X25519PrivateKey(ml_kem, x25519)
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    assert openssl.hpke._decrypt_with_aad(suite, enc + ct, private, info, aad) == plaintext


def test_our_own_hpke_agrees_with_the_published_vectors() -> None:
    """The second implementation that checks the library is itself checked: secrets, keys and nonces."""
    for (kem, aead), vector in BY_SUITE.items():
        enc, info, shared, key, nonce = fromhex(vector, "enc", "info", "shared_secret", "key", "base_nonce")
        if kem == own.XWING_KEM:
            assert own.xwing_decapsulate(*own.xwing_keys(bytes.fromhex(vector["skRm"])), enc) == shared
        else:
            ephemeral = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skEm"]))
            recipient = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skRm"])).public_key()
            dh = ephemeral.exchange(recipient)
            assert own.x25519_shared_secret(dh, enc, recipient.public_bytes_raw()) == shared
        assert own.key_schedule(kem, shared, info, aead, len(key)) == own.Context(key=key, base_nonce=nonce)


@pytest.fixture
def pyhpke_suite() -> pyhpke.CipherSuite:
    """Suite 2 as pyhpke has it."""
    return pyhpke.CipherSuite.new(
        pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256, pyhpke.KDFId.HKDF_SHA256, pyhpke.AEADId.AES256_GCM
    )


def test_ruling_20_pyhpke_opens_what_suite_2_seals(pyhpke_suite: pyhpke.CipherSuite) -> None:
    """Another implementation opens our suite 2."""
    private = X25519PrivateKey.generate()
    sealed = seal(SuiteID.X25519, private.public_key().public_bytes_raw(), INFO, SECRET)
    key = pyhpke.KEMKey.from_pyca_cryptography_key(private)
    assert pyhpke_suite.create_recipient_context(sealed[:32], key, INFO).open(sealed[32:]) == SECRET


def test_ruling_20_suite_2_opens_what_pyhpke_seals(pyhpke_suite: pyhpke.CipherSuite) -> None:
    """Our suite 2 opens what another implementation sealed."""
    pair = HPKEKeyPair.generate(SuiteID.X25519)
    key = pyhpke_suite.kem.deserialize_public_key(pair.public_bytes)
    enc, sender = pyhpke_suite.create_sender_context(key, INFO)
    assert pair.open(INFO, enc + sender.seal(SECRET)) == SECRET


def test_ruling_20_our_x_wing_receiver_opens_what_suite_1_seals() -> None:
    """A receiver written from the draft opens our suite 1."""
    ml_kem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = HPKEKeyPair(x25519=x25519, mlkem768=ml_kem).public_bytes
    assert own.xwing_open(ml_kem, x25519, INFO, seal(SuiteID.MLKEM768_X25519, public, INFO, SECRET)) == SECRET


def test_ruling_20_suite_1_opens_what_our_x_wing_sender_seals() -> None:
    """Our suite 1 opens what a sender written from the draft sealed."""
    pair = HPKEKeyPair.generate(SuiteID.MLKEM768_X25519)
    encapsulated = MLKEM768PublicKey.from_public_bytes(pair.public_bytes[:1184]).encapsulate()
    sealed = own.xwing_seal(pair.public_bytes, encapsulated, X25519PrivateKey.generate(), INFO, SECRET)
    assert pair.open(INFO, sealed) == SECRET


@pytest.mark.parametrize("suite", BOTH_SUITES)
def test_a_session_ciphertext_has_the_length_the_specification_says(suite: SuiteID) -> None:
    """1168 bytes for suite 1, 80 for suite 2."""
    pair = HPKEKeyPair.generate(suite)
    assert len(seal(suite, pair.public_bytes, INFO, SECRET)) == CIPHERTEXT_BYTES[suite] == (1168, 80)[suite - 1]


@pytest.mark.parametrize("suite", BOTH_SUITES)
def test_another_key_or_another_info_does_not_open(suite: SuiteID) -> None:
    """Everything that must be authenticated is in info, and info is authenticated."""
    pair, other = HPKEKeyPair.generate(suite), HPKEKeyPair.generate(suite)
    sealed = seal(suite, pair.public_bytes, INFO, SECRET)
    with pytest.raises(WrongKey):
        pair.open(INFO + b".", sealed)
    with pytest.raises(WrongKey):
        other.open(INFO, sealed)


@pytest.mark.parametrize("suite", BOTH_SUITES)
def test_no_altered_byte_of_a_session_ciphertext_opens(suite: SuiteID) -> None:
    """A flipped bit at any place is a wrong key, never another error."""
    pair = HPKEKeyPair.generate(suite)
    sealed = seal(suite, pair.public_bytes, INFO, SECRET)
    for at in range(0, len(sealed), 1 if suite is SuiteID.X25519 else 7):
        altered = bytearray(sealed)
        altered[at] ^= 1 << (at % 8)
        with pytest.raises(WrongKey):
            pair.open(INFO, bytes(altered))


@pytest.mark.parametrize("suite", BOTH_SUITES)
def test_lengths_are_checked_before_any_key_operation(suite: SuiteID) -> None:
    """A key, secret or ciphertext of another length is malformed."""
    pair = HPKEKeyPair.generate(suite)
    with pytest.raises(Malformed):
        seal(suite, pair.public_bytes[:-1], INFO, SECRET)
    with pytest.raises(Malformed):
        seal(suite, pair.public_bytes, INFO, SECRET[:-1])
    with pytest.raises(Malformed):
        pair.open(INFO, seal(suite, pair.public_bytes, INFO, SECRET) + b"\x00")


def test_a_low_order_recipient_key_is_refused() -> None:
    """An X25519 key of order 1 would give every sender the same secret."""
    with pytest.raises(WrongKey):
        seal(SuiteID.X25519, bytes(32), INFO, SECRET)
    hybrid = HPKEKeyPair.generate(SuiteID.MLKEM768_X25519)
    with pytest.raises(WrongKey):
        seal(SuiteID.MLKEM768_X25519, hybrid.public_bytes[:1184] + bytes(32), INFO, SECRET)


def test_an_ml_kem_key_that_is_none_is_refused() -> None:
    """Coefficients out of range are no encapsulation key."""
    with pytest.raises(WrongKey):
        seal(SuiteID.MLKEM768_X25519, b"\xff" * 1184 + os.urandom(32), INFO, SECRET)


def test_a_private_key_is_not_pickled() -> None:
    """A private key leaves its process by no accident."""
    with pytest.raises(TypeError):
        pickle.dumps(HPKEKeyPair.generate(SuiteID.X25519))
