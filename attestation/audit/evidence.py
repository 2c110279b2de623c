# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit evidence`: is recorded evidence genuine, and would a policy accept it? Pure: bytes and a time go in.

A subject is one file or one folder. A file is judged alone; a folder is judged as one machine, its CPU with its
devices, with every endorsement in it. Each piece goes through the same `Verifier` as at registry and gateway and is
then appraised against the policy; an archived `EvidenceBundle` goes through `verify_bundle` as at admission. Two
answers are kept apart: genuine, and acceptable; each is yes, no or undecided, and undecided is never accepted.

What is no key binding of Sealbid proves less than a bundle does. Every such verdict says so under `unproven`, and no
verdict of this module admits anything: it returns values and holds no key.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attestation.appraisal.part import appraise_part
from attestation.appraisal.topology import topology
from attestation.audit.archived import audit_archived
from attestation.audit.captures import Capture, Recomputed, Reported, read_capture, recompute
from attestation.audit.endorsement import judge_endorsement
from attestation.audit.judgement import OF_PARTS, Part, Remark, Verdict, of_error, of_findings, unproven_of
from attestation.audit.judgement import Question as Question
from attestation.audit.pieces import Piece, help_in, pieces
from attestation.audit.recognise import Beside, Recognised, recognise
from attestation.bundle import Collateral
from attestation.claims import DEVICE_KINDS, EvidenceClaims
from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason

META: Final = "meta.json"
_ALONE: Final = (
    "it commits to no key of Sealbid: evidence like this is never admitted, whatever a policy says of it",
    "no challenge of ours is in it: whether it was fresh when it was made is not known",
    "which engines, configuration and suites it stands for: only a bundle says so, and the policy was not asked",
)
_ENDORSEMENT: Final = "anything about a machine: an endorsement by itself is no evidence"
_NO_NONCE: Final = "no nonce was given: whose question it answers is not known"
_ONE_MACHINE: Final = "that its parts are of one machine: nothing in a folder of reports ties them together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One file, or the files of one folder by name; `name` is how the auditor called it."""

    name: str
    files: Mapping[str, bytes]
    folder: bool


def audit(subject: Subject, collateral: Iterable[tuple[str, bytes]], question: Question) -> Verdict:
    """The verdict about one subject, judged with its own endorsements and those given beside it.

    What refuses it is in the verdict and no error: a subject that is nothing known says UNSUPPORTED.
    """
    own = tuple(recognise(name, data) for name, data in sorted(subject.files.items()))
    given = tuple(recognise(name, data) for name, data in collateral)
    if len(own) == 1 and own[0].bundle is not None:
        endorsements = tuple(item for one in given for item in one.collateral)
        return audit_archived(subject.name, own[0].bundle, endorsements, question)
    beside = help_in((*own, *given))
    parts = tuple(_part(piece, question) for piece in pieces(own, beside, question))
    if not parts:
        parts = tuple(_without_evidence(subject, own, beside.endorsements, question))
    recomputed, remarks = _together(subject, parts, question)
    return Verdict(
        subject=subject.name,
        policy=question.policy,
        now=question.now,
        parts=parts,
        remarks=tuple(remarks),
        binding=recomputed,
        unproven=tuple(dict.fromkeys(_unproven(parts, question))),
        ignored=tuple(one.name for one in (*own, *given) if one.beside is Beside.UNKNOWN),
        asked=OF_PARTS | ({"topology"} if subject.folder else set()),
    )


def _part(piece: Piece, question: Question) -> Part:
    claims: EvidenceClaims | None = None
    try:
        claims = piece.verify()
    except AttestationError as error:
        remarks: Sequence[Remark] = [of_error(error)]
    else:
        remarks = of_findings(appraise_part(claims, question.policy))
    return Part(
        name=piece.name,
        kind=piece.kind.value,
        format=piece.format,
        sha256=piece.sha256,
        claims=claims,
        remarks=tuple(remarks),
    )


def _together(subject: Subject, parts: Sequence[Part], question: Question) -> tuple[Recomputed | None, list[Remark]]:
    """How the parts stand to each other and to the question: binding, nonce, topology."""
    claims = [part.claims for part in parts if part.claims is not None]
    recomputed, remarks = None, []
    try:
        capture = read_capture(subject.files[META]) if subject.folder and META in subject.files else None
    except MalformedEvidence as error:
        capture, remarks = None, [of_error(error)]
    if capture is None:
        remarks += _nonce(claims, question)
    else:
        recomputed, found = _capture(capture, subject, parts, question)
        remarks += found
    if subject.folder and len(claims) == len(parts):
        remarks += _one_machine(claims, question)
    return recomputed, remarks


