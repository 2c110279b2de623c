# SPDX-License-Identifier: Apache-2.0
"""Which collateral a piece of evidence needs, before it is judged and without asking anybody.

    tdx, sgx        the platform's TCB info, quoting enclave identity and revocation lists
    azure-hcl       what the hardware evidence inside it needs
    snp             the chip's VCEK and its chain, unless they came along; the root's revocation list
    nvidia-gpu      the status of the device's BROM, ICA and Identity certificates; the driver's and the VBIOS's
                    manifest, and the status of their signers
    nvidia-switch   the same with the firmware's manifest

What vendors say anew from time to time is always asked for, also when the evidence came with some: a worker's copy may
be older than the registry's. What never changes is asked for only if it did not come.

Nobody has others asked about what is not a machine's own. A bundle's evidence counts only if it is what the binding
says: one piece of a CPU's, and the devices it names. NVIDIA is asked about a report whose signature is by a chain that
verifies to the pinned roots, with the manifests a verifier would choose for it; chains and manifests that lie beside
plan nothing, however many they are. A CPU's quote or report is not verified yet: it names what it likes, once.
Evidence that does not read or hold needs nothing: its verifier will say so.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from attestation.binding import KeyBinding
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import DEVICE_KINDS, TEEKind
from attestation.collateral.amd import chain_names, is_vcek_for
from attestation.collateral.answers import common_name
from attestation.collateral.requests import (
    VCEK,
    AMDChain,
    AMDRevocations,
    AMDSigner,
    CertificateStatus,
    IntelCollateral,
    PCKAuthority,
    ReferenceManifest,
    Request,
)
from attestation.errors import AttestationError, Malformed, MalformedEvidence
from attestation.tee.azure_hcl.verifier import read_hardware_evidence
from attestation.tee.certificates import VerifiedChain, der_of, read_certificate
from attestation.tee.dcap.pck import read_platform
from attestation.tee.dcap.quote import read_quote
from attestation.tee.nvidia.endorsements import Endorsements
from attestation.tee.nvidia.report import GPUReport, SwitchReport
from attestation.tee.nvidia.rim import RIMKind
from attestation.tee.nvidia.rim_names import driver_rim_id, switch_rim_id, vbios_rim_id
from attestation.tee.nvidia.verifier import SWITCH_MARK
from attestation.tee.snp.endorsement import CERTIFICATE_KIND
from attestation.tee.snp.product import CHIP_ID_BYTES, Product, product_of
from attestation.tee.snp.report import SigningKey, SNPReport, read_report

_AUTHORITIES: Final = {
    "Intel SGX PCK Platform CA": PCKAuthority.PLATFORM,
    "Intel SGX PCK Processor CA": PCKAuthority.PROCESSOR,
}
_SIGNERS: Final = {SigningKey.VCEK: AMDSigner.VCEK, SigningKey.VLEK: AMDSigner.VLEK}
_LS10: Final = {"project": "5612", "sku": "0002", "chip_sku": "890"}
"""The board of LS10 switches in manifest names; a switch's report does not state it."""


def evidence_in_question(bundle: EvidenceBundle) -> tuple[Evidence, ...]:
    """The evidence of a bundle, if it is one CPU's and that of just the devices its binding names; nothing otherwise.

    Whatever is not so is refused by `attestation.verify`, with any collateral. The binding is not verified.
    """
    try:
        binding = KeyBinding.decode(bundle.binding)
    except Malformed:
        return ()
    devices = sorted((part.sha256, DEVICE_KINDS[part.kind]) for part in bundle.evidence if part.kind in DEVICE_KINDS)
    if devices != [(digest, kind) for kind, digest in binding.devices] or len(bundle.evidence) != len(devices) + 1:
        return ()
    return bundle.evidence


