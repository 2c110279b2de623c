# SPDX-License-Identifier: Apache-2.0
"""Verifies AMD SEV-SNP attestation reports (docs/spec.md, 3.4; publications 56860 and 57230).

Genuine means: signed with ECDSA P-384 by a VCEK or VLEK whose chain ends in AMD's pinned root for the processor line,
whose certificate names the firmware levels the report reports and, for a VCEK, the chip. Debug, policy bits, platform
state and firmware levels are stated and left to appraisal.

What this cannot see: who owns the machine, whether someone taps its memory bus, and on Milan whether the chip's key
was extracted; and, where no revocation list is offered, whether AMD has revoked the intermediate.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.snp.endorsement import ROOTS, Endorsement, Endorsements, closest
from attestation.tee.snp.leaf import Leaf
from attestation.tee.snp.product import Product, product_of
from attestation.tee.snp.report import GuestPolicy, SigningKey, SNPReport, read_report
from attestation.tee.snp.statement import facts, measurements

EVIDENCE_FORMAT: Final = "snp-report"


class SNPVerifier:
    """A `Verifier` of SEV-SNP reports; `roots` maps the SHA-256 of each ARK certificate to its processor line."""

    def __init__(self, *, roots: Mapping[bytes, Product] = ROOTS) -> None:
        self._endorsements = Endorsements(roots)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine report says. Collateral: "amd-certificate" (each one DER) and "amd-crl" (DER, optional).

        Raises:
            MalformedEvidence: MALFORMED; UNSUPPORTED for a report version or processor line unknown here.
            NotGenuine: SIGNATURE_INVALID, CHAIN_INVALID, ROOT_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED,
                TCB_MISMATCH for a key of other firmware levels, CHIP_MISMATCH for one of another chip or line.
            CollateralUnavailable: ENDORSEMENT_MISSING, COLLATERAL_EXPIRED.
        """
        if evidence.kind is not TEEKind.SNP or evidence.format != EVIDENCE_FORMAT:
            got = f"{evidence.kind.value} {evidence.format[:32]!r}"
            raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want snp {EVIDENCE_FORMAT!r}")
        report = read_report(evidence.data)
        endorsement = self.endorsed(report, collateral, now)
        return EvidenceClaims(
            kind=TEEKind.SNP,
            measurements=measurements(report),
            debug=bool(report.policy & GuestPolicy.DEBUG),
            tcb_status=TCBStatus.UNSTATED,
            advisories=(),
            platform_ids=(ComponentID(kind=ComponentKind.CPU, value=chip_of(report, endorsement)),),
            slot=report.report_data,
            collateral_expires=endorsement.expires,
            facts=facts(report, endorsement),
        )

    def endorsed(self, report: SNPReport, collateral: Sequence[Collateral], now: datetime) -> Endorsement:
        """The endorsement that `report` is genuine by. Raises as `verify`."""
        product = _stated_product(report)
        if report.signing_key is SigningKey.NONE:
            raise NotGenuine(Reason.SIGNATURE_INVALID, "snp report signing key is none, want vcek or vlek")
        certificates = self._endorsements.read(collateral)
        leaves = closest(certificates, report)
        for leaf in leaves[:-1]:
            with suppress(NotGenuine, CollateralUnavailable):
                return self._endorsed_by(leaf, report, product, certificates, collateral, now)
        return self._endorsed_by(leaves[-1], report, product, certificates, collateral, now)

    def _endorsed_by(
        self,
        leaf: Leaf,
        report: SNPReport,
        product: Product | None,
        certificates: list[x509.Certificate],
        collateral: Sequence[Collateral],
        now: datetime,
    ) -> Endorsement:
        endorsement = self._endorsements.endorse(leaf, certificates, collateral, now)
        if product is not None and product is not endorsement.product:
            raise _mismatch(Reason.CHIP_MISMATCH, "cpuid", product, f"{endorsement.product}, as its key's")
        if leaf.tcb != report.reported_tcb:
            got, want = report.reported_tcb.hex(), leaf.tcb.hex()
            raise _mismatch(Reason.TCB_MISMATCH, "reported_tcb", got, f"{want}, as its key's")
        _check_chip(report, leaf)
        _check_signature(report, leaf.key)
        return endorsement


def chip_of(report: SNPReport, endorsement: Endorsement) -> bytes:
    """The chip's id, also where the host masks it but the chip's own key names it; zeros under a provider's key."""
    return report.chip_id if any(report.chip_id) else endorsement.leaf.chip_id.ljust(len(report.chip_id), b"\0")


def _stated_product(report: SNPReport) -> Product | None:
    if report.cpuid is None:
        return None
    family, model, _ = report.cpuid
    product = product_of(family, model)
    if product is None:
        got, known = f"family {family:#x} model {model:#x}", ", ".join(Product)
        raise MalformedEvidence(Reason.UNSUPPORTED, f"snp report cpuid is {got}, want one of {known}")
    return product


def _check_chip(report: SNPReport, leaf: Leaf) -> None:
    # A masked chip id says nothing, and a provider's key is of no chip: then the signature alone says whose it is.
    if leaf.kind is SigningKey.VCEK and any(report.chip_id) and leaf.chip_id != report.chip_id:
        raise _mismatch(Reason.CHIP_MISMATCH, "chip_id", "another", "that of its key")


def _check_signature(report: SNPReport, key: ec.EllipticCurvePublicKey) -> None:
    try:
        key.verify(encode_dss_signature(report.r, report.s), report.signed, ec.ECDSA(SHA384()))
    except InvalidSignature:
        message = "snp report signature is not its key's over these bytes, want such"
        raise NotGenuine(Reason.SIGNATURE_INVALID, message) from None


def _mismatch(reason: Reason, field: str, got: str, want: str) -> NotGenuine:
    return NotGenuine(reason, f"snp report {field} is {got}, want {want}")
