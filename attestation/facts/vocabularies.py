# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of every kind of evidence."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attestation.claims import TEEKind
from attestation.facts.amd import SNP
from attestation.facts.azure import AZURE_HCL
from attestation.facts.fact import Vocabulary
from attestation.facts.intel import SGX, TDX
from attestation.facts.nvidia import GPU, SWITCH
from attestation.facts.tpm import TPM

VOCABULARIES: Final[Mapping[TEEKind, Vocabulary]] = MappingProxyType(
    {
        TEEKind.SIMULATED: Vocabulary(registers=("image",), facts={}),
        TEEKind.TDX: TDX,
        TEEKind.SGX: SGX,
        TEEKind.SNP: SNP,
        TEEKind.NVIDIA_GPU: GPU,
        TEEKind.NVIDIA_SWITCH: SWITCH,
        TEEKind.TPM: TPM,
        TEEKind.AZURE_HCL: AZURE_HCL,
    }
)
