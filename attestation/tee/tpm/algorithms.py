# SPDX-License-Identifier: Apache-2.0
"""Algorithm numbers of the TPM 2.0 library specification (part 2, 6.3 and 6.4) that Sealbid accepts, by our names.

SHA-1 and everything else not listed here is refused as unsupported wherever it would protect something.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.errors import MalformedEvidence, Reason

ALG_RSA: Final = 0x0001
ALG_AES: Final = 0x0006
ALG_NULL: Final = 0x0010
ALG_RSASSA: Final = 0x0014
ALG_RSAES: Final = 0x0015
ALG_RSAPSS: Final = 0x0016
ALG_ECDSA: Final = 0x0018
ALG_ECC: Final = 0x0023

SCHEMES: Final[Mapping[int, str]] = MappingProxyType({ALG_RSASSA: "rsassa", ALG_RSAPSS: "rsapss", ALG_ECDSA: "ecdsa"})
HASHES: Final[Mapping[int, str]] = MappingProxyType({0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"})
CURVES: Final[Mapping[int, ec.EllipticCurve]] = MappingProxyType({0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1()})

_HASH_CLASSES: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def hash_name(number: int, field: str) -> str:
    """The hash of this number. Raises `MalformedEvidence` (UNSUPPORTED) for any other, SHA-1 among them."""
    if number not in HASHES:
        raise unsupported(field, f"{number:04x}", "one of " + ", ".join(HASHES.values()))
    return HASHES[number]


def digest(algorithm: str, data: bytes) -> bytes:
    """The digest of `data` by an algorithm of `HASHES`."""
    return hashlib.new(algorithm, data).digest()


def digest_size(algorithm: str) -> int:
    """How many bytes a digest has."""
    return hashlib.new(algorithm).digest_size


def hash_class(algorithm: str) -> hashes.HashAlgorithm:
    """The signature library's value for it."""
    return _HASH_CLASSES[algorithm]()


def unsupported(field: str, got: str, want: str) -> MalformedEvidence:
    """The error for a value that means something we do not know."""
    return MalformedEvidence(Reason.UNSUPPORTED, f"{field} is {got}, want {want}")
