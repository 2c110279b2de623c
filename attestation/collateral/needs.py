# SPDX-License-Identifier: Apache-2.0
"""Which collateral a piece of evidence needs: read from its unverified bytes, without asking anybody.

    tdx, sgx        the platform's TCB info, quoting enclave identity and revocation lists
    azure-hcl       what the hardware evidence inside it needs
    snp             the chip's VCEK and its chain, unless they came along; the root's revocation list
    nvidia-gpu      the driver's and the VBIOS's manifest         nvidia-switch    the firmware's manifest
    nvidia-chain    the status of the BROM, ICA and Identity certificates          nvidia-rim   that of its signers

What vendors say anew from time to time is always asked for, also when the evidence came with some: a worker's copy may
be older than the registry's. What never changes is asked for only if it did not come. Evidence that does not read needs
nothing: its verifier will say so.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.collateral.amd import chain_names, is_vcek_for
from attestation.collateral.answers import common_name
from attestation.collateral.nvidia import CHAIN_KIND, MANIFEST_KIND
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
from attestation.errors import MalformedEvidence
from attestation.tee.azure_hcl.verifier import read_hardware_evidence
from attestation.tee.certificates import MAX_CHAIN, der_of, read_certificate
from attestation.tee.dcap.pck import read_platform
from attestation.tee.dcap.quote import read_quote
from attestation.tee.nvidia.chain import DeviceChain
from attestation.tee.nvidia.report import GPUReport, SwitchReport
from attestation.tee.nvidia.rim_names import driver_rim_id, switch_rim_id, vbios_rim_id
from attestation.tee.snp.endorsement import CERTIFICATE_KIND
from attestation.tee.snp.product import CHIP_ID_BYTES, Product, product_of
from attestation.tee.snp.report import SigningKey, SNPReport, read_report

MAX_REQUESTS: Final = 64
"""Eight GPUs and four switches of one machine need about 30; who sends more certificates gets no more asked."""

_AUTHORITIES: Final = {
    "Intel SGX PCK Platform CA": PCKAuthority.PLATFORM,
    "Intel SGX PCK Processor CA": PCKAuthority.PROCESSOR,
}
_SIGNERS: Final = {SigningKey.VCEK: AMDSigner.VCEK, SigningKey.VLEK: AMDSigner.VLEK}
_LS10: Final = {"project": "5612", "sku": "0002", "chip_sku": "890"}
"""The board of LS10 switches in manifest names; a switch's report does not state it."""

_SIGNER: Final = re.compile(rb"<(?:\w{1,16}:)?X509Certificate>([^<]{1,32768})</")


def needs(evidence: Sequence[Evidence], collateral: Sequence[Collateral]) -> tuple[Request, ...]:
    """The requests whose answers this evidence may need besides `collateral`, each once, in a stable order."""
    found: dict[bytes, Request] = {}
    for request in (*_of_evidence(evidence, collateral), *_of_collateral(collateral)):
        found.setdefault(request.key, request)
    return tuple(found.values())[:MAX_REQUESTS]


def _of_evidence(evidence: Sequence[Evidence], collateral: Sequence[Collateral]) -> Iterator[Request]:
    for part in evidence:
        try:
            match part.kind:
                case TEEKind.TDX | TEEKind.SGX:
                    yield from _intel(part)
                case TEEKind.SNP:
                    yield from _amd(read_report(part.data), collateral)
                case TEEKind.AZURE_HCL:
                    yield from _of_evidence([read_hardware_evidence(part.data)], collateral)
                case TEEKind.NVIDIA_GPU:
                    yield from _gpu(GPUReport.read(part.data))
                case TEEKind.NVIDIA_SWITCH:
                    yield ReferenceManifest(id=switch_rim_id(**_LS10, firmware=SwitchReport.read(part.data).firmware))
                case _:
                    pass  # has no vendor's service: what it needs comes along
        except MalformedEvidence:
            continue


def _of_collateral(collateral: Sequence[Collateral]) -> Iterator[Request]:
    for item in collateral:
        try:
            if item.kind == CHAIN_KIND:
                # NVIDIA does not answer for the leaf.
                chain = [der_of(certificate) for certificate in DeviceChain.read(item.data).certificates]
                yield from _statuses(chain[1:])
            elif item.kind == MANIFEST_KIND:
                yield from _statuses(_signers(item.data))
        except MalformedEvidence:
            continue


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


def _gpu(report: GPUReport) -> Iterator[Request]:
    yield ReferenceManifest(id=driver_rim_id(report.chip, report.driver))
    board = {"project": report.project, "sku": report.sku, "chip_sku": report.chip_sku}
    yield ReferenceManifest(id=vbios_rim_id(**board, vbios=report.vbios))


def _statuses(chain: Sequence[bytes]) -> Iterator[Request]:
    for certificate, issuer in pairwise(chain):
        yield CertificateStatus(certificate=certificate, issuer=issuer)


def _signers(manifest: bytes) -> list[bytes]:
    """The certificates in a manifest, leaf first, unverified: whoever they are, only their status is asked."""
    found = []
    for text in _SIGNER.findall(manifest)[:MAX_CHAIN]:
        try:
            found.append(base64.b64decode(b"".join(text.split()), validate=True))
        except ValueError:
            return []
    return found


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
