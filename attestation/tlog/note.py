# SPDX-License-Identifier: Apache-2.0
"""Signed notes (C2SP signed-note 1.0): text signed by one or more keys, with Ed25519 (signature type 0x01).

    note   = text "\\n" 1*line                           text ends in newline; the last empty line ends the text
    line   = "— " name " " base64(key-id || signature) "\\n"
    key-id = SHA-256(name || "\\n" || 0x01 || public-key)[:4]
    vkey   = name "+" hex(key-id) "+" base64(0x01 || public-key)

Refused: bytes that are not UTF-8, control characters, more than 100 signature lines, base64 that is not in its one
spelling, a wrong signature by a key we know, and a note that no key we know has signed. Lines by unknown keys are kept
and never trusted: other logs' witnesses and later signature types travel in them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog import strict_base64

MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100
KEY_ID_BYTES: Final = 4
ED25519: Final = 0x01
_DASH: Final = "\u2014 "
_PUBLIC_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureLine:
    """One signature line, as it stands in the note."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def text(self) -> str:
        """The line, newline included."""
        return f"{_DASH}{self.name} {strict_base64.encode(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVerifier:
    """A name and the Ed25519 public key (32 bytes) it signs with."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        _want_name(self.name)
        if len(self.public_key) != _PUBLIC_KEY_BYTES:
            raise _malformed(f"note key has {len(self.public_key)} bytes, want {_PUBLIC_KEY_BYTES}")

    @classmethod
    def parse(cls, vkey: str) -> "NoteVerifier":
        """The verifier that `vkey` spells. Raises `MalformedEvidence`, also when the key id is not that of the key."""
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise _malformed("verifier key is not name+id+key")
        key = strict_base64.decode_exactly(parts[2], "verifier key", 1 + _PUBLIC_KEY_BYTES)
        if key[0] != ED25519:
            raise MalformedEvidence(Reason.UNSUPPORTED, f"verifier key type is {key[0]:#04x}, want {ED25519:#04x}")
        verifier = cls(name=parts[0], public_key=key[1:])
        if parts[1] != verifier.key_id.hex():
            raise _malformed(f"verifier key id is not {verifier.key_id.hex()}, which its key has")
        return verifier

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line; a hint, not a strong hash."""
        typed = bytes([ED25519]) + self.public_key
        return hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The text form, as trust files spell it."""
        return f"{self.name}+{self.key_id.hex()}+{strict_base64.encode(bytes([ED25519]) + self.public_key)}"

    def made(self, line: SignatureLine) -> bool:
        """Whether `line` claims to be by this key. Does not check the signature."""
        return line.name == self.name and line.key_id == self.key_id

    def verify(self, text: str, line: SignatureLine, reason: Reason = Reason.SIGNATURE_INVALID) -> None:
        """Checks that `line` is this key's signature over `text`.

        Raises:
            NotGenuine: it is not (with `reason`).
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(line.signature, text.encode())
        except (InvalidSignature, ValueError):
            raise NotGenuine(reason, f"note signature by {self.name} does not verify") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSigner:
    """A name and its private key. Whatever holds the key (file, TPM, enclave), the note is the same."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        return NoteVerifier(name=self.name, public_key=self.key.public_key().public_bytes_raw())

    def sign(self, text: str) -> SignatureLine:
        """This key's line over `text`; Ed25519 is deterministic, so the same text has the same line."""
        signature = self.key.sign(text.encode())
        return SignatureLine(name=self.name, key_id=self.verifier.key_id, signature=signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A note that a known key has signed: `verified` lines by known keys, `unknown` ones by others, unchecked."""

    text: str
    verified: tuple[SignatureLine, ...]
    unknown: tuple[SignatureLine, ...]

    def signed_by(self, verifier: NoteVerifier) -> bool:
        """Whether `verifier` is among those whose signature was checked."""
        return any(verifier.made(line) for line in self.verified)


def sign_note(text: str, signers: Sequence[NoteSigner]) -> bytes:
    """The note over `text`, one line per signer. Raises `MalformedEvidence` for a text no note can carry."""
    if not text.endswith("\n") or _has_control(text):
        raise _malformed("note text does not end in newline or has control characters")
    return f"{text}\n{''.join(signer.sign(text).text for signer in signers)}".encode()


def open_note(data: bytes, verifiers: Sequence[NoteVerifier], reason: Reason = Reason.SIGNATURE_INVALID) -> SignedNote:
    """The text of a note, released only once a known key's signature over it holds.

    Raises:
        MalformedEvidence: the bytes are no note.
        NotGenuine: a known key's signature does not hold, or no known key has signed (with `reason`).
    """
    text, lines = parse_note(data)
    verified: list[SignatureLine] = []
    unknown: list[SignatureLine] = []
    for line in lines:
        by = next((verifier for verifier in verifiers if verifier.made(line)), None)
        if by is None:
            unknown.append(line)
            continue
        by.verify(text, line, reason)
        if line not in verified:
            verified.append(line)
    if not verified:
        raise NotGenuine(reason, f"note has {len(lines)} signatures, none by a known key")
    return SignedNote(text=text, verified=tuple(verified), unknown=tuple(unknown))


def parse_note(data: bytes) -> tuple[str, tuple[SignatureLine, ...]]:
    """Text and signature lines, none verified: for re-serving a note, never for trusting it.

    Raises:
        MalformedEvidence: the bytes are no note.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise _malformed(f"note has {len(data)} bytes, want at most {MAX_NOTE_BYTES}")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("note is not utf-8") from None
    if _has_control(note):
        raise _malformed("note has control characters")
    end = note.rfind("\n\n")
    if end < 0 or not note.endswith("\n"):
        raise _malformed("note has no signature lines after an empty line")
    lines = note[end + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed(f"note has {len(lines)} signatures, want at most {MAX_SIGNATURES}")
    return note[: end + 1], tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> SignatureLine:
    if not line.startswith(_DASH):
        raise _malformed("note signature line does not start with an em dash and a space")
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    _want_name(name)
    signature = strict_base64.decode(encoded, "note signature")
    if len(signature) <= KEY_ID_BYTES:
        raise _malformed(f"note signature has {len(signature)} bytes, want more than {KEY_ID_BYTES}")
    return SignatureLine(name=name, key_id=signature[:KEY_ID_BYTES], signature=signature[KEY_ID_BYTES:])


def _want_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or char < " " or _is_surrogate(char) for char in name):
        raise _malformed("note key name is empty or has a space, control character or plus sign")


def _is_surrogate(char: str) -> bool:
    return "\ud800" <= char <= "\udfff"


def _has_control(text: str) -> bool:
    return any(char < " " and char != "\n" for char in text)


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, message)
