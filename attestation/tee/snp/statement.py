# SPDX-License-Identifier: Apache-2.0
"""What a genuine report says, as registers and facts of `attestation.facts.amd`."""

from collections.abc import Mapping
from typing import Final

from attestation.claims import Measurement, Scalar
from attestation.tee.snp.endorsement import Endorsement
from attestation.tee.snp.product import levels, reaches
from attestation.tee.snp.report import GuestPolicy, PlatformInfo, SNPReport

_NAMED_PLATFORM_BITS: Final = sum(PlatformInfo)
_NO_AGENT: Final = b"\xff" * 32
_ABI_BITS: Final = 0xFFFF


def measurements(report: SNPReport) -> tuple[Measurement, ...]:
    """The registers: the launch digest, what host and owner gave at launch, and whose keys signed the ID block."""
    return (
        Measurement(register="launch", algorithm="sha384", digest=report.measurement),
        Measurement(register="host_data", algorithm="raw", digest=report.host_data),
        Measurement(register="id_key", algorithm="sha384", digest=report.id_key_digest),
        Measurement(register="author_key", algorithm="sha384", digest=report.author_key_digest),
        Measurement(register="family_id", algorithm="raw", digest=report.family_id),
        Measurement(register="image_id", algorithm="raw", digest=report.image_id),
    )


def facts(report: SNPReport, endorsement: Endorsement) -> Mapping[str, Scalar]:
    """Every fact of the kind's vocabulary."""
    return {
        "report_version": report.version,
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "migration_agent": report.report_id_ma != _NO_AGENT,
        "author_key_enabled": report.author_key_enabled,
        **_endorsed(report, endorsement),
        **_policy(report.policy),
        **_platform(report),
        **_firmware(report, endorsement),
    }


def _endorsed(report: SNPReport, endorsement: Endorsement) -> dict[str, Scalar]:
    return {
        "product": endorsement.product.value,
        "cpuid": bytes(report.cpuid).hex() if report.cpuid is not None else "unstated",
        "signing_key": report.signing_key.name.lower(),
        "provider": endorsement.leaf.provider or "none",
        "chip_id_masked": not any(report.chip_id),
        "crl": "checked" if endorsement.crl else "absent",
    }


def _policy(policy: int) -> dict[str, Scalar]:
    bits = GuestPolicy(policy & sum(GuestPolicy))
    return {
        "guest_abi": policy & _ABI_BITS,
        "smt_allowed": GuestPolicy.SMT in bits,
        "migration_allowed": GuestPolicy.MIGRATION_AGENT in bits,
        "single_socket_required": GuestPolicy.SINGLE_SOCKET in bits,
        "cxl_allowed": GuestPolicy.CXL in bits,
        "aes_256_xts_required": GuestPolicy.AES_256_XTS in bits,
        "rapl_off_required": GuestPolicy.RAPL_DISABLED in bits,
        "ciphertext_hiding_required": GuestPolicy.CIPHERTEXT_HIDING in bits,
        "page_swap_disabled": GuestPolicy.PAGE_SWAP_DISABLED in bits,
    }


def _platform(report: SNPReport) -> dict[str, Scalar]:
    info = PlatformInfo(report.platform_info & _NAMED_PLATFORM_BITS)
    return {
        "smt_enabled": PlatformInfo.SMT in info,
        "tsme_enabled": PlatformInfo.TSME in info,
        "ecc_enabled": PlatformInfo.ECC in info,
        "rapl_off": PlatformInfo.RAPL_DISABLED in info,
        "ciphertext_hiding": PlatformInfo.CIPHERTEXT_HIDING in info,
        "alias_check_complete": PlatformInfo.ALIAS_CHECK_COMPLETE in info,
        "tio_enabled": PlatformInfo.TIO in info,
        "platform_other": f"{report.platform_info & ~_NAMED_PLATFORM_BITS:016x}",
    }


def _firmware(report: SNPReport, endorsement: Endorsement) -> dict[str, Scalar]:
    reported = levels(endorsement.product, report.reported_tcb)
    return {
        "fmc_spl": reported["fmc"],
        "bootloader_spl": reported["bootloader"],
        "tee_spl": reported["tee"],
        "snp_spl": reported["snp"],
        "microcode_spl": reported["microcode"],
        "launch_tcb_reached": reaches(report.launch_tcb, report.reported_tcb),
        "committed_tcb_reached": reaches(report.committed_tcb, report.reported_tcb),
        "current_tcb_reached": reaches(report.current_tcb, report.committed_tcb),
        "provisional_firmware": _provisional(report),
        "firmware_version": _number(report.firmware),
        "committed_firmware_version": _number(report.committed_firmware),
        "launch_mitigations": _vector(report.launch_mitigations),
        "current_mitigations": _vector(report.current_mitigations),
    }


def _provisional(report: SNPReport) -> bool:
    return report.current_tcb != report.committed_tcb or report.firmware != report.committed_firmware


def _number(version: tuple[int, int, int]) -> int:
    major, minor, build = version
    return major << 16 | minor << 8 | build


def _vector(bits: int | None) -> str:
    return "unstated" if bits is None else f"{bits:016x}"
