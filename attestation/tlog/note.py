# SPDX-License-Identifier: Apache-2.0
"""Signed notes (C2SP signed-note 1.0): text signed by one or more keys; here with Ed25519 (signature type 0x01).

    note   = text "\\n" 1*line                           text ends in newline; the last empty line ends the text
    line   = "— " name " " base64(key-id || signature) "\\n"
    key-id = SHA-256(name || "\\n" || type || public-key)[:4]
    vkey   = name "+" hex(key-id) "+" base64(type || public-key)
    type   = 0x01 Ed25519 | 0x04 Ed25519 cosignature | 0x06 ML-DSA-44 cosignature     (the last two: cosignature.py)

Refused: bytes that are not UTF-8, control characters, more than 100 signature lines, base64 that is not in its one
spelling, a wrong signature by a key we know, and a note that no key we know has signed. Lines by unknown keys are kept
and never trusted: other logs' witnesses and later signature types travel in them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attestation.errors import NotGenuine, Reason
from attestation.tlog import strict_base64
from attestation.tlog.faults import Fault, MalformedLog

MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100
MAX_VKEY_CHARS: Final = 1 << 12
KEY_ID_BYTES: Final = 4
ED25519: Final = 0x01
ED25519_COSIGNATURE: Final = 0x04
ML_DSA_44: Final = 0x06
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


# ---- keys ------------------------------------------------------------------------------------------------------------


class NoteKey(Protocol):
    """A name and a public key of some signature type: what a note is verified with."""

    @property
    def name(self) -> str: ...

    @property
    def public_key(self) -> bytes: ...

    @property
    def key_id(self) -> bytes: ...

    @property
    def vkey(self) -> str: ...

    def made(self, line: SignatureLine) -> bool:
        """Whether `line` claims to be by this key. Does not check the signature."""
        ...

    def verify(self, text: str, line: SignatureLine, reason: Reason = Reason.SIGNATURE_INVALID) -> None:
        """Checks that `line` is this key's signature over `text`. Raises `NotGenuine` with `reason`."""
        ...


class LineSigner(Protocol):
    """Whatever can put its line under a text: a file, TPM or enclave holds the key, the note is the same."""

    @property
    def name(self) -> str: ...

    def sign(self, text: str) -> SignatureLine: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVerifier:
    """A name and the Ed25519 public key (32 bytes) it signs with (type 0x01)."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        want_name(self.name)
        if len(self.public_key) != _PUBLIC_KEY_BYTES:
            raise MalformedLog(Fault.KEY_SIZE, f"note key has {len(self.public_key)} bytes, want {_PUBLIC_KEY_BYTES}")

    @classmethod
    def parse(cls, vkey: str) -> "NoteVerifier":
        """The verifier that `vkey` spells. Raises `MalformedEvidence`, also when the key id is not that of the key."""
        parts = split_vkey(vkey, (ED25519,))
        return cls(name=parts.name, public_key=parts.public_key)

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line; a hint, not a strong hash."""
        return key_id_of(self.name, ED25519, self.public_key)

    @property
    def vkey(self) -> str:
        """The text form, as trust files spell it."""
        return vkey_of(self.name, ED25519, self.public_key)

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
class VkeyParts:
    """A verifier key taken apart; its key id was that of the rest, its size is not yet checked."""

    name: str
    key_type: int
    public_key: bytes


def split_vkey(vkey: str, types: Sequence[int]) -> VkeyParts:
    """The parts of a verifier key of one of these `types`.

    Raises:
        MalformedLog: also when the key id is not that of the key; UNSUPPORTED for another type.
    """
    if len(vkey) > MAX_VKEY_CHARS:
        raise MalformedLog(Fault.KEY_FORM, f"verifier key has {len(vkey)} characters, want at most {MAX_VKEY_CHARS}")
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise MalformedLog(Fault.KEY_FORM, "verifier key is not name+id+key")
    want_name(parts[0])
    typed = strict_base64.decode(parts[2], "verifier key")
    if len(typed) < 2:
        raise MalformedLog(Fault.KEY_SIZE, f"verifier key has {len(typed)} bytes, want a type and a key")
    found = VkeyParts(name=parts[0], key_type=typed[0], public_key=typed[1:])
    if found.key_type not in types:
        wanted = " or ".join(f"{known:#04x}" for known in types)
        message = f"verifier key type is {found.key_type:#04x}, want {wanted}"
        raise MalformedLog(Fault.KEY_TYPE, message, Reason.UNSUPPORTED)
    # Asked of known types only: others may have their key id by another formula.
    key_id = key_id_of(found.name, found.key_type, found.public_key).hex()
    if parts[1] != key_id:
        raise MalformedLog(Fault.KEY_ID, f"verifier key id is not {key_id}, which its key has")
    return found


