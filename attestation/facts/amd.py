# SPDX-License-Identifier: Apache-2.0
"""What AMD SEV-SNP reports state (SEV-SNP firmware ABI, AMD publication 56860)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary


def _spl(name: str, what: str) -> Fact:
    return Fact(
        type=int,
        meaning=f"security patch level of the {what}, of the levels the report's key is bound to (REPORTED_TCB)",
        remedy=f"update {name} through the BIOS, have the host commit and report it, then fetch the new VCEK or VLEK",
        reason=Reason.FIRMWARE_REFUSED,
    )


def _relation(meaning: str) -> Fact:
    return Fact(
        type=bool,
        meaning=meaning,
        remedy="have the host commit its firmware (SNP_COMMIT), restart the guest on it, then attest again",
        reason=Reason.FIRMWARE_REFUSED,
    )


def _version(which: str) -> Fact:
    return Fact(
        type=int,
        meaning=f"{which} firmware version as major * 65536 + minor * 256 + build (in TOML 0x013729 is 1.55.41)",
        remedy="update the SEV firmware of the host, then attest again",
        reason=Reason.FIRMWARE_REFUSED,
    )


def _mitigations(when: str) -> Fact:
    return Fact(
        type=str,
        meaning=f'vulnerabilities AMD\'s firmware says are mitigated {when}: 16 hex digits, bit 0 last, or "unstated"',
        remedy="update BIOS and firmware to AMD's bulletins and restart the guest; reports before version 5 state none",
        reason=Reason.FIRMWARE_REFUSED,
    )


def _attribute(kind: type[str] | type[int] | type[bool], meaning: str, remedy: str) -> Fact:
    return Fact(type=kind, meaning=meaning, remedy=remedy, reason=Reason.ATTRIBUTE_REFUSED)


_ENDORSED: Final = {
    "product": Fact(
        type=str,
        meaning='processor line of the root that endorses the key: "Milan", "Genoa" (all Zen 4), "Turin"',
        remedy="use Genoa or Turin: report keys of Milan chips can be extracted by software (arXiv 2605.12990)",
        reason=Reason.PRODUCT_REFUSED,
    ),
    "cpuid": Fact(
        type=str,
        meaning='CPUID family, model and stepping, 6 hex digits, or "unstated" in reports of version 2',
        remedy="use a processor the policy lists; newer firmware states its CPUID",
        reason=Reason.PRODUCT_REFUSED,
    ),
    "report_version": _attribute(
        int,
        "version of the report's format: 2, 3 or 5",
        "update the SEV firmware: version 3 states the alias check, version 5 the mitigations",
    ),
    "signing_key": _attribute(
        str,
        'whose key signed: "vcek", the chip\'s own, or "vlek", one AMD gave the cloud provider, which names no chip',
        "use a host that signs with the key the policy lists",
    ),
    "provider": _attribute(
        str,
        'whom AMD gave the VLEK to, in its own words, or "none" with a VCEK',
        "use a cloud provider the policy lists",
    ),
    "chip_id_masked": _attribute(
        bool,
        "the host hides the chip's id from its guests",
        "have the host clear MASK_CHIP_ID (SNP_CONFIG)",
    ),
    "crl": Fact(
        type=str,
        meaning='"checked" against AMD\'s current revocation list, or "absent" when none came with the evidence',
        remedy="send AMD's revocation list for the processor line as amd-crl with the evidence",
        reason=Reason.COLLATERAL_UNAVAILABLE,
    ),
}

_GUEST: Final = {
    "vmpl": _attribute(
        int,
        "privilege level the report was asked from: 0 the highest, 4294967295 the host",
        "ask for the report from the level the policy fixes",
    ),
    "guest_svn": Fact(
        type=int,
        meaning="security version the guest's owner gave the image in its ID block",
        remedy="launch a newer build of the image with its own ID block",
        reason=Reason.FIRMWARE_REFUSED,
    ),
    "migration_agent": _attribute(
        bool,
        "a migration agent is bound to the guest and can move it to another machine",
        "launch the guest without a migration agent",
    ),
    "author_key_enabled": _attribute(
        bool,
        "an author key certified the ID key; its digest is the register author_key",
        "launch the guest with the ID block the policy lists",
    ),
    "guest_abi": _attribute(
        int,
        "least firmware ABI the guest asks for, as major * 256 + minor",
        "launch the guest with the policy the appraisal policy lists",
    ),
    "smt_allowed": _attribute(
        bool,
        "guest policy 16: the guest runs also where simultaneous multithreading is on",
        "launch the guest with SMT disallowed, on a host that has it off",
    ),
    "migration_allowed": _attribute(
        bool,
        "guest policy 18: the host may bind a migration agent",
        "launch the guest with migration agents disallowed",
    ),
    "single_socket_required": _attribute(
        bool,
        "guest policy 20: the guest runs on one socket only",
        "launch the guest with the policy the appraisal policy lists",
    ),
    "cxl_allowed": _attribute(
        bool,
        "guest policy 21: the guest runs also where CXL devices or memory are populated",
        "launch the guest with CXL disallowed",
    ),
    "aes_256_xts_required": _attribute(
        bool,
        "guest policy 22: memory must be encrypted with AES-256-XTS, not AES-128-XEX",
        "launch the guest with AES-256-XTS required (Genoa and later)",
    ),
    "rapl_off_required": _attribute(
        bool,
        "guest policy 23: the host's power meter (RAPL) must be off",
        "launch the guest with RAPL disallowed",
    ),
    "ciphertext_hiding_required": _attribute(
        bool,
        "guest policy 24: the host must not be able to read even the guest's ciphertext",
        "launch the guest with ciphertext hiding required (Turin)",
    ),
    "page_swap_disabled": _attribute(
        bool,
        "guest policy 25: the host may neither move nor swap the guest's pages",
        "launch the guest with page swapping disabled (report version 5)",
    ),
}

_PLATFORM: Final = {
    "smt_enabled": _attribute(
        bool,
        "simultaneous multithreading is on",
        "switch SMT off in the BIOS, or ask for it to be accepted",
    ),
    "tsme_enabled": _attribute(
        bool,
        "transparent memory encryption is on for all memory",
        "switch TSME as the policy says in the BIOS",
    ),
    "ecc_enabled": _attribute(bool, "the memory has error correction", "use a host with ECC memory"),
    "rapl_off": _attribute(
        bool,
        "the power meter (RAPL), a side channel, is off",
        "have the host disable RAPL (SNP_CONFIG)",
    ),
    "ciphertext_hiding": _attribute(
        bool,
        "the host cannot read the guests' ciphertext",
        "use a Turin host with ciphertext hiding on",
    ),
    "alias_check_complete": _attribute(
        bool,
        "memory was checked for aliases since the last reset (BadRAM, AMD-SB-3015); stated from version 3",
        "update BIOS and firmware to AMD-SB-3015, reset the host, then attest again",
    ),
    "tio_enabled": _attribute(
        bool,
        "trusted I/O is on: devices may reach private memory the guest opens to them",
        "switch SEV-TIO as the policy says",
    ),
    "platform_other": _attribute(
        str,
        "platform bits without a published name, 16 hex digits, bit 0 last",
        "ask for the value to be listed: real Turin hosts set bit 6 (0000000000000040)",
    ),
}

_FIRMWARE: Final = {
    "fmc_spl": _spl("the FMC", "firmware management controller (Turin; 0 on earlier lines)"),
    "bootloader_spl": _spl("the PSP boot loader", "secure processor's boot loader"),
    "tee_spl": _spl("the PSP OS", "secure processor's operating system"),
    "snp_spl": _spl("the SNP firmware", "SEV-SNP firmware"),
    "microcode_spl": _spl("microcode", "CPU microcode"),
    "launch_tcb_reached": _relation("the guest was launched under firmware no older than what the report's key says"),
    "committed_tcb_reached": _relation("the host cannot go back to firmware older than what the report's key says"),
    "current_tcb_reached": _relation("the firmware running now is no older than the committed"),
    "provisional_firmware": _relation("the running firmware is not committed: the host can still take it back"),
    "firmware_version": _version("running"),
    "committed_firmware_version": _version("committed"),
    "launch_mitigations": _mitigations("since before the guest's launch"),
    "current_mitigations": _mitigations("now"),
}

SNP: Final = Vocabulary(
    registers=("launch", "host_data", "id_key", "author_key", "family_id", "image_id"),
    facts={**_ENDORSED, **_GUEST, **_PLATFORM, **_FIRMWARE},
    unproven=(
        "where the machine stands: whoever can reach its memory bus can forge reports (Battering RAM, TEE.fail)",
        "whether AMD revoked this chip's key alone: its lists name intermediates, as every key has serial number 0",
    ),
)