class Planner:
    """Plans requests. `endorsements` has the roots of NVIDIA's that are trusted, and remembers; any thread."""

    def __init__(self, endorsements: Endorsements | None = None) -> None:
        self._endorsements = endorsements or Endorsements()

    def needs(self, evidence: Sequence[Evidence], collateral: Sequence[Collateral]) -> tuple[Request, ...]:
        """The requests whose answers this evidence may need besides `collateral`, each once, in a stable order."""
        found: dict[bytes, Request] = {}
        for part in evidence:
            for request in self._of(part, collateral):
                found.setdefault(request.key, request)
        return tuple(found.values())

    def _of(self, part: Evidence, collateral: Sequence[Collateral]) -> Iterator[Request]:
        try:
            match part.kind:
                case TEEKind.TDX | TEEKind.SGX:
                    yield from _intel(part)
                case TEEKind.SNP:
                    yield from _amd(read_report(part.data), collateral)
                case TEEKind.AZURE_HCL:
                    yield from self._of(read_hardware_evidence(part.data), collateral)
                case TEEKind.NVIDIA_GPU:
                    yield from self._gpu(GPUReport.read(part.data), collateral)
                case TEEKind.NVIDIA_SWITCH:
                    yield from self._switch(SwitchReport.read(part.data), collateral)
                case _:
                    pass  # has no vendor's service: what it needs comes along
        except AttestationError:
            return

    def _gpu(self, report: GPUReport, collateral: Sequence[Collateral]) -> Iterator[Request]:
        device = self._endorsements.device(report.exchange, report.fwid, collateral)
        yield from _statuses(device.chain, above=1)
        yield ReferenceManifest(id=driver_rim_id(report.chip, report.driver))
        board = {"project": report.project, "sku": report.sku, "chip_sku": report.chip_sku}
        yield ReferenceManifest(id=vbios_rim_id(**board, vbios=report.vbios))
        versions = {RIMKind.DRIVER: report.driver, RIMKind.VBIOS: report.vbios}
        yield from self._signers(device.device.product, versions, collateral)

    def _switch(self, report: SwitchReport, collateral: Sequence[Collateral]) -> Iterator[Request]:
        device = self._endorsements.device(report.exchange, SWITCH_MARK, collateral)
        yield from _statuses(device.chain, above=1)
        yield ReferenceManifest(id=switch_rim_id(**_LS10, firmware=report.firmware))
        yield from self._signers(device.device.product, {RIMKind.SWITCH: report.firmware}, collateral)

    def _signers(
        self, product: str, versions: Mapping[RIMKind, str], collateral: Sequence[Collateral]
    ) -> Iterator[Request]:
        for rim in self._endorsements.rims(product, versions, collateral):
            if rim is not None:
                yield from _statuses(rim.chain)


def _intel(part: Evidence) -> Iterator[Request]:
    quote = read_quote(part.data, part.kind)
    authority = _AUTHORITIES.get(common_name(quote.pck_chain[0].issuer))
    if authority is not None:
        yield IntelCollateral(tee=part.kind, fmspc=read_platform(quote.pck_pem).fmspc, authority=authority)


def _amd(report: SNPReport, collateral: Sequence[Collateral]) -> Iterator[Request]:
    product = _product(report, collateral)
    signer = _SIGNERS.get(report.signing_key)
    if product is None or signer is None:
        return
    chip = report.chip_id[: CHIP_ID_BYTES[product]]
    if signer is AMDSigner.VCEK and any(chip):
        vcek = VCEK(product=product, chip=chip, tcb=report.reported_tcb)
        if not any(_is_vcek(item, vcek) for item in collateral):
            yield vcek
    chain = AMDChain(product=product, signer=signer)
    if not set(chain_names(chain)) <= set(_names(collateral)):
        yield chain
    yield AMDRevocations(product=product, signer=signer)


def _product(report: SNPReport, collateral: Sequence[Collateral]) -> Product | None:
    if report.cpuid is not None:
        return product_of(*report.cpuid[:2])
    # Version 2 does not name its processor; its chain, if it came along, does.
    names = set(_names(collateral))
    return next((product for product in Product if f"ARK-{product}" in names), None)


def _statuses(chain: VerifiedChain, *, above: int = 0) -> Iterator[Request]:
    """Of each certificate but the root, from place `above` on: NVIDIA does not answer for a device's leaf."""
    for certificate, issuer in pairwise(chain.certificates[above:]):
        yield CertificateStatus(certificate=der_of(certificate), issuer=der_of(issuer))


def _is_vcek(item: Collateral, request: VCEK) -> bool:
    try:
        return item.kind == CERTIFICATE_KIND and is_vcek_for(item.data, request)
    except MalformedEvidence:
        return False


def _names(collateral: Sequence[Collateral]) -> Iterator[str]:
    for item in collateral:
        if item.kind == CERTIFICATE_KIND:
            try:
                yield common_name(read_certificate(item.data, "amd certificate").subject)
            except MalformedEvidence:
                continue
