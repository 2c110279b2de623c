# SPDX-License-Identifier: Apache-2.0
"""HPKE base mode written a second time from RFC 9180 and the X-Wing draft, to check the library the product uses.

It takes its ephemeral keys as arguments, so that what it seals can be recorded as a vector. For tests only.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

X25519_KEM = 0x0020
XWING_KEM = 0x647A
HKDF_SHA256 = 0x0001
AES_256_GCM = 0x0002
XWING_LABEL = b"\\.//^\\"
MLKEM_CT = 1088


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The key and base nonce of a single-shot seal; sequence number 0 leaves the nonce as it is."""

    key: bytes
    base_nonce: bytes

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """The AEAD ciphertext and tag."""
        return AESGCM(self.key).encrypt(self.base_nonce, plaintext, aad)

    def open(self, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """The plaintext."""
        return AESGCM(self.key).decrypt(self.base_nonce, ciphertext, aad)


def key_schedule(kem: int, shared_secret: bytes, info: bytes, aead: int = AES_256_GCM, key_bytes: int = 32) -> Context:
    """RFC 9180 section 5.1, base mode, HKDF-SHA256."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, HKDF_SHA256, aead))
    context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared_secret, b"secret", b"")
    return Context(
        key=_expand(suite, secret, b"key", context, key_bytes),
        base_nonce=_expand(suite, secret, b"base_nonce", context, 12),
    )


def x25519_shared_secret(dh: bytes, enc: bytes, public_key: bytes) -> bytes:
    """DHKEM(X25519, HKDF-SHA256), RFC 9180 section 4.1."""
    suite = b"KEM" + X25519_KEM.to_bytes(2, "big")
    return _expand(suite, _extract(suite, b"", b"eae_prk", dh), b"shared_secret", enc + public_key, 32)


def xwing_shared_secret(ml_kem: bytes, x25519: bytes, ephemeral: bytes, public_key: bytes) -> bytes:
    """The X-Wing combiner."""
    return hashlib.sha3_256(ml_kem + x25519 + ephemeral + public_key + XWING_LABEL).digest()


def x25519_seal(public_key: bytes, ephemeral: X25519PrivateKey, info: bytes, secret: bytes) -> bytes:
    """`enc || ct` of suite 2 with this ephemeral key."""
    enc = ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    return enc + key_schedule(X25519_KEM, x25519_shared_secret(dh, enc, public_key), info).seal(secret)


def xwing_seal(
    public_key: bytes, ml_kem: tuple[bytes, bytes], ephemeral: X25519PrivateKey, info: bytes, secret: bytes
) -> bytes:
    """`enc || ct` of suite 1 with this ML-KEM (shared secret, ciphertext) and this ephemeral key."""
    shared, ml_kem_ct = ml_kem
    recipient, enc_x = public_key[-32:], ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    context = key_schedule(XWING_KEM, xwing_shared_secret(shared, dh, enc_x, recipient), info)
    return ml_kem_ct + enc_x + context.seal(secret)


def xwing_decapsulate(ml_kem: MLKEM768PrivateKey, x25519: X25519PrivateKey, enc: bytes) -> bytes:
    """The shared secret of an X-Wing encapsulation."""
    ephemeral = enc[MLKEM_CT:]
    dh = x25519.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    public_key = x25519.public_key().public_bytes_raw()
    return xwing_shared_secret(ml_kem.decapsulate(enc[:MLKEM_CT]), dh, ephemeral, public_key)


def xwing_open(ml_kem: MLKEM768PrivateKey, x25519: X25519PrivateKey, info: bytes, sealed: bytes) -> bytes:
    """The plaintext of `enc || ct` of suite 1."""
    enc, ciphertext = sealed[: MLKEM_CT + 32], sealed[MLKEM_CT + 32 :]
    return key_schedule(XWING_KEM, xwing_decapsulate(ml_kem, x25519, enc), info).open(ciphertext)


def xwing_keys(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """The two private keys of X-Wing's 32-byte seed."""
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:size]
