# SPDX-License-Identifier: Apache-2.0
"""Azure's recordings: report and quote of one machine are what admission would judge; alone each proves what it can."""

import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.audit.evidence import Subject, audit
from attestation.audit.judgement import Answer, Question, Verdict
from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.exits import Exit
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT
from tests.support import fake_azure as azure
from tests.unit.attestation.audit.recorded import permissive


def recorded(world: azure.AzureWorld) -> bytes:
    """The quote of a world as azure-cvm-tooling keeps it."""
    signature = world.parts.signature[6:]
    values = b"".join(world.parts.pcrs.values())
    attest = world.parts.attest
    return b"".join(
        (
            struct.pack("<Q", len(signature)) + signature,
            struct.pack("<Q", len(attest)) + attest,
            struct.pack("<Q", len(world.parts.pcrs)) + values,
        )
    )


def judged(
    world: azure.AzureWorld, *files: bytes, beside: tuple[bytes, ...] = (), nonce: bytes | None = None
) -> Verdict:
    """The verdict about a folder of files, or about one file, with the world's endorsements given beside."""
    verifiers = {TEEKind.AZURE_HCL: world.verifier}
    question = Question(policy=permissive(), verifiers=verifiers, now=azure.NOW, nonce=nonce)
    given = [(f"c{place}.der", item.data) for place, item in enumerate(world.collateral)]
    given += [(f"b{place}", data) for place, data in enumerate(beside)]
    subject = Subject(name="vm", files={f"f{place}": data for place, data in enumerate(files)}, folder=len(files) > 1)
    return audit(subject, given, question)


def key_pem(name: str = "azure ak") -> bytes:
    return azure.ak(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_report_and_quote_of_one_machine_are_one_evidence() -> None:
    """They are accepted as the evidence admission knows, and answer the nonce that was quoted."""
    here = azure.good()
    verdict = judged(here, here.parts.hcl_report, recorded(here), nonce=azure.SLOT)
    assert (verdict.exit, [part.format for part in verdict.parts]) == (Exit.ACCEPTED, [EVIDENCE_FORMAT])
    assert judged(here, here.parts.hcl_report, recorded(here), nonce=bytes(32)).reasons == (Reason.NONCE_MISMATCH,)


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (azure.with_other_runtime_data(), Reason.BINDING_MISMATCH),
        (azure.signed_by_another_key(), Reason.SIGNATURE_INVALID),
        (azure.with_another_pcr(), Reason.SIGNATURE_INVALID),
    ],
    ids=["runtime data", "key", "pcr"],
)
def test_parts_of_two_machines_are_not_one(world: azure.AzureWorld, reason: Reason) -> None:
    """A quote of another vTPM, another register or another runtime data is not genuine."""
    verdict = judged(world, world.parts.hcl_report, recorded(world))
    assert (verdict.exit, verdict.reasons) == (Exit.REJECTED, (reason,))


def test_a_report_alone_is_as_genuine_as_its_hardware() -> None:
    """With the chip's certificates it is genuine; without them its endorsement is missing; on TDX its quote is."""
    here = azure.good()
    assert judged(here, here.parts.hcl_report).genuine is Answer.YES
    assert judged(replace(here, collateral=()), here.parts.hcl_report).reasons == (Reason.ENDORSEMENT_MISSING,)
    assert judged(here, azure.on_tdx().parts.hcl_report).reasons == (Reason.ENDORSEMENT_MISSING,)
    other = azure.with_other_runtime_data()
    assert judged(other, other.parts.hcl_report).reasons == (Reason.BINDING_MISMATCH,)


def test_a_quote_alone_can_be_refuted_and_never_proven() -> None:
    """No key, or a key nobody ties to a TPM, leaves it undecided; another key, register or nonce disproves it."""
    here, torn = azure.good(), azure.with_another_pcr()
    missing = (Exit.UNDECIDED, (Reason.ENDORSEMENT_MISSING,))
    assert (judged(here, recorded(here)).exit, judged(here, recorded(here)).reasons) == missing
    with_key = judged(here, recorded(here), beside=(key_pem(),), nonce=azure.SLOT)
    assert (with_key.exit, with_key.reasons) == missing
    two = judged(here, recorded(here), beside=(key_pem("another ak"), key_pem()))
    assert (two.exit, two.reasons) == missing
    for refuted in (
        judged(here, recorded(here), beside=(key_pem("another ak"),)),
        judged(torn, recorded(torn), beside=(key_pem(),)),
    ):
        assert (refuted.exit, refuted.reasons) == (Exit.REJECTED, (Reason.SIGNATURE_INVALID,))
    assert judged(here, recorded(here), nonce=bytes(32)).reasons == (Reason.NONCE_MISMATCH,)
    assert judged(here, here.parts.attest).reasons == (Reason.ENDORSEMENT_MISSING,)


@pytest.mark.parametrize("cut", [1, 9, 300, 700])
def test_a_torn_quote_is_malformed(cut: int) -> None:
    """Bytes that end early, or go on, are no quote, alone and beside a report."""
    here = azure.good()
    for torn in (recorded(here)[:-cut], recorded(here) + b"x"):
        verdict = judged(here, here.parts.hcl_report, torn)
        assert verdict.acceptable is not Answer.YES
        assert verdict.exit is Exit.MALFORMED


def test_a_key_by_itself_is_no_evidence() -> None:
    """A public key in a file proves nothing."""
    assert judged(azure.good(), key_pem()).reasons == (Reason.UNSUPPORTED,)
