# SPDX-License-Identifier: Apache-2.0
"""Attestation results as signed tokens: CWT (RFC 8392 in COSE_Sign1, RFC 9052) and JWT (RFC 7519 in JWS, RFC 7515).

    CWT   = 18([protected: bstr .cbor {1: alg, 16: "application/eat+cwt"}, {4: kid}, payload: bstr, bstr(64)])
    JWT   = b64({"alg":alg,"kid":kid,"typ":"eat+jwt"}) "." b64(payload) "." b64(signature)
    alg   = EdDSA (-8, Ed25519) | ES256 (-7, P-256, r||s)        kid = first 8 bytes of SHA-256 of the public key's SPKI

The payload is an EAR claims set (`attestation.results.ear`), in CBOR for a CWT and in JSON for a JWT. A reader hands in
the key it trusts: the algorithm is the key's, never the token's choice, and `none` does not exist. Not checked: who the
key belongs to, and `exp`, which is for whoever knows the time.
"""

import base64
import json
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.codec.labels import sha256
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.results import eat_cbor
from attestation.results.ear import EAR, MAX_EAR_BYTES, read_cbor, read_ear_json
from attestation.tee.strict_json import JSONObject, read_json

SigningKey: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
VerifyingKey: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey

MAX_TOKEN_BYTES: Final = 2 * MAX_EAR_BYTES
_SIGN1: Final = 18
_SIGNATURE_BYTES: Final = 64
_EDDSA: Final = (-8, "EdDSA")
_ES256: Final = (-7, "ES256")
_MEDIA_TYPE: Final = "application/eat+cwt"
_JWT_TYPE: Final = "eat+jwt"


def sign_cwt(ear: EAR, key: SigningKey) -> bytes:
    """The result as a CWT. Raises `ValueError` for a key of another curve than P-256."""
    public = key.public_key()
    protected = eat_cbor.encode({1: _algorithm(public)[0], 16: _MEDIA_TYPE})
    payload = ear.to_cbor()
    signature = _sign(key, _to_be_signed(protected, payload))
    return eat_cbor.encode([protected, {4: key_id(public)}, payload, signature], tag=_SIGN1)


def verify_cwt(data: bytes, key: VerifyingKey) -> EAR:
    """The result in a CWT that `key` signed.

    Raises:
        MalformedEvidence: it is no such CWT (UNSUPPORTED: another algorithm than the key's).
        NotGenuine: the signature is not this key's (SIGNATURE_INVALID).
    """
    if len(data) > MAX_TOKEN_BYTES:
        raise _malformed("cwt", f"{len(data)} bytes", f"at most {MAX_TOKEN_BYTES}")
    item, tag = eat_cbor.decode(data, "cwt")
    if tag != _SIGN1 or not isinstance(item, list) or len(item) != 4:
        raise _malformed("cwt", "of another form", "a tagged COSE_Sign1")
    protected, _, payload, signature = item
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise _malformed("cwt", "of other types", "byte strings")
    header, header_tag = eat_cbor.decode(protected, "cwt header")
    if header_tag is not None or header != {1: _algorithm(key)[0], 16: _MEDIA_TYPE}:
        raise MalformedEvidence(Reason.UNSUPPORTED, "cwt header is another, want the key's algorithm and an eat")
    _verify(key, signature, _to_be_signed(protected, payload), "cwt")
    return read_cbor(payload)


def sign_jwt(ear: EAR, key: SigningKey) -> str:
    """The result as a JWT. Raises `ValueError` for a key of another curve than P-256."""
    public = key.public_key()
    header = {"alg": _algorithm(public)[1], "kid": key_id(public).hex(), "typ": _JWT_TYPE}
    encoded = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    signed = f"{_base64(encoded)}.{_base64(ear.to_json())}"
    return f"{signed}.{_base64(_sign(key, signed.encode()))}"


def verify_jwt(token: str, key: VerifyingKey) -> EAR:
    """The result in a JWT that `key` signed. Raises as `verify_cwt`."""
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _malformed("jwt", f"{len(token)} characters", f"at most {MAX_TOKEN_BYTES} of ascii")
    parts = token.split(".")
    if len(parts) != 3:
        raise _malformed("jwt", f"{len(parts)} parts", "3")
    header = JSONObject(read_json(_unbase64(parts[0]), "jwt header", 1024), "jwt header")
    if (header.text("alg", 16), header.text("typ", 32)) != (_algorithm(key)[1], _JWT_TYPE) or "crit" in header:
        raise MalformedEvidence(Reason.UNSUPPORTED, "jwt header is another, want the key's algorithm and an eat")
    _verify(key, _unbase64(parts[2]), f"{parts[0]}.{parts[1]}".encode(), "jwt")
    return read_ear_json(_unbase64(parts[1]))


def key_id(key: VerifyingKey) -> bytes:
    """The name of a key in tokens, 8 bytes."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))[:8]


def _algorithm(key: VerifyingKey) -> tuple[int, str]:
    if isinstance(key, Ed25519PublicKey):
        return _EDDSA
    if key.curve.name != ec.SECP256R1.name:
        raise ValueError("key is of another curve, want P-256 or Ed25519")
    return _ES256


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return eat_cbor.encode(["Signature1", protected, b"", payload])


def _sign(key: SigningKey, data: bytes) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _verify(key: VerifyingKey, signature: bytes, data: bytes, name: str) -> None:
    if len(signature) != _SIGNATURE_BYTES:
        raise _malformed(f"{name} signature", f"{len(signature)} bytes", str(_SIGNATURE_BYTES))
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"{name} signature is not this key's, want its own") from None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if not data or _base64(data) != text:  # the library skips what is no base64: one value has one spelling
        raise _malformed("jwt part", "no base64url", "base64url without padding")
    return data


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"{field} is {got}, want {want}")
