# SPDX-License-Identifier: Apache-2.0
"""What a log asks of a witness, and what it is answered (C2SP tlog-witness, `add-checkpoint`).

    request  = "old " size "\\n" *63( base64(hash) "\\n" ) "\\n" checkpoint-note     POST <prefix>/add-checkpoint
    cosigned = 1*signature-line                                                  200
    conflict = size "\\n"                                                         409, of type text/x.tlog.size
    monitor  = note                                                              GET <prefix>/<origin hash>/checkpoint

`old` is the size of the checkpoint that the log believes the witness cosigned last, 0 for none; the hashes prove that
this tree is a prefix of the one submitted. Refused: more than 63 hashes, hashes of another length, sizes with leading
zeros, base64 in another spelling, requests above `MAX_REQUEST_BYTES`. Whether a proof holds is not checked here.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog import strict_base64
from attestation.tlog.checkpoint import parse_size
from attestation.tlog.merkle import HASH_BYTES
from attestation.tlog.note import SignatureLine, parse_note

MAX_REQUEST_BYTES: Final = 256 << 10
MAX_ANSWER_BYTES: Final = 64 << 10
MAX_HASHES: Final = 63
SIZE_TYPE: Final = "text/x.tlog.size"
PATH: Final = "/add-checkpoint"
_OLD: Final = "old "


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A request: the witness's last size as the log believes it, the proof from there, and the note to cosign."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The request's body."""
        lines = [f"{_OLD}{self.old}", *(strict_base64.encode(value) for value in self.proof)]
        return "\n".join([*lines, "", ""]).encode() + self.note

    @classmethod
    def decode(cls, body: bytes) -> "AddCheckpoint":
        """The parts of a body; the note is not looked into. Raises `MalformedEvidence`."""
        if len(body) > MAX_REQUEST_BYTES:
            raise _malformed(f"request has {len(body)} bytes, want at most {MAX_REQUEST_BYTES}")
        head, empty_line, note = body.partition(b"\n\n")
        if not empty_line or not head.isascii():
            raise _malformed("request has no empty line before its checkpoint, or is not ascii above it")
        old, *hashes = head.decode("ascii").split("\n")
        if not old.startswith(_OLD):
            raise _malformed("request does not start with its old size")
        if len(hashes) > MAX_HASHES:
            raise _malformed(f"request has {len(hashes)} hashes, want at most {MAX_HASHES}")
        return cls(
            old=parse_size(old.removeprefix(_OLD), "old size"),
            proof=tuple(strict_base64.decode_exactly(line, "consistency hash", HASH_BYTES) for line in hashes),
            note=note,
        )


def origin_hash(origin: str) -> str:
    """How paths name a log: the SHA-256 of its origin in lower-case hex."""
    return hashlib.sha256(origin.encode()).hexdigest()


def monitoring_path(origin: str) -> str:
    """Where a witness shows the last note it cosigned of a log."""
    return f"/{origin_hash(origin)}/checkpoint"


def read_conflict(body: bytes) -> int:
    """The size a witness says it cosigned last. Raises `MalformedEvidence`."""
    if not body.endswith(b"\n") or not body.isascii():
        raise _malformed("conflict is not a decimal number and a newline")
    return parse_size(body[:-1].decode("ascii"), "conflict size")


def read_cosignatures(body: bytes, text: str) -> tuple[SignatureLine, ...]:
    """The signature lines of a witness's answer to the note `text`, none verified. Raises `MalformedEvidence`."""
    if len(body) > MAX_ANSWER_BYTES:
        raise _malformed(f"answer has {len(body)} bytes, want at most {MAX_ANSWER_BYTES}")
    return parse_note(text.encode() + b"\n" + body)[1]


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, message)
