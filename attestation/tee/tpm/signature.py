# SPDX-License-Identifier: Apache-2.0
"""Signatures of TPM keys: TPMT_SIGNATURE (TPM 2.0 library, part 2, 11.3.4).

    RSASSA, RSAPSS   alg u16, hash u16, TPM2B signature
    ECDSA            alg u16, hash u16, TPM2B r, TPM2B s

Signatures over SHA-1 digests are refused as unsupported.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attestation.errors import NotGenuine, Reason
from attestation.tee.reader import Reader
from attestation.tee.tpm.algorithms import SCHEMES, hash_class, hash_name, unsupported
from attestation.tee.tpm.attest import sized
from attestation.tee.tpm.public import TPMKey

MAX_SIGNATURE_BYTES: Final = 1024
_RSA_BYTES: Final = 512
_SCALAR_BYTES: Final = 66


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMSignature:
    """A signature as read: `scheme` is rsassa, rsapss or ecdsa, `data` as the signature library wants it."""

    scheme: str
    algorithm: str
    data: bytes


def read_signature(data: bytes) -> TPMSignature:
    """The signature of exactly these bytes. Raises `MalformedEvidence`, UNSUPPORTED for other algorithms."""
    reader = Reader(data, "tpm signature")
    number = reader.big(2, "scheme")
    if number not in SCHEMES:
        raise unsupported("tpm signature scheme", f"{number:04x}", "one of " + ", ".join(SCHEMES.values()))
    algorithm = hash_name(reader.big(2, "hash"), "tpm signature hash")
    scheme = SCHEMES[number]
    value = _ecdsa(reader) if scheme == "ecdsa" else sized(reader, _RSA_BYTES, "value")
    reader.end()
    return TPMSignature(scheme=scheme, algorithm=algorithm, data=value)


def check_signature(signature: TPMSignature, key: TPMKey, message: bytes, name: str) -> None:
    """Raises `NotGenuine` (SIGNATURE_INVALID), `name` first, unless `key` signed `message`."""
    try:
        _verify(signature, key, message)
    except (InvalidSignature, ValueError):
        message_text = f"{name} signature is not its key's over these bytes, want such"
        raise NotGenuine(Reason.SIGNATURE_INVALID, message_text) from None


def _verify(signature: TPMSignature, key: TPMKey, message: bytes) -> None:
    algorithm = hash_class(signature.algorithm)
    if isinstance(key, ec.EllipticCurvePublicKey) is not (signature.scheme == "ecdsa"):
        raise InvalidSignature
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature.data, message, _padding(signature), algorithm)
    else:
        key.verify(signature.data, message, ec.ECDSA(algorithm))


def _padding(signature: TPMSignature) -> padding.AsymmetricPadding:
    if signature.scheme == "rsassa":
        return padding.PKCS1v15()
    # TPMs use the digest's size or, older ones, the most that fits.
    return padding.PSS(padding.MGF1(hash_class(signature.algorithm)), padding.PSS.AUTO)


def _ecdsa(reader: Reader) -> bytes:
    r, s = (int.from_bytes(sized(reader, _SCALAR_BYTES, part), "big") for part in ("r", "s"))
    return encode_dss_signature(r, s)
