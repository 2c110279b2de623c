# SPDX-License-Identifier: Apache-2.0
"""Proofs that an entry is in a log, checkable offline by whoever has the log's key (C2SP tlog-proof).

    proof = "c2sp.org/tlog-proof@v1\\n" [ "extra " base64 "\\n" ] "index " index "\\n" *( base64(hash) "\\n" )
            "\\n" checkpoint

Extra data is parsed, because the format has it, and refused when verifying: nothing signs it and we define none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attestation.errors import NotGenuine, Reason
from attestation.tlog import strict_base64
from attestation.tlog.checkpoint import (
    Checkpoint,
    ListingRule,
    SignedCheckpoint,
    WitnessRule,
    open_listed_checkpoint,
    open_signed_checkpoint,
    parse_size,
)
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.merkle import HASH_BYTES, HashReader, inclusion_proof, leaf_hash, verify_inclusion
from attestation.tlog.note import MAX_NOTE_BYTES, NoteKey

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
            raise MalformedLog(Fault.PROOF_SIZE, f"proof has {len(data)} bytes, want at most {MAX_PROOF_BYTES}")
        head, empty_line, checkpoint = data.partition(b"\n\n")
        if not empty_line or not head.isascii():
            message = "proof has no empty line before its checkpoint, or is not ascii above it"
            raise MalformedLog(Fault.PROOF_ENCODING, message)
        lines = head.decode("ascii").split("\n")
        if lines[0] != HEADER:
            raise MalformedLog(Fault.PROOF_HEADER, f"proof does not start with {HEADER}")
        extra, lines = _take_extra(lines[1:])
        if not lines or not lines[0].startswith("index "):
            raise MalformedLog(Fault.PROOF_INDEX, "proof has no index line")
        if len(lines) - 1 > MAX_PATH:
            message = f"proof has {len(lines) - 1} hashes, want at most {MAX_PATH}"
            raise MalformedLog(Fault.PROOF_HASH_COUNT, message)
        return cls(
            index=parse_size(lines[0].removeprefix("index "), "proof index"),
            path=tuple(strict_base64.decode_exactly(line, "proof hash", HASH_BYTES) for line in lines[1:]),
            checkpoint=checkpoint,
            extra=extra,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEntry:
    """That the entry asked about is number `index` under `checkpoint`, whose note says who else vouches."""

    checkpoint: SignedCheckpoint
    index: int


def prove(index: int, size: int, reader: HashReader, checkpoint: bytes, extra: bytes = b"") -> bytes:
    """The proof text of entry `index` under the signed note `checkpoint`, which is of `size`.

    Raises:
        ValueError: no such entry in that tree.
    """
    path = tuple(inclusion_proof(index, size, reader))
    return InclusionProof(index=index, path=path, checkpoint=checkpoint, extra=extra).encode()


def verify_tlog_proof(
    proof: bytes, leaf_data: bytes, *, origin: str, log_key: NoteKey, policy: WitnessRule
) -> tuple[Checkpoint, int]:
    """The checkpoint under which `leaf_data` is an entry of log `origin`, and the entry's index.

    Does not check what the entry says, nor how old the checkpoint is.

    Raises:
        MalformedEvidence: the bytes are no proof.
        NotGenuine: CHECKPOINT_INVALID or PROOF_INVALID.
    """
    proven = open_proof(proof, leaf_data, origin=origin, log_key=log_key, policy=policy)
    return proven.checkpoint.head, proven.index


def open_proof(
    proof: bytes,
    leaf_data: bytes,
    *,
    origin: str,
    log_key: NoteKey,
    policy: WitnessRule,
    also: Sequence[NoteKey] = (),
) -> ProvenEntry:
    """What `verify_tlog_proof` verifies, with the lines of the checkpoint that verified. Raises as it does."""
    parsed = _without_extra(proof)
    opened = open_signed_checkpoint(parsed.checkpoint, origin=origin, log_key=log_key, policy=policy, also=also)
    return _included(parsed, leaf_data, opened)


def open_listed_proof(proof: bytes, leaf_data: bytes, *, policy: ListingRule) -> ProvenEntry:
    """The same for any log that `policy` lists. Raises as `open_proof` does."""
    parsed = _without_extra(proof)
    return _included(parsed, leaf_data, open_listed_checkpoint(parsed.checkpoint, policy=policy))


def _included(parsed: InclusionProof, leaf_data: bytes, opened: SignedCheckpoint) -> ProvenEntry:
    head = opened.head
    verify_inclusion(parsed.index, head.size, leaf_hash(leaf_data), parsed.path, head.root)
    return ProvenEntry(checkpoint=opened, index=parsed.index)


def _without_extra(proof: bytes) -> InclusionProof:
    parsed = InclusionProof.decode(proof)
    if parsed.extra:
        raise NotGenuine(Reason.PROOF_INVALID, f"proof has {len(parsed.extra)} bytes of extra data, want none")
    return parsed


def _take_extra(lines: list[str]) -> tuple[bytes, list[str]]:
    if not lines or not lines[0].startswith("extra "):
        return b"", lines
    extra = strict_base64.decode(lines[0].removeprefix("extra "), "proof extra data")
    if not extra:
        raise MalformedLog(Fault.PROOF_EXTRA, "proof has an empty extra line, want none")
    return extra, lines[1:]
