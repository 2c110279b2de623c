# SPDX-License-Identifier: Apache-2.0
"""Verifies TPM 2.0 quotes (docs/spec.md, 3.4; TPM 2.0 library, part 1; TCG EK Credential Profile).

Genuine means: a restricted key that cannot leave its TPM signed a quote over exactly these PCR values, and an EK
certificate whose chain ends in some self-signed root came with it. Which root, whose TPM, what the registers hold and
how often it was reset are stated and left to appraisal.

What this cannot see: that the attestation key lives in the TPM of that certificate. Only a secret sealed to the EK
proves it, and only to whoever sealed it: the registry, which refuses a registration without one. And a TPM measures
what was started; it neither encrypts memory nor keeps the machine's owner out of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, Scalar, TCBStatus, TEEKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.tpm.attest import TPMQuote, read_quote
from attestation.tee.tpm.endorsement import Endorsement, Endorsements
from attestation.tee.tpm.event_log import event_log
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT, TPMEvidence, read_evidence
from attestation.tee.tpm.pcrs import check_pcrs, measurements
from attestation.tee.tpm.public import TPMPublic, check_attestation_key, key_text, read_public
from attestation.tee.tpm.signature import TPMSignature, check_signature, read_signature

_HIERARCHIES: Final[Mapping[str, int]] = {
    "endorsement": 0x4000000B,
    "owner": 0x40000001,
    "platform": 0x4000000C,
    "null": 0x40000007,
}


class TPMVerifier:
    """A `Verifier` of TPM quotes. It pins no root: `facts["ek_root"]` is for the policy to judge."""

    def __init__(self) -> None:
        self._endorsements = Endorsements()

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine quote says. Collateral: "tpm-certificate" (issuers, each one DER), "x509-crl" and
        "event-log-tcg2" (optional).

        Raises:
            MalformedEvidence: MALFORMED; UNSUPPORTED for algorithms unknown here, SHA-1 among them.
            NotGenuine: SIGNATURE_INVALID (signature, PCR values, or a key that is none for attestation), CHAIN_INVALID,
                CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, EVENT_LOG_MISMATCH.
            CollateralUnavailable: ENDORSEMENT_MISSING, COLLATERAL_EXPIRED.
        """
        if evidence.kind is not TEEKind.TPM or evidence.format != EVIDENCE_FORMAT:
            got = f"{evidence.kind.value} {evidence.format[:32]!r}"
            raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want tpm {EVIDENCE_FORMAT!r}")
        parts = read_evidence(evidence.data)
        quote, ak, signature = read_quote(parts.attest), read_public(parts.ak), read_signature(parts.signature)
        hierarchy = check_quote(quote, ak, signature, parts)
        endorsement = self._endorsements.verify(parts.ek_certificate, collateral, now)
        return EvidenceClaims(
            kind=TEEKind.TPM,
            measurements=measurements(quote, parts.pcrs),
            debug=False,
            tcb_status=TCBStatus.UNSTATED,
            advisories=(),
            platform_ids=(ComponentID(kind=ComponentKind.EK, value=endorsement.key.identity),),
            slot=quote.extra_data,
            collateral_expires=endorsement.expires,
            facts={
                **_endorsed(endorsement),
                **_quoted(quote, ak, parts),
                "ak_hierarchy": hierarchy,
                "event_log": event_log(quote, parts.pcrs, collateral),
            },
        )


def check_quote(quote: TPMQuote, ak: TPMPublic, signature: TPMSignature, parts: TPMEvidence) -> str:
    """The hierarchy the key is a primary of, if it is an attestation key, signed the quote, and the PCR values fit.

    Raises:
        NotGenuine: SIGNATURE_INVALID.
    """
    check_attestation_key(ak)
    if (signature.scheme, signature.algorithm) != (ak.scheme, ak.scheme_hash):
        got, want = f"{signature.scheme} {signature.algorithm}", f"{ak.scheme} {ak.scheme_hash}, as its key's"
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"tpm signature scheme is {got}, want {want}")
    check_signature(signature, ak.key, parts.attest, "tpm quote")
    check_pcrs(quote, parts.pcrs, signature.algorithm)
    return _hierarchy(quote, ak)


def _hierarchy(quote: TPMQuote, ak: TPMPublic) -> str:
    # The signer's name is the only signed statement about the key's attributes.
    for name, handle in _HIERARCHIES.items():
        if ak.qualified_name(handle.to_bytes(4, "big")) == quote.qualified_signer:
            return name
    got = quote.qualified_signer.hex()
    raise NotGenuine(Reason.SIGNATURE_INVALID, f"tpm quote signer is {got}, want the key shown, as a primary key")


def _endorsed(endorsement: Endorsement) -> dict[str, Scalar]:
    key = endorsement.key
    return {
        "ek_root": endorsement.root_sha256.hex(),
        "ek_key": key_text(key.key),
        "ek_manufacturer": key.manufacturer,
        "ek_model": key.model,
        "ek_version": key.version,
        "ek_crl": "checked" if endorsement.crl else "absent",
    }


def _quoted(quote: TPMQuote, ak: TPMPublic, parts: TPMEvidence) -> dict[str, Scalar]:
    return {
        "ak_key": f"{key_text(ak.key)} {ak.scheme} {ak.scheme_hash}",
        "activation": "stated" if parts.activation else "absent",
        "clock_safe": quote.safe,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "firmware_version": quote.firmware_version,
    }
