# SPDX-License-Identifier: Apache-2.0
"""Checkpoints (C2SP tlog-checkpoint): a log's signed statement of its size and root.

    text = origin "\\n" size "\\n" base64(root) "\\n"       size in decimal without leading zeros, root 32 bytes

Refused: another origin than asked for, extension lines (no monitor could audit them), a size that does not print back
the same, and a note without the log's own signature. A checkpoint carries no time: how old it is, only a witness or a
heartbeat can say.
"""

from dataclasses import dataclass

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog import strict_base64
from attestation.tlog.merkle import HASH_BYTES, MAX_SIZE
from attestation.tlog.note import NoteSigner, NoteVerifier, open_note, sign_note
from attestation.tlog.policy import WitnessPolicy


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
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise _malformed(f"checkpoint has {text.count(chr(10))} lines, want origin, size and root")
        origin, size, root = lines[:3]
        return cls(
            origin=origin,
            size=parse_size(size, "checkpoint size"),
            root=strict_base64.decode_exactly(root, "checkpoint root", HASH_BYTES),
        )


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> bytes:
    """The signed note. Whether this head may be signed at all is the sequencer's question."""
    return sign_note(checkpoint.text, [signer])


def open_checkpoint(note: bytes, *, origin: str, log_key: NoteVerifier, policy: WitnessPolicy) -> Checkpoint:
    """The checkpoint of log `origin`, signed by `log_key` and by as many witnesses as `policy` asks for.

    Does not check age, nor consistency with any checkpoint seen before.

    Raises:
        MalformedEvidence: the bytes are no checkpoint.
        NotGenuine: CHECKPOINT_INVALID.
    """
    signed = open_note(note, [log_key, *policy.witnesses], Reason.CHECKPOINT_INVALID)
    if not signed.signed_by(log_key):
        raise _not_genuine(f"checkpoint is not signed by {log_key.name}")
    policy.check(signed)
    checkpoint = Checkpoint.parse(signed.text)
    if checkpoint.origin != origin:
        raise _not_genuine(f"checkpoint origin is {checkpoint.origin}, want {origin}")
    return checkpoint


def parse_size(text: str, name: str) -> int:
    """A decimal number up to 2^63 - 1 that prints back the same. Raises `MalformedEvidence` naming the field."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SIZE))):
        raise _malformed(f"{name} is not a decimal number")
    size = int(text)
    if str(size) != text or size > MAX_SIZE:
        raise _malformed(f"{name} has leading zeros or is above {MAX_SIZE}")
    return size


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, message)


def _not_genuine(message: str) -> NotGenuine:
    return NotGenuine(Reason.CHECKPOINT_INVALID, message)
