# SPDX-License-Identifier: Apache-2.0
"""Every way a note, key, checkpoint, policy, tile or proof can be malformed, each with a stable name of its own.

`Reason` says what a caller may do (MALFORMED: give up and blame the sender; UNSUPPORTED: a newer version may know).
`Fault` says what is wrong with the bytes, for those who repair them and for tests. Names are never reused.
"""

from enum import StrEnum

from attestation.errors import MalformedEvidence, Reason


class Fault(StrEnum):
    """What is wrong with the bytes."""

    BASE64 = "base64"
    BASE64_SPELLING = "base64-spelling"
    LENGTH = "length"
    # signed notes
    NOTE_SIZE = "note-size"
    NOTE_ENCODING = "note-encoding"
    NOTE_CONTROL_CHARACTER = "note-control-character"
    NOTE_UNSIGNED = "note-unsigned"
    NOTE_SIGNATURE_COUNT = "note-signature-count"
    NOTE_SIGNATURE_LINE = "note-signature-line"
    NOTE_SIGNATURE_SIZE = "note-signature-size"
    NOTE_TEXT = "note-text"
    # keys
    KEY_NAME = "key-name"
    KEY_FORM = "key-form"
    KEY_TYPE = "key-type"
    KEY_SIZE = "key-size"
    KEY_ID = "key-id"
    KEY_AMBIGUOUS = "key-ambiguous"
    # checkpoints and cosignatures
    DECIMAL = "decimal"
    CHECKPOINT_LINES = "checkpoint-lines"
    COSIGNATURE_TIME = "cosignature-time"
    COSIGNATURE_NAME = "cosignature-name"
    # policies
    POLICY_SIZE = "policy-size"
    POLICY_LIMIT = "policy-limit"
    POLICY_CONTROL_CHARACTER = "policy-control-character"
    POLICY_LAST_LINE = "policy-last-line"
    POLICY_KEYWORD = "policy-keyword"
    POLICY_LOG_LINE = "policy-log-line"
    POLICY_LOG_TWICE = "policy-log-twice"
    POLICY_LOG_KEY_TYPE = "policy-log-key-type"
    POLICY_WITNESS_LINE = "policy-witness-line"
    POLICY_WITNESS_TWICE = "policy-witness-twice"
    POLICY_WITNESS_KEY_TYPE = "policy-witness-key-type"
    POLICY_GROUP_LINE = "policy-group-line"
    POLICY_NAME_TWICE = "policy-name-twice"
    POLICY_NAME_UNDEFINED = "policy-name-undefined"
    POLICY_NONE_AS_MEMBER = "policy-none-as-member"
    POLICY_MEMBER_TWICE = "policy-member-twice"
    POLICY_THRESHOLD = "policy-threshold"
    POLICY_QUORUM_LINE = "policy-quorum-line"
    POLICY_QUORUM_MISSING = "policy-quorum-missing"
    POLICY_QUORUM_TWICE = "policy-quorum-twice"
    # tiles
    TILE_PATH = "tile-path"
    TILE_LEVEL = "tile-level"
    TILE_INDEX = "tile-index"
    TILE_WIDTH = "tile-width"
    TILE_SIZE = "tile-size"
    ENTRY_TILE_SHORT = "entry-tile-short"
    ENTRY_TILE_LONG = "entry-tile-long"
    # proofs
    PROOF_SIZE = "proof-size"
    PROOF_ENCODING = "proof-encoding"
    PROOF_HEADER = "proof-header"
    PROOF_EXTRA = "proof-extra"
    PROOF_INDEX = "proof-index"
    PROOF_HASH_COUNT = "proof-hash-count"


class MalformedLog(MalformedEvidence):
    """Bytes of a log that do not parse; `fault` names the way."""

    def __init__(self, fault: Fault, message: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason, message)
        self.fault = fault
