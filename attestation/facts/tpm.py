# SPDX-License-Identifier: Apache-2.0
"""What TPM 2.0 quotes and Azure's HCL-wrapped vTPM quotes state (TCG TPM 2.0 Library, parts 1 and 2)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary

TPM: Final = Vocabulary(
    registers=tuple(f"pcr{index}" for index in range(16)),
    facts={
        "ek_root": Fact(
            type=str,
            meaning="SHA-256 of the self-signed certificate the endorsement key's chain ends in, 64 hex digits",
            remedy="use a TPM whose manufacturer the policy lists",
            reason=Reason.ROOT_REFUSED,
        ),
    },
)

AZURE_HCL: Final = Vocabulary(
    registers=TPM.registers,
    facts={},
)
