# SPDX-License-Identifier: Apache-2.0
"""Templates of the keys a worker has its TPM make, byte for byte: primary keys, so one template always gives one key.

EK   templates L-1 (RSA-2048) and L-2 (P-256) of the TCG EK Credential Profile, annex B.3: restricted decryption, used
     under PolicySecret of the endorsement hierarchy, with AES-128-CFB; their certificates lie in NV at fixed indices
AK   P-256, ECDSA with SHA-256, restricted signing, in the endorsement hierarchy, so that the TPM states its counters
     and firmware version in clear; its `unique` field makes it a key of Sealbid's own
"""

import hashlib
from dataclasses import dataclass
from typing import Final

_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_EK_HEAD: Final = bytes.fromhex("000b000300b20020") + _POLICY + bytes.fromhex("0006008000430010")
_OWN: Final = hashlib.sha256(b"sealbid/1 tpm attestation key").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsementTemplate:
    """A kind of EK: where its certificate lies, where it may be kept, and what makes it anew."""

    certificate_index: int
    persistent_handle: int
    public: bytes


ENDORSEMENT_KEYS: Final = (
    EndorsementTemplate(
        certificate_index=0x01C00002,
        persistent_handle=0x81010001,
        public=bytes.fromhex("0001") + _EK_HEAD + bytes.fromhex("0800000000000100") + bytes(256),
    ),
    EndorsementTemplate(
        certificate_index=0x01C0000A,
        persistent_handle=0x81010002,
        public=bytes.fromhex("0023") + _EK_HEAD + bytes.fromhex("00030010") + 2 * (b"\0\x20" + bytes(32)),
    ),
)
"""In the order tried; RSA first, which nearly every TPM has."""

ATTESTATION_KEY: Final = bytes.fromhex("0023000b00050072000000100018000b000300100020") + _OWN + b"\0\0"
