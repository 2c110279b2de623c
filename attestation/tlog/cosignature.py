# SPDX-License-Identifier: Apache-2.0
"""Cosignatures (C2SP tlog-cosignature 1.1-rc): "as of this time, this is the largest consistent head I have seen".

    signature = u64 time || 64 bytes                 type 0x04, Ed25519 over "cosignature/v1\\ntime " time "\\n" text
              | u64 time || 2420 bytes               type 0x06, ML-DSA-44 over message
    message   = "subtree/v1\\n\\0" || name<1..255> || u64 time || origin<1..255> || u64 start || u64 end || root

where text is the note text with its final newline, `<1..255>` is a length byte and that many bytes, start is 0 and end
the size. Type 0x06 covers neither extension lines nor anything else of the text. A log may sign its own head so too,
with time 0: that the head is consistent, without a word on when.

Refused: a text that has no origin, size and root, signatures of another length, times above 2^63 - 1, and names longer
than the message can carry. Whether a time is in the future is asked where there is a clock (`policy.check_age`).
"""

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from attestation.errors import NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44,
    NoteKey,
    NoteVerifier,
    SignatureLine,
    key_id_of,
    split_vkey,
    vkey_of,
    want_name,
)

MAX_TIME: Final = (1 << 63) - 1
ED25519_BYTES: Final = 64
ML_DSA_44_BYTES: Final = 2420
_TIME_BYTES: Final = 8
_PUBLIC_KEY_BYTES: Final = {ED25519_COSIGNATURE: 32, ML_DSA_44: 1312}
_SIGNATURE_BYTES: Final = {ED25519_COSIGNATURE: ED25519_BYTES, ML_DSA_44: ML_DSA_44_BYTES}
_HEADER: Final = "cosignature/v1"
_LABEL: Final = b"subtree/v1\n\x00"
_MAX_NAME_BYTES: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignatureVerifier:
    """A name and a cosigner's public key: Ed25519 (type 0x04, 32 bytes) or ML-DSA-44 (type 0x06, 1,312 bytes)."""

    name: str
    key_type: int
    public_key: bytes

    def __post_init__(self) -> None:
        want_name(self.name)
        want = _PUBLIC_KEY_BYTES.get(self.key_type)
        if want is None:
            message = f"cosigner key type is {self.key_type:#04x}, want 0x04 or 0x06"
            raise MalformedLog(Fault.KEY_TYPE, message, Reason.UNSUPPORTED)
        if len(self.public_key) != want:
            raise MalformedLog(Fault.KEY_SIZE, f"cosigner key has {len(self.public_key)} bytes, want {want}")

    @classmethod
    def parse(cls, vkey: str) -> "CosignatureVerifier":
        """The cosigner's key that `vkey` spells. Raises `MalformedEvidence`."""
        parts = split_vkey(vkey, tuple(_PUBLIC_KEY_BYTES))
        return cls(name=parts.name, key_type=parts.key_type, public_key=parts.public_key)

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return key_id_of(self.name, self.key_type, self.public_key)

    @property
    def vkey(self) -> str:
        """The text form, as policies spell it."""
        return vkey_of(self.name, self.key_type, self.public_key)

    def made(self, line: SignatureLine) -> bool:
        """Whether `line` claims to be by this key. Does not check the signature."""
        return line.name == self.name and line.key_id == self.key_id

    def verify(self, text: str, line: SignatureLine, reason: Reason = Reason.SIGNATURE_INVALID) -> None:
        """Checks that `line` is this key's cosignature of the checkpoint `text`, at the time `line` states.

        Does not check that time.

        Raises:
            NotGenuine: it is not (with `reason`).
            MalformedEvidence: `text` is no checkpoint.
        """
        at, signature = int.from_bytes(line.signature[:_TIME_BYTES], "big"), line.signature[_TIME_BYTES:]
        if len(signature) != _SIGNATURE_BYTES[self.key_type] or at > MAX_TIME:
            raise NotGenuine(reason, f"cosignature by {self.name} has another length than its type, or no time")
        try:
            self._check(_message(self.key_type, self.name, text, at), signature)
        except (InvalidSignature, ValueError):
            raise NotGenuine(reason, f"cosignature by {self.name} does not verify") from None

    def _check(self, message: bytes, signature: bytes) -> None:
        if self.key_type == ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignatureSigner:
    """A cosigner: a name and a private key that is used for cosignatures alone.

    The Ed25519 form does not cover the name, so no two cosigners may share such a key.
    """

    name: str
    key: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False)

    @property
    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        key_type = ED25519_COSIGNATURE if isinstance(self.key, Ed25519PrivateKey) else ML_DSA_44
        return CosignatureVerifier(
            name=self.name, key_type=key_type, public_key=self.key.public_key().public_bytes_raw()
        )

    def cosign(self, text: str, at: int) -> SignatureLine:
        """This cosigner's line under the checkpoint `text`, at POSIX time `at` in whole seconds.

        Whether the head may be cosigned at all is the witness's question. ML-DSA is randomised: two calls differ.

        Raises:
            MalformedEvidence: `text` is no checkpoint, or `at` is no time.
        """
        verifier = self.verifier
        signature = self.key.sign(_message(verifier.key_type, self.name, text, at))
        return SignatureLine(
            name=self.name, key_id=verifier.key_id, signature=at.to_bytes(_TIME_BYTES, "big") + signature
        )

    def sign(self, text: str) -> SignatureLine:
        """The line at time 0, which says nothing on when: how a log signs its own head."""
        return self.cosign(text, 0)


def cosigned_at(line: SignatureLine) -> int:
    """The POSIX time in whole seconds that a cosignature states; believe it only once the line is verified.

    Raises:
        MalformedEvidence: `line` is too short, or its time is above 2^63 - 1.
    """
    if len(line.signature) < _TIME_BYTES:
        message = f"cosignature has {len(line.signature)} bytes, want at least {_TIME_BYTES}"
        raise MalformedLog(Fault.COSIGNATURE_TIME, message)
    return _want_time(int.from_bytes(line.signature[:_TIME_BYTES], "big"))


def parse_note_key(vkey: str) -> NoteKey:
    """The key that `vkey` spells, of any type that a checkpoint's line may have. Raises `MalformedEvidence`."""
    parts = split_vkey(vkey, (ED25519, *_PUBLIC_KEY_BYTES))
    if parts.key_type == ED25519:
        return NoteVerifier(name=parts.name, public_key=parts.public_key)
    return CosignatureVerifier(name=parts.name, key_type=parts.key_type, public_key=parts.public_key)


def _message(key_type: int, name: str, text: str, at: int) -> bytes:
    """What a cosignature signs."""
    head = Checkpoint.read(text)
    _want_time(at)
    if key_type == ED25519_COSIGNATURE:
        return f"{_HEADER}\ntime {at}\n{text}".encode()
    range_of_leaves = bytes(8) + head.size.to_bytes(8, "big")
    return _LABEL + _prefixed(name) + at.to_bytes(8, "big") + _prefixed(head.origin) + range_of_leaves + head.root


def _prefixed(name: str) -> bytes:
    data = name.encode()
    if not 1 <= len(data) <= _MAX_NAME_BYTES:
        message = f"name has {len(data)} bytes, want 1 to {_MAX_NAME_BYTES} in an ml-dsa cosignature"
        raise MalformedLog(Fault.COSIGNATURE_NAME, message)
    return bytes([len(data)]) + data


def _want_time(at: int) -> int:
    if not 0 <= at <= MAX_TIME:
        raise MalformedLog(Fault.COSIGNATURE_TIME, f"cosignature time is {at}, want 0 to {MAX_TIME}")
    return at
