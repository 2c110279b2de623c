# SPDX-License-Identifier: Apache-2.0
"""Checkpoints (C2SP tlog-checkpoint 1.0): a log's signed statement of its size and root.

    text = origin "\\n" size "\\n" base64(root) "\\n"       size in decimal without leading zeros, root 32 bytes

The log signs with Ed25519, and may sign with ML-DSA-44 beside it (cosignature.py): then both lines are under one text.

Refused: another origin than asked for, extension lines (no monitor could audit them), a size that does not print back
the same, and a note without the log's own signature. A checkpoint carries no time: how old it is, only a witness or a
heartbeat can say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from attestation.errors import NotGenuine, Reason
from attestation.tlog import strict_base64
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.merkle import HASH_BYTES, MAX_SIZE
from attestation.tlog.note import LineSigner, NoteKey, SignedNote, open_note, parse_note, sign_note

_LINES: Final = 3


class WitnessRule(Protocol):
    """Whose lines a checkpoint needs besides the log's own (`policy.WitnessPolicy`)."""

    @property
    def keys(self) -> Sequence[NoteKey]: ...

    def check(self, note: SignedNote) -> None:
        """Refuses a note whose verified lines do not suffice. Raises `NotGenuine`."""
        ...


class ListingRule(WitnessRule, Protocol):
    """A rule that also says which logs are accepted."""

    def logs_of(self, origin: str) -> Sequence[NoteKey]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log: the first `size` entries hash to `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note text, exactly as it is signed."""
        return f"{self.origin}\n{self.size}\n{strict_base64.encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint of a note text. Does not check any signature. Raises `MalformedEvidence`."""
        head = cls.read(text)
        if text.count("\n") != _LINES:
            raise _wrong_lines(text)
        return head

    @classmethod
    def read(cls, text: str) -> "Checkpoint":
        """The same, with extension lines passed over: other logs may have them, and nobody vouches for what they say.

        Raises:
            MalformedEvidence: also for an empty line.
        """
        lines = text.split("\n")
        if len(lines) <= _LINES or lines[-1] or not all(lines[:-1]):
            raise _wrong_lines(text)
        origin, size, root = lines[:_LINES]
        return cls(
            origin=origin,
            size=parse_size(size, "checkpoint size"),
            root=strict_base64.decode_exactly(root, "checkpoint root", HASH_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint whose note was opened: `note` has the lines that verified, cosignatures among them."""

    head: Checkpoint
    note: SignedNote


def sign_checkpoint(checkpoint: Checkpoint, *signers: LineSigner) -> bytes:
    """The signed note. Whether this head may be signed at all is the sequencer's question."""
    return sign_note(checkpoint.text, signers)


def open_checkpoint(
    note: bytes, *, origin: str, log_key: NoteKey, policy: WitnessRule, also: Sequence[NoteKey] = ()
) -> Checkpoint:
    """The checkpoint of log `origin`, signed by `log_key` and by as many witnesses as `policy` asks for.

    `also` are further keys of the log that must have signed too. Does not check age, nor consistency with any
    checkpoint seen before.

    Raises:
        MalformedEvidence: the bytes are no checkpoint.
        NotGenuine: CHECKPOINT_INVALID.
    """
    return open_signed_checkpoint(note, origin=origin, log_key=log_key, policy=policy, also=also).head


def open_signed_checkpoint(
    note: bytes, *, origin: str, log_key: NoteKey, policy: WitnessRule, also: Sequence[NoteKey] = ()
) -> SignedCheckpoint:
    """What `open_checkpoint` opens, with the lines that verified. Raises as it does."""
    wanted = (log_key, *also)
    signed = open_note(note, [*wanted, *policy.keys], Reason.CHECKPOINT_INVALID)
    for key in wanted:
        if not signed.signed_by(key):
            raise _not_genuine(f"checkpoint is not signed by {key.name}+{key.key_id.hex()}")
    policy.check(signed)
    head = Checkpoint.parse(signed.text)
    if head.origin != origin:
        raise _not_genuine(f"checkpoint origin is {head.origin}, want {origin}")
    return SignedCheckpoint(head=head, note=signed)


def open_listed_checkpoint(note: bytes, *, policy: ListingRule) -> SignedCheckpoint:
    """A checkpoint of any log that `policy` lists, signed by any one of the keys it lists for the note's origin.

    Raises:
        MalformedEvidence: the bytes are no checkpoint.
        NotGenuine: CHECKPOINT_INVALID, also for a log that is not listed.
    """
    head = Checkpoint.parse(parse_note(note)[0])
    keys = policy.logs_of(head.origin)
    if not keys:
        raise _not_genuine(f"checkpoint origin is {head.origin}, want a log that the policy lists")
    signed = open_note(note, [*keys, *policy.keys], Reason.CHECKPOINT_INVALID)
    if not any(signed.signed_by(key) for key in keys):
        raise _not_genuine(f"checkpoint is not signed by {head.origin}")
    policy.check(signed)
    return SignedCheckpoint(head=head, note=signed)


def parse_size(text: str, name: str) -> int:
    """A decimal number up to 2^63 - 1 that prints back the same. Raises `MalformedEvidence` naming the field."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SIZE))):
        raise MalformedLog(Fault.DECIMAL, f"{name} is not a decimal number")
    size = int(text)
    if str(size) != text or size > MAX_SIZE:
        raise MalformedLog(Fault.DECIMAL, f"{name} has leading zeros or is above {MAX_SIZE}")
    return size


def _wrong_lines(text: str) -> MalformedLog:
    count = text.count("\n")
    return MalformedLog(Fault.CHECKPOINT_LINES, f"checkpoint has {count} lines, want origin, size and root")


def _not_genuine(message: str) -> NotGenuine:
    return NotGenuine(Reason.CHECKPOINT_INVALID, message)