def key_id_of(name: str, key_type: int, public_key: bytes) -> bytes:
    """The key id that `name` and a typed key have."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()[:KEY_ID_BYTES]


def vkey_of(name: str, key_type: int, public_key: bytes) -> str:
    """The text form of a typed key."""
    key_id = key_id_of(name, key_type, public_key).hex()
    return f"{name}+{key_id}+{strict_base64.encode(bytes([key_type]) + public_key)}"


# ---- notes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A note that a known key has signed: `verified` lines by known keys, `unknown` ones by others, unchecked."""

    text: str
    verified: tuple[SignatureLine, ...]
    unknown: tuple[SignatureLine, ...]

    def signed_by(self, verifier: NoteKey) -> bool:
        """Whether `verifier` is among those whose signature was checked."""
        return any(verifier.made(line) for line in self.verified)


def sign_note(text: str, signers: Sequence[LineSigner]) -> bytes:
    """The note over `text`, one line per signer. Raises `MalformedEvidence` for a text no note can carry."""
    if not text.endswith("\n") or _has_control(text):
        raise MalformedLog(Fault.NOTE_TEXT, "note text does not end in newline or has control characters")
    return f"{text}\n{''.join(signer.sign(text).text for signer in signers)}".encode()


def open_note(data: bytes, verifiers: Sequence[NoteKey], reason: Reason = Reason.SIGNATURE_INVALID) -> SignedNote:
    """The text of a note, released only once a known key's signature over it holds.

    A line that stands twice counts once.

    Raises:
        MalformedEvidence: the bytes are no note, or two different `verifiers` have one name and key id.
        NotGenuine: a known key's signature does not hold, or no known key has signed (with `reason`).
    """
    text, lines = parse_note(data)
    keys = _by_name_and_id(verifiers)
    verified: dict[SignatureLine, None] = {}
    unknown: list[SignatureLine] = []
    for line in lines:
        by = keys.get((line.name, line.key_id))
        if by is None:
            unknown.append(line)
        elif line not in verified:
            by.verify(text, line, reason)
            verified[line] = None
    if not verified:
        raise NotGenuine(reason, f"note has {len(lines)} signatures, none by a known key")
    return SignedNote(text=text, verified=tuple(verified), unknown=tuple(unknown))


def _by_name_and_id(verifiers: Sequence[NoteKey]) -> dict[tuple[str, bytes], NoteKey]:
    keys: dict[tuple[str, bytes], NoteKey] = {}
    for verifier in verifiers:
        known = keys.setdefault((verifier.name, verifier.key_id), verifier)
        if known.vkey != verifier.vkey:
            # Four bytes of hash: whoever can choose a key can make them collide, so neither is taken for the other.
            raise MalformedLog(Fault.KEY_AMBIGUOUS, f"two different keys are named {verifier.name} with one key id")
    return keys


def parse_note(data: bytes) -> tuple[str, tuple[SignatureLine, ...]]:
    """Text and signature lines, none verified: for re-serving a note, never for trusting it.

    Raises:
        MalformedEvidence: the bytes are no note.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedLog(Fault.NOTE_SIZE, f"note has {len(data)} bytes, want at most {MAX_NOTE_BYTES}")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedLog(Fault.NOTE_ENCODING, "note is not utf-8") from None
    if _has_control(note):
        raise MalformedLog(Fault.NOTE_CONTROL_CHARACTER, "note has control characters")
    end = note.rfind("\n\n")
    if end < 0 or not note.endswith("\n"):
        raise MalformedLog(Fault.NOTE_UNSIGNED, "note has no signature lines after an empty line")
    lines = note[end + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        message = f"note has {len(lines)} signatures, want at most {MAX_SIGNATURES}"
        raise MalformedLog(Fault.NOTE_SIGNATURE_COUNT, message)
    return note[: end + 1], tuple(_parse_line(line) for line in lines)


def _parse_line(line: str) -> SignatureLine:
    if not line.startswith(_DASH):
        message = "note signature line does not start with an em dash and a space"
        raise MalformedLog(Fault.NOTE_SIGNATURE_LINE, message)
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    want_name(name)
    signature = strict_base64.decode(encoded, "note signature")
    if len(signature) <= KEY_ID_BYTES:
        message = f"note signature has {len(signature)} bytes, want more than {KEY_ID_BYTES}"
        raise MalformedLog(Fault.NOTE_SIGNATURE_SIZE, message)
    return SignatureLine(name=name, key_id=signature[:KEY_ID_BYTES], signature=signature[KEY_ID_BYTES:])


def want_name(name: str) -> None:
    """Refuses what cannot name a key: nothing, white space, a control character, a plus sign. Raises `MalformedLog`."""
    if not name or "+" in name or any(char.isspace() or char < " " or _is_surrogate(char) for char in name):
        message = "note key name is empty or has a space, control character or plus sign"
        raise MalformedLog(Fault.KEY_NAME, message)


def _is_surrogate(char: str) -> bool:
    return "\ud800" <= char <= "\udfff"


def _has_control(text: str) -> bool:
    return any(char < " " and char != "\n" for char in text)
