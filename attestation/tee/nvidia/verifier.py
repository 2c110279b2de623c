# SPDX-License-Identifier: Apache-2.0
"""Verifies measurement reports of NVIDIA GPUs and NVSwitches: genuine is what a device NVIDIA certified has signed.

Genuine does not mean in confidential-computing mode, and no field says so: golden values, mode and versions are facts,
and a policy that does not ask for a match accepts any firmware (`attestation.facts.nvidia`, `unproven`). A report
without a manifest for its versions is genuine with the fact "missing", which appraises as undecided.

Refused as not genuine: a signature no chain fits, another root, a chain of another kind of device or another chip than
the report names (CHIP_MISMATCH), a firmware digest other than the certificate's (TCB_MISMATCH), revoked certificates,
manifests that are not NVIDIA's or contradict each other.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, Measurement, Scalar, TCBStatus, TEEKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.nvidia.chain import DEVICE_ROOTS, VerifiedDevice, peer
from attestation.tee.nvidia.endorsements import Endorsements
from attestation.tee.nvidia.golden import Comparison, common_facts, compare_with
from attestation.tee.nvidia.report import GPUReport, SwitchReport, firmware_number, version_number
from attestation.tee.nvidia.rim import RIM_ROOTS, RIMKind, check_disjoint
from attestation.tee.nvidia.standing import Stand

GPU_FORMAT: Final = "nvidia-spdm-1.1"
SWITCH_FORMAT: Final = "nvidia-switch-spdm-1.1"
SWITCH_MARK: Final = b"LS_10"
"""Chains whose leaf holds it are a switch's."""

_VIDEO_DECODER: Final = 35
"""The golden value of the video decoder's firmware; unmeasured while the decoder is off (NVIDIA nvtrust)."""

_STATED: Final = {True: "on", False: "off", None: "unstated"}


class NVIDIAVerifier:
    """A `Verifier` of GPU reports, with NVIDIA's roots unless told others."""

    def __init__(self, *, roots: Collection[bytes] = DEVICE_ROOTS, rim_roots: Collection[bytes] = RIM_ROOTS) -> None:
        self._endorsements = Endorsements(roots=roots, rim_roots=rim_roots)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine GPU says. Raises as `attestation.tee.interface.Verifier` promises."""
        _check_format(evidence, TEEKind.NVIDIA_GPU, GPU_FORMAT)
        report = GPUReport.read(evidence.data)
        device = self._endorsements.device(report.exchange, report.fwid, collateral)
        device.check(ComponentKind.GPU, now)
        _check_equal("chip", report.chip, device.chip, Reason.CHIP_MISMATCH)
        _check_equal("fwid", report.fwid.hex(), device.firmware.sha384.hex(), Reason.TCB_MISMATCH)
        statements = self._endorsements.statements(collateral)
        stand = statements.stand(device.chain.certificates[1:], now)
        driver, vbios = self._endorsements.rims(
            device.device.product, {RIMKind.DRIVER: report.driver, RIMKind.VBIOS: report.vbios}, collateral
        )
        if driver and vbios:
            check_disjoint(driver, vbios)
        skip = () if report.nvdec else (_VIDEO_DECODER,)
        digests = report.exchange.digests
        by_driver = compare_with(driver, digests, statements, now, skip=skip)
        by_vbios = compare_with(vbios, digests, statements, now, skip=skip)
        facts = _gpu_facts(report, device) | by_driver.facts("driver") | by_vbios.facts("vbios")
        peers = tuple(sorted(peer(ComponentKind.SWITCH, pdi) for pdi in report.switch_pdis))
        return _claims(TEEKind.NVIDIA_GPU, report.exchange.nonce, device, stand, (by_driver, by_vbios), facts, peers)


class NVIDIASwitchVerifier:
    """A `Verifier` of NVSwitch reports, with NVIDIA's roots unless told others."""

    def __init__(self, *, roots: Collection[bytes] = DEVICE_ROOTS, rim_roots: Collection[bytes] = RIM_ROOTS) -> None:
        self._endorsements = Endorsements(roots=roots, rim_roots=rim_roots)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine switch says. Raises as `attestation.tee.interface.Verifier` promises."""
        _check_format(evidence, TEEKind.NVIDIA_SWITCH, SWITCH_FORMAT)
        report = SwitchReport.read(evidence.data)
        device = self._endorsements.device(report.exchange, SWITCH_MARK, collateral)
        device.check(ComponentKind.SWITCH, now)
        if device.pdi != report.pdi:
            raise NotGenuine(Reason.CHIP_MISMATCH, "switch report names another device, want that of its chain")
        statements = self._endorsements.statements(collateral)
        stand = statements.stand(device.chain.certificates[1:], now)
        (rim,) = self._endorsements.rims(device.device.product, {RIMKind.SWITCH: report.firmware}, collateral)
        by_firmware = compare_with(rim, report.exchange.digests, statements, now)
        facts: dict[str, Scalar] = {
            "architecture": device.device.architecture,
            "firmware_version": report.firmware,
            "firmware_number": firmware_number(report.firmware),
            "locked": report.locked,
        }
        facts |= by_firmware.facts("firmware")
        peers = tuple(sorted(peer(ComponentKind.GPU, pdi) for pdi in report.gpu_pdis))
        return _claims(TEEKind.NVIDIA_SWITCH, report.exchange.nonce, device, stand, (by_firmware,), facts, peers)


def _gpu_facts(report: GPUReport, device: VerifiedDevice) -> dict[str, Scalar]:
    return {
        "architecture": device.device.architecture,
        "board": f"{report.project}-{report.sku}-{report.chip_sku}",
        "driver_version": report.driver,
        "driver_number": version_number(report.driver),
        "vbios_version": report.vbios,
        "vbios_number": firmware_number(report.vbios),
        "mode": report.mode or "unstated",
        "protected_pcie": _STATED[report.protected_pcie],
        "nvdec_enabled": report.nvdec,
    }


def _claims(
    kind: TEEKind,
    nonce: bytes,
    device: VerifiedDevice,
    stand: Stand,
    comparisons: Sequence[Comparison],
    facts: dict[str, Scalar],
    peers: tuple[ComponentID, ...],
) -> EvidenceClaims:
    expiries = [device.chain.not_after, *([stand.until] if stand.until else [])]
    for comparison in comparisons:
        expiries.extend(comparison.expiries())
    return EvidenceClaims(
        kind=kind,
        measurements=(Measurement(register="fwid", algorithm="sha384", digest=device.firmware.sha384),),
        debug=device.firmware.debug,
        tcb_status=TCBStatus.UNSTATED,
        advisories=(),
        platform_ids=(device.identity,),
        slot=nonce,
        collateral_expires=min(expiries),
        facts=facts | common_facts(comparisons, stand),
        peers=peers,
    )


def _check_format(evidence: Evidence, kind: TEEKind, form: str) -> None:
    if evidence.kind is not kind or evidence.format != form:
        got = f"{evidence.kind.value} {evidence.format[:32]!r}"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want {kind.value} {form!r}")


def _check_equal(what: str, report: str, certified: str, reason: Reason) -> None:
    if report != certified:
        raise NotGenuine(reason, f"gpu report {what} is {report}, want {certified} as its certificate says")
