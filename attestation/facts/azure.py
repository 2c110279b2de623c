# SPDX-License-Identifier: Apache-2.0
"""What Azure confidential VMs state: their vTPM's quote, their paravisor's runtime data, and the hardware under both.

Registers and facts of the hardware are those of its own kind; facts carry the kind's name (`snp_vmpl`, `tdx_xfam`).
Only those of the hardware that is there are stated: a policy for one hardware leaves those of the other `unchecked`,
and `hardware` says which is meant.
"""

from typing import Final

from attestation.errors import Reason
from attestation.facts.amd import SNP
from attestation.facts.fact import Fact, Vocabulary
from attestation.facts.intel import TDX
from attestation.facts.tpm import TPM


def _switch(meaning: str, remedy: str) -> Fact:
    return Fact(
        type=str,
        meaning=f'{meaning}, by the paravisor: "on", "off" or "unstated"',
        remedy=remedy,
        reason=Reason.ATTRIBUTE_REFUSED,
    )


_VTPM: Final = ("ak_key", "clock_safe", "reset_count", "restart_count", "firmware_version", "event_log")

AZURE_HCL: Final = Vocabulary(
    registers=(*TPM.registers, *SNP.registers, *TDX.registers),
    facts={
        "hardware": Fact(
            type=str,
            meaning='what protects the VM\'s memory: "snp" or "tdx"',
            remedy="use a size of confidential VM the policy lists",
            reason=Reason.PRODUCT_REFUSED,
        ),
        "secure_boot": _switch("UEFI secure boot", "create the VM with secure boot"),
        "console_enabled": _switch("a serial console the host can reach", "create the VM without boot diagnostics"),
        "tpm_enabled": _switch("the vTPM", "create the VM with a vTPM"),
        "tpm_persisted": _switch("keeping the vTPM's state across starts", "create the VM as the policy says"),
        **{name: TPM.facts[name] for name in _VTPM},
        **{f"snp_{name}": fact for name, fact in SNP.facts.items()},
        **{f"tdx_{name}": fact for name, fact in TDX.facts.items()},
    },
    unproven=(
        "the vTPM is software: only the launch digest, or MRTD and RTMRs, say that it is Microsoft's paravisor",
        "the hardware reported when the VM started; the quote of the vTPM alone is fresh",
        *SNP.unproven,
        *TDX.unproven,
    ),
)
