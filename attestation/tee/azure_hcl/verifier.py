# SPDX-License-Identifier: Apache-2.0
"""Verifies the evidence of Azure confidential VMs (docs/spec.md, 3.4; Microsoft's igvm_attest.h; TPM 2.0 library).

    slot <- extra data of a quote <- attestation key of the vTPM <- runtime data <- report_data of SEV-SNP or TDX

Genuine means: the hardware's evidence is genuine by that kind's own verifier, its report_data starts with the SHA-256
of the runtime data, the attestation key therein signed the quote, and the PCR values are those quoted. The hardware
reported once, when the VM started; the quote alone is fresh.

What this cannot see: that the software which made the runtime data is Microsoft's paravisor. Anybody's guest can report
the hash of a text of the same form. The launch digest (SEV-SNP, at VMPL 0) or MRTD and RTMRs (TDX) say which software
it was, and a policy that leaves them unchecked has checked nothing. That the vTPM's key signs only what the vTPM made
is that software's promise too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, Scalar, TEEKind
from attestation.codec.labels import equal
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT, AzureHCLEvidence, read_evidence
from attestation.tee.azure_hcl.hcl import Hardware, HCLReport, read_hcl
from attestation.tee.azure_hcl.runtime import RuntimeData, read_runtime_data
from attestation.tee.dcap.endorsements import COLLATERAL_KIND as INTEL_KIND
from attestation.tee.dcap.verifier import TDX_FORMAT, TDXVerifier
from attestation.tee.interface import Verifier
from attestation.tee.snp.verifier import EVIDENCE_FORMAT as SNP_FORMAT
from attestation.tee.snp.verifier import SNPVerifier
from attestation.tee.tpm.attest import TPMQuote, read_quote
from attestation.tee.tpm.event_log import event_log
from attestation.tee.tpm.pcrs import check_pcrs, measurements
from attestation.tee.tpm.public import key_text
from attestation.tee.tpm.signature import TPMSignature, check_signature, read_signature

_HASH_BYTES: Final = 32


class AzureHCLVerifier:
    """A `Verifier` of Azure's vTPM quotes; the hardware's evidence inside goes to the verifier of its kind."""

    def __init__(self, *, snp: Verifier | None = None, tdx: Verifier | None = None) -> None:
        self._hardware: Mapping[Hardware, Verifier] = {
            Hardware.SNP: snp or SNPVerifier(),
            Hardware.TDX: tdx or TDXVerifier(),
        }

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What genuine evidence says: registers and facts of the vTPM and, under the names of its kind, the hardware.

        Collateral: that of the hardware's kind; "event-log-tcg2" (the vTPM's, optional).

        Raises:
            MalformedEvidence: MALFORMED; UNSUPPORTED for formats or algorithms unknown here.
            NotGenuine: BINDING_MISMATCH if the hardware did not report this runtime data; SIGNATURE_INVALID for a quote
                or PCR values its key did not sign; EVENT_LOG_MISMATCH; whatever the hardware's verifier finds.
            CollateralUnavailable: as the hardware's verifier; ENDORSEMENT_MISSING for TDX without a quote.
        """
        if evidence.kind is not TEEKind.AZURE_HCL or evidence.format != EVIDENCE_FORMAT:
            got = f"{evidence.kind.value} {evidence.format[:32]!r}"
            raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want azure-hcl {EVIDENCE_FORMAT!r}")
        parts = read_evidence(evidence.data)
        report, quote, signature = read_hcl(parts.hcl_report), read_quote(parts.attest), read_signature(parts.signature)
        runtime = read_runtime_data(report.runtime_data)
        hardware = self.verify_hardware(report, parts.td_quote, collateral, now=now)
        check_signature(signature, runtime.key, parts.attest, "azure vtpm quote")
        check_pcrs(quote, parts.pcrs, signature.algorithm)
        return replace(
            hardware,
            kind=TEEKind.AZURE_HCL,
            measurements=(*measurements(quote, parts.pcrs), *hardware.measurements),
            slot=quote.extra_data,
            facts={
                "hardware": hardware.kind.value,
                **runtime.switches,
                **_quoted(quote, signature, runtime),
                "event_log": event_log(quote, parts.pcrs, collateral),
                **{f"{hardware.kind.value}_{name}": value for name, value in hardware.facts.items()},
            },
        )

    def verify_hardware(
        self, report: HCLReport, td_quote: bytes, collateral: Sequence[Collateral], *, now: datetime
    ) -> EvidenceClaims:
        """The claims, of its own kind, of the hardware that vouches for `report`'s runtime data. Raises as `verify`.

        A paravisor's report by itself is as good as the day the VM started: it answers no challenge.
        """
        inner = hardware_evidence(report, td_quote)
        if report.hardware is Hardware.TDX:
            # The event log beside the evidence is the vTPM's; the TD's own registers have none here.
            collateral = [item for item in collateral if item.kind == INTEL_KIND]
        hardware = self._hardware[report.hardware].verify(inner, collateral, now=now)
        _check_runtime_data(report, hardware)
        return hardware


def hardware_evidence(report: HCLReport, td_quote: bytes) -> Evidence:
    """The hardware's evidence by itself: the SEV-SNP report inside, or the TD quote beside.

    Raises:
        MalformedEvidence: a TD quote came with a SEV-SNP report.
        CollateralUnavailable: ENDORSEMENT_MISSING without a TD quote on TDX.
    """
    if report.hardware is Hardware.SNP:
        if td_quote:
            raise MalformedEvidence(Reason.MALFORMED, "azure.td_quote is given, want none beside a sev-snp report")
        return Evidence(kind=TEEKind.SNP, format=SNP_FORMAT, data=report.report)
    if not td_quote:
        message = "azure.td_quote is missing, want a quote over the same report data: a tdreport proves nothing outside"
        raise CollateralUnavailable(Reason.ENDORSEMENT_MISSING, message)
    return Evidence(kind=TEEKind.TDX, format=TDX_FORMAT, data=td_quote)


def read_hardware_evidence(data: bytes) -> Evidence:
    """The hardware's evidence inside evidence of this format, unverified. Raises as `hardware_evidence`."""
    parts: AzureHCLEvidence = read_evidence(data)
    return hardware_evidence(read_hcl(parts.hcl_report), parts.td_quote)


def _check_runtime_data(report: HCLReport, hardware: EvidenceClaims) -> None:
    want = hashlib.sha256(report.runtime_data).digest()
    if not equal(hardware.slot[:_HASH_BYTES], want):
        got = hardware.slot[:_HASH_BYTES].hex()
        message = f"azure {hardware.kind.value} report_data is {got}, want {want.hex()}, the hash of the runtime data"
        raise NotGenuine(Reason.BINDING_MISMATCH, message)
    if not equal(report.report_data, hardware.slot):
        got, shown = report.report_data.hex(), hardware.slot.hex()
        message = f"hcl report report_data is {got}, want {shown}, that of the quote"
        raise NotGenuine(Reason.BINDING_MISMATCH, message)


def _quoted(quote: TPMQuote, signature: TPMSignature, runtime: RuntimeData) -> dict[str, Scalar]:
    return {
        "ak_key": f"{key_text(runtime.key)} {signature.scheme} {signature.algorithm}",
        "clock_safe": quote.safe,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "firmware_version": quote.firmware_version,
    }
