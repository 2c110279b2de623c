# SPDX-License-Identifier: Apache-2.0
"""Proofs that an entry is in a log, checkable offline by whoever has the log's key (C2SP tlog-proof).

    proof = "c2sp.org/tlog-proof@v1\\n" [ "extra " base64 "\\n" ] "index " index "\\n" *( base64(hash) "\\n" )
            "\\n" checkpoint

Extra data is parsed, because the format has it, and refused when verifying: nothing signs it and we define none.
"""

from dataclasses import dataclass
from typing import Final

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog import strict_base64
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, parse_size
from attestation.tlog.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from attestation.tlog.note import MAX_NOTE_BYTES, NoteVerifier
from attestation.tlog.policy import WitnessPolicy

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PATH: Final = 63
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + (1 << 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """Entry `index`, its Merkle path, and the signed checkpoint note the path leads to. Nothing here is verified."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """The proof text."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {strict_base64.encode(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [strict_base64.encode(value) for value in self.path]
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint

    @classmethod
    def decode(cls, data: bytes) -> "InclusionProof":
        """The parts of a proof text. Raises `MalformedEvidence` for anything `encode` would not have written."""
        if len(data) > MAX_PROOF_BYTES:
            raise _malformed(f"proof has {len(data)} bytes, want at most {MAX_PROOF_BYTES}")
        head, empty_line, checkpoint = data.partition(b"\n\n")
        if not empty_line or not head.isascii():
            raise _malformed("proof has no empty line before its checkpoint, or is not ascii above it")
        lines = head.decode("ascii").split("\n")
        if lines[0] != HEADER:
            raise _malformed(f"proof does not start with {HEADER}")
        extra, lines = _take_extra(lines[1:])
        if not lines or not lines[0].startswith("index "):
            raise _malformed("proof has no index line")
        if len(lines) - 1 > MAX_PATH:
            raise _malformed(f"proof has {len(lines) - 1} hashes, want at most {MAX_PATH}")
        return cls(
            index=parse_size(lines[0].removeprefix("index "), "proof index"),
            path=tuple(strict_base64.decode_exactly(line, "proof hash", HASH_BYTES) for line in lines[1:]),
            checkpoint=checkpoint,
            extra=extra,
        )


def verify_tlog_proof(
    proof: bytes, leaf_data: bytes, *, origin: str, log_key: NoteVerifier, policy: WitnessPolicy
) -> tuple[Checkpoint, int]:
    """The checkpoint under which `leaf_data` is an entry of log `origin`, and the entry's index.

    Does not check what the entry says, nor how old the checkpoint is.

    Raises:
        MalformedEvidence: the bytes are no proof.
        NotGenuine: CHECKPOINT_INVALID or PROOF_INVALID.
    """
    parsed = InclusionProof.decode(proof)
    if parsed.extra:
        raise NotGenuine(Reason.PROOF_INVALID, f"proof has {len(parsed.extra)} bytes of extra data, want none")
    checkpoint = open_checkpoint(parsed.checkpoint, origin=origin, log_key=log_key, policy=policy)
    verify_inclusion(parsed.index, checkpoint.size, leaf_hash(leaf_data), parsed.path, checkpoint.root)
    return checkpoint, parsed.index


def _take_extra(lines: list[str]) -> tuple[bytes, list[str]]:
    if not lines or not lines[0].startswith("extra "):
        return b"", lines
    extra = strict_base64.decode(lines[0].removeprefix("extra "), "proof extra data")
    if not extra:
        raise _malformed("proof has an empty extra line, want none")
    return extra, lines[1:]


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, message)
