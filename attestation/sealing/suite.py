# SPDX-License-Identifier: Apache-2.0
"""HPKE in single-shot base mode with the two suites of docs/spec.md, 1.5.

    1 = KEM 0x647A (MLKEM768-X25519), KDF 0x0001 (HKDF-SHA256), AEAD 0x0002 (AES-256-GCM)
    2 = KEM 0x0020 (X25519),          KDF 0x0001,               AEAD 0x0002

    ciphertext = enc || AES-256-GCM(32-byte secret) || tag          1168 B (suite 1), 80 B (suite 2)

The library's public calls take `info` and no AAD, so all that must be authenticated goes into `info`. Refused: a
public key of the wrong length or of low order, and a ciphertext that this private key does not open.
"""

from typing import Final, Self, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from attestation.binding import MLKEM768_EK_BYTES, SuiteID
from attestation.errors import Malformed, Reason, WrongKey
from attestation.sealing.schedule import refuse_copy

SECRET_BYTES: Final = 32
CIPHERTEXT_BYTES: Final = {SuiteID.MLKEM768_X25519: 1168, SuiteID.X25519: 80}

_PrivateKey: TypeAlias = hpke.MLKEM768X25519PrivateKey | X25519PrivateKey
_PublicKey: TypeAlias = hpke.MLKEM768X25519PublicKey | X25519PublicKey

_HPKE: Final = {
    SuiteID.MLKEM768_X25519: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    SuiteID.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}


class HPKEKeyPair:
    """A private HPKE key and its public bytes. It is never written anywhere and has no serialisation."""

    __slots__ = ("_private", "public_bytes", "suite")

    def __init__(self, *, x25519: X25519PrivateKey, mlkem768: MLKEM768PrivateKey | None) -> None:
        """A key of suite 1 from both parts, or of suite 2 where `mlkem768` is None."""
        self._private: _PrivateKey
        if mlkem768 is None:
            self.suite = SuiteID.X25519
            self._private = x25519
            self.public_bytes = x25519.public_key().public_bytes_raw()
        else:
            self.suite = SuiteID.MLKEM768_X25519
            self._private = hpke.MLKEM768X25519PrivateKey(mlkem768, x25519)
            self.public_bytes = mlkem768.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, suite: SuiteID) -> Self:
        """A fresh key from the library's own random generator."""
        hybrid = suite is SuiteID.MLKEM768_X25519
        return cls(x25519=X25519PrivateKey.generate(), mlkem768=MLKEM768PrivateKey.generate() if hybrid else None)

    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """The 32-byte secret sealed to this key under `info`.

        Raises:
            Malformed: the ciphertext has another length.
            WrongKey: this key and this `info` do not open it.
        """
        want = CIPHERTEXT_BYTES[self.suite]
        if len(ciphertext) != want:
            raise Malformed(f"session.ct has {len(ciphertext)} bytes, want {want}")
        try:
            return _HPKE[self.suite].decrypt(ciphertext, self._private, info)
        except (InvalidTag, ValueError):
            raise WrongKey(Reason.WRONG_KEY, "session.ct does not open under the key its info names") from None

    __reduce__ = refuse_copy


def seal(suite: SuiteID, public_key: bytes, info: bytes, secret: bytes) -> bytes:
    """`HPKE.Seal(pk, info, aad="", secret)`, of `CIPHERTEXT_BYTES[suite]` bytes.

    Raises:
        Malformed: the public key or the secret has another length.
        WrongKey: the public key is none, or of low order.
    """
    if len(secret) != SECRET_BYTES:
        raise Malformed(f"session secret has {len(secret)} bytes, want {SECRET_BYTES}")
    if len(public_key) != suite.public_key_bytes:
        raise Malformed(f"public key has {len(public_key)} bytes, want {suite.public_key_bytes}")
    try:
        return _HPKE[suite].encrypt(secret, _public_key(suite, public_key), info)
    except ValueError:
        raise WrongKey(Reason.WRONG_KEY, f"public key of suite {int(suite)} is not a usable key") from None


def _public_key(suite: SuiteID, data: bytes) -> _PublicKey:
    if suite is SuiteID.X25519:
        return X25519PublicKey.from_public_bytes(data)
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(data[:MLKEM768_EK_BYTES]),
        X25519PublicKey.from_public_bytes(data[MLKEM768_EK_BYTES:]),
    )
