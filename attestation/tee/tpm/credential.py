# SPDX-License-Identifier: Apache-2.0
"""Credential activation: proof that an attestation key lives in the TPM of an endorsement key (TPM 2.0, part 1, 24).

    seed               random, sealed to the EK: RSA-OAEP with label "IDENTITY", or one-pass ECDH with KDFe
    encrypted secret   AES-CFB under KDFa(seed, "STORAGE", name of the AK)
    credential blob    TPM2B HMAC under KDFa(seed, "INTEGRITY") over encrypted secret and AK name, then encrypted secret

The TPM gives the secret back only if it holds both the EK and a key of exactly that name. The holder then answers with

    proof = HMAC-SHA256(secret, L("tpm-activation") || verifier_nonce || lp(AK name) || SHA-256(EK public key))

The EK is taken to be of the default template for its kind (TCG EK Credential Profile, annex B): SHA-256 and AES-128 for
RSA-2048 and P-256, SHA-384 and AES-256 for the larger ones. Verifies nothing about AK or EK.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from attestation.codec.labels import hmac_sha256, label, lp
from attestation.errors import MalformedEvidence, Reason
from attestation.tee.tpm.algorithms import digest, digest_size, hash_class
from attestation.tee.tpm.public import TPMKey

SECRET_BYTES: Final = 32
PROOF_BYTES: Final = 32
MAX_BLOB_BYTES: Final = 256
MAX_ENCRYPTED_SECRET_BYTES: Final = 1024
_BLOCK: Final = 16
_SMALL: Final = frozenset({"rsa-2048", "ecc-256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationKey:
    """What a worker shows of its TPM before it is asked for evidence: the AK's TPMT_PUBLIC, the EK's certificate."""

    public: bytes
    ek_certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A sealed secret: contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, without their lengths."""

    blob: bytes
    encrypted_secret: bytes


def make_credential(ek: TPMKey, ak_name: bytes, secret: bytes, entropy: Callable[[int], bytes]) -> Credential:
    """Seals `secret` (at most a digest) so that only the TPM of `ek` opens it, for the key called `ak_name` alone.

    Raises:
        MalformedEvidence: nothing can be sealed to this key.
    """
    algorithm, key_bytes = _template(ek)
    seed, encrypted_seed = _sealed_seed(ek, algorithm, entropy)
    storage = kdfa(algorithm, seed, "STORAGE", ak_name, 8 * key_bytes)
    encryptor = Cipher(algorithms.AES(storage), CFB(bytes(_BLOCK))).encryptor()
    identity = encryptor.update(_tpm2b(secret)) + encryptor.finalize()
    integrity = kdfa(algorithm, seed, "INTEGRITY", b"", 8 * digest_size(algorithm))
    blob = _tpm2b(hmac.digest(integrity, identity + ak_name, algorithm)) + identity
    return Credential(blob=blob, encrypted_secret=encrypted_seed)


def activation_proof(secret: bytes, *, verifier_nonce: bytes, ak_name: bytes, ek_identity: bytes) -> bytes:
    """What the holder of `secret` answers, 32 bytes; `ek_identity` as `EndorsementKey.identity`."""
    return hmac_sha256(secret, label("tpm-activation") + verifier_nonce + lp(ak_name) + ek_identity)


def kdfa(algorithm: str, key: bytes, purpose: str, context: bytes, bits: int) -> bytes:
    """KDFa of part 1, 11.4.10.2: SP800-108 in counter mode over HMAC, with an empty second context."""
    fixed = purpose.encode() + b"\0" + context + bits.to_bytes(4, "big")
    return _expand(lambda counter: hmac.digest(key, counter + fixed, algorithm), bits)


def kdfe(algorithm: str, secret: bytes, purpose: str, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """KDFe of part 1, 11.4.10.3: SP800-56A's concatenation KDF over an ECDH secret."""
    fixed = secret + purpose.encode() + b"\0" + party_u + party_v
    return _expand(lambda counter: digest(algorithm, counter + fixed), bits)


def _expand(block: Callable[[bytes], bytes], bits: int) -> bytes:
    size, out, counter = bits // 8, b"", 0
    while len(out) < size:
        counter += 1
        out += block(counter.to_bytes(4, "big"))
    return out[:size]


def _template(ek: TPMKey) -> tuple[str, int]:
    kind = "rsa" if isinstance(ek, rsa.RSAPublicKey) else "ecc"
    return ("sha256", 16) if f"{kind}-{ek.key_size}" in _SMALL else ("sha384", 32)


def _sealed_seed(ek: TPMKey, algorithm: str, entropy: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    size = digest_size(algorithm)
    if isinstance(ek, rsa.RSAPublicKey):
        seed, hashed = entropy(size), hash_class(algorithm)
        # The padding's own randomness is the library's: it is not secret to whoever chose the seed.
        oaep = padding.OAEP(mgf=padding.MGF1(hashed), algorithm=hashed, label=b"IDENTITY\0")
        try:
            return seed, ek.encrypt(seed, oaep)
        except ValueError:
            message = "tpm endorsement key is one that nothing can be encrypted to, want a key of a tpm"
            raise MalformedEvidence(Reason.MALFORMED, message) from None
    width = (ek.key_size + 7) // 8
    ephemeral = ec.derive_private_key(_scalar(entropy(width + 8), ek.key_size), ek.curve)
    own, theirs = ephemeral.public_key().public_numbers(), ek.public_numbers()
    own_x, own_y, their_x = (number.to_bytes(width, "big") for number in (own.x, own.y, theirs.x))
    seed = kdfe(algorithm, ephemeral.exchange(ec.ECDH(), ek), "IDENTITY", own_x, their_x, 8 * size)
    return seed, _tpm2b(own_x) + _tpm2b(own_y)


def _scalar(random: bytes, bits: int) -> int:
    # Eight bytes more than the curve has, so that the reduction leaves no bias; both orders exceed 2^(bits-1).
    return int.from_bytes(random, "big") % ((1 << (bits - 1)) - 1) + 1


def _tpm2b(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
