# SPDX-License-Identifier: Apache-2.0
"""From files to the pieces of evidence that are judged, each with what verifies it.

Most files are one piece for the verifier of their kind. A certificate around a quote is the quote, which must commit to
the certificate's key. Azure's recordings are one piece where report and quote of one machine lie together, and what can
be said of each alone where they do not (`attestation.audit.vtpm`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from attestation.audit.judgement import Question
from attestation.audit.recognise import Recognised
from attestation.audit.vtpm import Form, as_admitted, keys_in, refute_quote, verify_report
from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT
from attestation.tee.interface import Verifier
from attestation.tee.tpm.public import TPMKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing to judge. `verify` returns what it says if it is genuine, and raises as a verifier does."""

    name: str
    kind: TEEKind
    format: str
    data: bytes
    verify: Callable[[], EvidenceClaims]

    @property
    def sha256(self) -> bytes:
        """The content address."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What stands beside the pieces: endorsements, and attestation keys that somebody names."""

    endorsements: tuple[Collateral, ...]
    keys: tuple[TPMKey, ...]


def help_in(files: Sequence[Recognised]) -> Help:
    """The endorsements and keys among files."""
    return Help(
        endorsements=tuple(item for one in files for item in one.collateral),
        keys=tuple(key for one in files if one.recorded for key in keys_in(*one.recorded)),
    )


def pieces(own: Sequence[Recognised], beside: Help, question: Question) -> Iterator[Piece]:
    """The pieces among a subject's own files, in their order."""
    recorded = {one.recorded[0]: one for one in own if one.recorded and one.recorded[0] is not Form.PUBLIC_KEY}
    if set(recorded) == {Form.PARAVISOR_REPORT, Form.VTPM_QUOTE}:
        yield from _machine(own, recorded[Form.PARAVISOR_REPORT], recorded[Form.VTPM_QUOTE], beside, question)
        return
    for one in own:
        if one.evidence is not None:
            yield _plain(one, one.evidence, beside, question)
        elif one.recorded is not None and one.recorded[0] is not Form.PUBLIC_KEY:
            yield _alone(one.name, *one.recorded, beside, question)


def _plain(one: Recognised, evidence: Evidence, beside: Help, question: Question) -> Piece:
    def verify() -> EvidenceClaims:
        claims = _verifier(evidence.kind, question).verify(evidence, beside.endorsements, now=question.now)
        if one.committed is not None:
            _check_committed(one.committed, one.key_named, claims)
        return claims

    return Piece(name=one.name, kind=evidence.kind, format=evidence.format, data=evidence.data, verify=verify)


def _machine(
    own: Sequence[Recognised], report: Recognised, quote: Recognised, beside: Help, question: Question
) -> Iterator[Piece]:
    """One Azure machine: report, quote and a TD's quote are one piece; what else is there are pieces of their own."""
    plain = [(one, one.evidence) for one in own if one.evidence is not None]
    td_quotes = [evidence.data for _, evidence in plain if evidence.kind is TEEKind.TDX]
    td_quote = td_quotes[0] if len(td_quotes) == 1 else b""
    nv_index, quoted = (one.recorded[1] if one.recorded else b"" for one in (report, quote))

    def verify() -> EvidenceClaims:
        evidence = as_admitted(nv_index, quoted, td_quote)
        return _verifier(evidence.kind, question).verify(evidence, beside.endorsements, now=question.now)

    data = nv_index + quoted + td_quote
    yield Piece(name=report.name, kind=TEEKind.AZURE_HCL, format=EVIDENCE_FORMAT, data=data, verify=verify)
    for one, evidence in plain:
        if evidence.data != td_quote:
            yield _plain(one, evidence, beside, question)


def _alone(name: str, form: Form, data: bytes, beside: Help, question: Question) -> Piece:
    if form is Form.PARAVISOR_REPORT:
        verify = partial(_report, data, beside, question)
        return Piece(name=name, kind=TEEKind.AZURE_HCL, format=form.value, data=data, verify=verify)
    return Piece(
        name=name, kind=TEEKind.TPM, format=form.value, data=data, verify=partial(_quote, data, beside, question)
    )


def _report(data: bytes, beside: Help, question: Question) -> EvidenceClaims:
    verifier = _verifier(TEEKind.AZURE_HCL, question)
    return verify_report(verifier, data, beside.endorsements, now=question.now)


def _quote(data: bytes, beside: Help, question: Question) -> EvidenceClaims:
    refute_quote(data, beside.keys, question.nonce)


def _verifier(kind: TEEKind, question: Question) -> Verifier:
    verifier = question.verifiers.get(kind)
    if verifier is None:
        known = ", ".join(sorted(kind.value for kind in question.verifiers)) or "none"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence kind is {kind.value}, want one of {known}")
    return verifier


def _check_committed(committed: bytes, key_named: bool, claims: EvidenceClaims) -> None:
    """Raises `NotGenuine` if a certificate around a quote has a key other than the one the quote commits to."""
    if not (key_named and claims.slot.startswith(committed)):
        message = "report data is of another key, want that of the certificate around the quote"
        raise NotGenuine(Reason.BINDING_MISMATCH, message)
