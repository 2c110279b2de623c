# SPDX-License-Identifier: Apache-2.0
"""Signed results verify here and at a library nobody here wrote, and under no other key, algorithm or byte."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.results import eat_cbor
from attestation.results.token import SigningKey, key_id, sign_cwt, sign_jwt, verify_cwt, verify_jwt
from tests.support.cwt_client import ask
from tests.support.ears import appraisal, ear

ED25519: SigningKey = Ed25519PrivateKey.generate()
P256: SigningKey = ec.generate_private_key(ec.SECP256R1())
KEYS = pytest.mark.parametrize("key", [ED25519, P256], ids=["EdDSA", "ES256"])
SMALL = ear(submods={"cpu": appraisal()})


def public_pem(key: SigningKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@KEYS
def test_a_foreign_library_verifies_our_tokens(key: SigningKey) -> None:
    """`cwt` finds the signature good and reads the same claims by the same numbers."""
    got = ask(do="verify", pem=public_pem(key), kid=key_id(key.public_key()).hex(), token=sign_cwt(SMALL, key).hex())
    claims = got["claims"]
    assert claims["265"] == "tag:ietf.org,2026:rats/ear#04"
    assert claims["6"] == int(SMALL.issued.timestamp())
    assert claims["1000"] == 2
    assert claims["266"]["cpu"]["1001"] == {"2": 3, "4": 2}
    assert claims["266"]["cpu"]["10"] == bytes(range(32)).hex()
    assert claims["1004"] == {"0": SMALL.developer, "1": SMALL.build}


@KEYS
def test_a_foreign_library_refuses_an_altered_token(key: SigningKey) -> None:
    """It reads the same bytes as signed: one flipped bit of the payload is not."""
    token = bytearray(sign_cwt(SMALL, key))
    token[token.index(b"sealbid")] ^= 1
    got = ask(do="verify", pem=public_pem(key), kid=key_id(key.public_key()).hex(), token=token.hex())
    assert got["error"] == "VerifyError"


@KEYS
def test_a_foreign_librarys_token_is_not_taken_for_a_result(key: SigningKey) -> None:
    """A CWT of the same key for another purpose has another header, and is refused as unsupported."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    made = ask(do="sign", pem=pem, kid=key_id(key.public_key()).hex(), claims={"1": "issuer", "6": 1})
    assert not made["sealbid"]
    with pytest.raises(MalformedEvidence) as refused:
        verify_cwt(bytes.fromhex(made["token"]), key.public_key())
    assert refused.value.reason is Reason.UNSUPPORTED


@KEYS
def test_tokens_come_back_the_same(key: SigningKey) -> None:
    """Both forms give the result that was signed."""
    assert verify_cwt(sign_cwt(ear(), key), key.public_key()) == ear()
    assert verify_jwt(sign_jwt(ear(), key), key.public_key()) == ear()


@KEYS
def test_another_key_verifies_nothing(key: SigningKey) -> None:
    """Of the same kind: SIGNATURE_INVALID; of the other kind: unsupported, as the token cannot choose its algorithm."""
    same = Ed25519PrivateKey.generate() if key is ED25519 else ec.generate_private_key(ec.SECP256R1())
    other = P256 if key is ED25519 else ED25519
    cwt, jwt = sign_cwt(SMALL, key), sign_jwt(SMALL, key)
    both: tuple[Callable[[SigningKey], object], ...] = (
        lambda by: verify_cwt(cwt, by.public_key()),
        lambda by: verify_jwt(jwt, by.public_key()),
    )
    for verify in both:
        with pytest.raises(NotGenuine):
            verify(same)
        with pytest.raises(MalformedEvidence) as refused:
            verify(other)
        assert refused.value.reason is Reason.UNSUPPORTED


@KEYS
def test_no_flipped_byte_of_a_cwt_is_accepted_but_the_key_name(key: SigningKey) -> None:
    """Every byte but the 8 of the unprotected kid, which only helps to find a key, is bound."""
    token = sign_cwt(SMALL, key)
    kid = token.index(key_id(key.public_key()))
    free = set()
    for place in range(len(token)):
        broken = bytearray(token)
        broken[place] ^= 1
        try:
            verify_cwt(bytes(broken), key.public_key())
        except AttestationError:
            continue
        free.add(place)
    assert free <= {*range(kid, kid + 8), kid - 2}  # and the label 4 before it, as the header is not signed


@KEYS
def test_no_flipped_character_of_a_jwt_is_accepted(key: SigningKey) -> None:
    """Header, payload and signature are bound, spelling included."""
    token = sign_jwt(SMALL, key)
    for place, character in enumerate(token):
        broken = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
        with pytest.raises(AttestationError):
            verify_jwt(broken, key.public_key())


def forged(header: dict[str, object]) -> str:
    _, payload, signature = sign_jwt(SMALL, ED25519).split(".")
    return f"{urlsafe_b64encode(json.dumps(header).encode()).rstrip(b'=').decode()}.{payload}.{signature}"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": "eat+jwt"},
        {"alg": "HS256", "typ": "eat+jwt"},
        {"alg": "EdDSA", "typ": "JWT"},
        {"alg": "EdDSA"},
        {"typ": "eat+jwt"},
        {"alg": "EdDSA", "typ": "eat+jwt", "crit": ["x"]},
        {"alg": ["EdDSA"], "typ": "eat+jwt"},
    ],
)
def test_the_token_does_not_choose_how_it_is_verified(header: dict[str, object]) -> None:
    """No `none`, no secret, no other type, no extension that must be understood."""
    with pytest.raises(MalformedEvidence):
        verify_jwt(forged(header), ED25519.public_key())


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "A" * 5_000_000])
def test_what_is_no_jwt_is_malformed(token: str) -> None:
    """Parts, alphabet and length are checked first."""
    with pytest.raises(MalformedEvidence):
        verify_jwt(token, ED25519.public_key())


def test_a_jwt_part_has_one_spelling() -> None:
    """Padding, the other alphabet and spare bits are not read."""
    header, payload, signature = sign_jwt(SMALL, ED25519).split(".")
    assert urlsafe_b64decode(signature + "==")
    for other in (signature + "==", signature + "\n", signature[:-1] + chr(ord(signature[-1]) + 1)):
        with pytest.raises(AttestationError):
            verify_jwt(f"{header}.{payload}.{other}", ED25519.public_key())


def test_a_key_of_another_curve_signs_nothing() -> None:
    """P-384 has no algorithm here."""
    with pytest.raises(ValueError, match="curve"):
        sign_cwt(SMALL, ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        eat_cbor.encode([b"", {}, b"", b""]),
        eat_cbor.encode([b"", {}, b""], tag=18),
        eat_cbor.encode([b"", {}, b"", b""], tag=17),
        eat_cbor.encode(["", {}, b"", b""], tag=18),
        b"\xd2" * 50,
        b"\xd2\x84" + b"\x9f" * 1000,
    ],
)
def test_what_is_no_cwt_is_malformed(data: bytes) -> None:
    """Without the tag, the four parts or their types nothing is verified."""
    with pytest.raises(MalformedEvidence):
        verify_cwt(data, ED25519.public_key())
