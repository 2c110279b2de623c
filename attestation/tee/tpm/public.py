# SPDX-License-Identifier: Apache-2.0
"""Public areas of TPM keys: TPMT_PUBLIC, its name, and what an attestation key must be (TPM 2.0, parts 1 and 2).

    type u16, nameAlg u16, objectAttributes u32, authPolicy TPM2B, parameters, unique
    parameters, RSA   symmetric, scheme, keyBits u16, exponent u32 (0 = 65537)          unique  TPM2B modulus
    parameters, ECC   symmetric, scheme, curve u16, kdf                                 unique  TPM2B x, TPM2B y
    symmetric         alg u16 (NULL | AES keyBits u16 mode u16)
    scheme, kdf       alg u16 (NULL | RSAES | any other with hash u16)

A key's name is nameAlg || H(public area), so every byte here is bound by whatever names the key. Supported: RSA of
2048, 3072 and 4096 bits with exponent 65537, NIST P-256 and P-384.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from attestation.errors import NotGenuine, Reason
from attestation.tee.reader import Reader
from attestation.tee.tpm.algorithms import (
    ALG_AES,
    ALG_ECC,
    ALG_NULL,
    ALG_RSA,
    ALG_RSAES,
    CURVES,
    SCHEMES,
    digest,
    hash_name,
    unsupported,
)
from attestation.tee.tpm.attest import MAX_DIGEST_BYTES, sized

TPMKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MAX_PUBLIC_BYTES: Final = 1024
_RSA_BITS: Final = frozenset({2048, 3072, 4096})
_EXPONENT: Final = 65537
_COORDINATE_BYTES: Final = 48


class Attribute(IntFlag):
    """Object attributes (TPMA_OBJECT) that decide what a key may do."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


ATTESTATION_KEY: Final = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.RESTRICTED
    | Attribute.SIGN
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMPublic:
    """A public area as read. `scheme` and `scheme_hash` are empty for a key without a fixed signing scheme."""

    name_algorithm: int
    attributes: int
    scheme: str
    scheme_hash: str
    key: TPMKey
    data: bytes

    @property
    def name(self) -> bytes:
        """The key's name: its hash algorithm and the digest of its public area."""
        return self.name_algorithm.to_bytes(2, "big") + self._digest(self.data)

    def qualified_name(self, parent: bytes) -> bytes:
        """The name by which attestations know the key under `parent` (a hierarchy's handle, or a qualified name)."""
        return self.name_algorithm.to_bytes(2, "big") + self._digest(parent + self.name)

    def _digest(self, data: bytes) -> bytes:
        return digest(hash_name(self.name_algorithm, "tpm public name algorithm"), data)


def read_public(data: bytes) -> TPMPublic:
    """The public area of exactly these bytes. Raises `MalformedEvidence`, UNSUPPORTED for other key types."""
    reader = Reader(data, "tpm public")
    if len(data) > MAX_PUBLIC_BYTES:
        raise reader.malformed("size", str(len(data)), f"at most {MAX_PUBLIC_BYTES}")
    kind, name_algorithm = reader.big(2, "type"), reader.big(2, "name algorithm")
    hash_name(name_algorithm, "tpm public name algorithm")
    attributes = reader.big(4, "attributes")
    sized(reader, MAX_DIGEST_BYTES, "auth policy")
    if kind not in {ALG_RSA, ALG_ECC}:
        raise unsupported("tpm public type", f"{kind:04x}", "rsa or ecc")
    _symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    key = _rsa_key(reader) if kind == ALG_RSA else _ecc_key(reader)
    reader.end()
    return TPMPublic(
        name_algorithm=name_algorithm,
        attributes=attributes,
        scheme=scheme,
        scheme_hash=scheme_hash,
        key=key,
        data=data,
    )


def check_attestation_key(public: TPMPublic) -> None:
    """Raises `NotGenuine` (SIGNATURE_INVALID) for a key whose signature would not prove that a TPM made the statement.

    A key that is not restricted signs whatever its owner hands it; one that is not fixed or was brought in from outside
    may also exist in software.
    """
    wrong = public.attributes & ATTESTATION_KEY != ATTESTATION_KEY or public.attributes & Attribute.DECRYPT
    if wrong or not public.scheme:
        got = f"{public.attributes:08x} with scheme {public.scheme or 'none'}"
        want = "fixed to its tpm and parent, made there, restricted, signing only, with a fixed scheme"
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"tpm attestation key is {got}, want {want}")


def key_text(key: TPMKey) -> str:
    """`rsa-2048` or `ecc-p256`: how facts name a key's kind."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    return f"ecc-p{key.curve.key_size}"


def _symmetric(reader: Reader) -> None:
    algorithm = reader.big(2, "symmetric algorithm")
    if algorithm == ALG_NULL:
        return
    if algorithm != ALG_AES:
        raise unsupported("tpm public symmetric algorithm", f"{algorithm:04x}", "none or aes")
    reader.take(4, "symmetric key size and mode")


def _scheme(reader: Reader) -> tuple[str, str]:
    algorithm = reader.big(2, "scheme")
    if algorithm in {ALG_NULL, ALG_RSAES}:
        return "", ""
    if algorithm not in SCHEMES:
        raise unsupported("tpm public scheme", f"{algorithm:04x}", "none or one of " + ", ".join(SCHEMES.values()))
    return SCHEMES[algorithm], hash_name(reader.big(2, "scheme hash"), "tpm public scheme hash")


def _rsa_key(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.big(2, "key bits"), reader.big(4, "exponent") or _EXPONENT
    if bits not in _RSA_BITS or exponent != _EXPONENT:
        raise unsupported("tpm public", f"rsa-{bits} with exponent {exponent}", "rsa-2048, 3072 or 4096 with 65537")
    modulus = sized(reader, bits // 8, "modulus")
    number = int.from_bytes(modulus, "big")
    if len(modulus) != bits // 8 or number.bit_length() != bits or not number & 1:
        raise reader.malformed("modulus", "no such number", f"an odd number of {bits} bits")
    return rsa.RSAPublicNumbers(exponent, number).public_key()


def _ecc_key(reader: Reader) -> ec.EllipticCurvePublicKey:
    number = reader.big(2, "curve")
    if number not in CURVES:
        raise unsupported("tpm public curve", f"{number:04x}", "p-256 or p-384")
    if (kdf := reader.big(2, "kdf")) != ALG_NULL:
        raise unsupported("tpm public kdf", f"{kdf:04x}", "none")
    x, y = (int.from_bytes(sized(reader, _COORDINATE_BYTES, name), "big") for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, CURVES[number]).public_key()
    except ValueError:
        raise reader.malformed("point", "not on its curve", "a point of the curve") from None