def _one_machine(claims: Sequence[EvidenceClaims], question: Question) -> Iterator[Remark]:
    """What stands against a folder of genuine evidence being one machine; devices without a CPU are no machine."""
    devices = [part for part in claims if part.kind in DEVICE_KINDS]
    cpus = len(claims) - len(devices)
    if cpus > 1:
        message = f"folder has {cpus} cpu evidences, want 1: each machine in a folder of its own"
        yield of_error(MalformedEvidence(Reason.MALFORMED, message))
    elif cpus:
        yield from of_findings(topology(devices, question.policy))


def _capture(
    capture: Capture, subject: Subject, parts: Sequence[Part], question: Question
) -> tuple[Recomputed | None, list[Remark]]:
    """The binding style of a recorded capture, recomputed where all its evidence is genuine."""
    remarks = []
    if question.nonce is not None and question.nonce != capture.nonce:
        remarks.append(_other_nonce("capture nonce", capture.nonce, question.nonce))
    claims = {part.name: part.claims for part in parts if part.claims is not None}
    cpus = [name for name, part in claims.items() if part.kind not in DEVICE_KINDS]
    gpus = [name for name, part in claims.items() if part.kind in DEVICE_KINDS]
    if len(claims) != len(parts) or len(cpus) != 1:
        return None, remarks
    reported = Reported(
        report_data=claims[cpus[0]].slot,
        gpu_nonces=tuple(claims[name].slot for name in gpus),
        gpu_reports=tuple(subject.files[name] for name in gpus),
    )
    try:
        recomputed = recompute(capture, reported, subject.files)
    except MalformedEvidence as error:
        return None, [*remarks, of_error(error)]
    if not recomputed.matches:
        failed = next(text for text, holds in recomputed.equations if not holds)
        remarks.append(of_error(NotGenuine(Reason.BINDING_MISMATCH, f"recorded binding does not hold: {failed}")))
    return recomputed, remarks


def _nonce(claims: Sequence[EvidenceClaims], question: Question) -> Iterator[Remark]:
    """A nonce that was given must be in every device's report or, where there is no device, in the CPU's evidence."""
    if question.nonce is None:
        return
    devices = [part for part in claims if part.kind in DEVICE_KINDS]
    for part in devices or claims:
        # Slots are of fixed length: a shorter nonce stands at the start, and zeros after it.
        if part.slot.rstrip(b"\0") != question.nonce.rstrip(b"\0") or len(part.slot) < len(question.nonce):
            yield _other_nonce(f"{part.kind.value} nonce", part.slot, question.nonce)


def _other_nonce(field: str, got: bytes, want: bytes) -> Remark:
    return of_error(NotGenuine(Reason.NONCE_MISMATCH, f"{field} is {got.hex()}, want {want.hex()}"))


def _without_evidence(
    subject: Subject, own: Sequence[Recognised], endorsements: Sequence[Collateral], question: Question
) -> Iterator[Part]:
    """What is said of a subject that holds no evidence: its endorsements are judged, the rest is named."""
    found = [(one.name, item) for one in own for item in one.collateral]
    if found and not subject.folder:
        for name, item in found:
            yield judge_endorsement(name, item, endorsements, question.now)
        return
    message = f"{'folder' if subject.folder else 'file'} is nothing known, want evidence"
    yield Part(
        name=subject.name,
        kind="unknown",
        format="unknown",
        sha256=hashlib.sha256(b"".join(subject.files.values())).digest(),
        claims=None,
        remarks=(of_error(MalformedEvidence(Reason.UNSUPPORTED, message)),),
    )


def _unproven(parts: Sequence[Part], question: Question) -> Iterator[str]:
    if any(part.endorsement for part in parts):
        yield _ENDORSEMENT
    if not any(part.claims for part in parts):
        return
    yield from unproven_of(parts)
    yield from _ALONE
    if question.nonce is None:
        yield _NO_NONCE
    if len(parts) > 1:
        yield _ONE_MACHINE
