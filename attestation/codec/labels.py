# SPDX-License-Identifier: Apache-2.0
"""Domain-separated hashes and key derivation: `L`, `H`, `lp` and `Exp` of docs/spec.md, 1.1.

Every hash and derived key names what it is for, so that bytes made for one purpose never pass for another.
"""

import hashlib
import hmac

DIGEST_BYTES = 32


def sha256(data: bytes) -> bytes:
    """`H(data)`, 32 bytes."""
    return hashlib.sha256(data).digest()


def u64(value: int) -> bytes:
    """Eight bytes, big-endian."""
    return value.to_bytes(8, "big")


def lp(data: bytes) -> bytes:
    """`u32(len data) || data`."""
    return len(data).to_bytes(4, "big") + data


def label(name: str) -> bytes:
    """`L(name) = lp("sealbid/1 " || name)`."""
    return lp(b"sealbid/1 " + name.encode())


def labelled_sha256(name: str, data: bytes) -> bytes:
    """`H(L(name) || data)`, 32 bytes: the digest by which a structure is known."""
    return sha256(label(name) + data)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 section 2.2), 32 bytes."""
    return hmac.digest(salt, secret, "sha256")


def expand32(prk: bytes, labelled: bytes, context: bytes) -> bytes:
    """`Exp(prk, s, ctx, 32)` with `labelled = L(s)`: HKDF-Expand (RFC 5869 section 2.3).

    For 32 bytes HKDF-Expand is the single block T(1) = HMAC(prk, info || 0x01).
    """
    return hmac.digest(prk, labelled + lp(context) + b"\x01", "sha256")


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def equal(left: bytes, right: bytes) -> bool:
    """Constant-time comparison, for tags and secrets."""
    return hmac.compare_digest(left, right)
