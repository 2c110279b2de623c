# SPDX-License-Identifier: Apache-2.0
"""A whole appraisal becomes one result: a submodule per part, findings in words, and no machine's identity in it."""

import pytest

from attestation.appraisal.policy import read_policy
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.results.appraised import Appraised, Note, policy_id, result_of
from attestation.results.ear import EAR
from attestation.results.trust import Tier, TrustClaim
from tests.support.ears import NOW, SERIAL, claims
from tests.support.worlds import policy_bytes

POLICY = read_policy(policy_bytes("recorded-evidence"))
FAILED = Note(reason=Reason.SIGNATURE_INVALID, text="tdx quote signature does not verify, want one that does")


def part(kind: TEEKind = TEEKind.TDX, *notes: Note, stated: EvidenceClaims | None = None) -> Appraised:
    return Appraised(kind=kind, claims=stated or claims(kind), notes=notes)


def result(*parts: Appraised, whole: tuple[Note, ...] = (), nonce: bytes = b"") -> EAR:
    return result_of(parts, whole, policy=POLICY, build="0.1.0", issued=NOW, expires=None, nonce=nonce)


def test_parts_are_labelled_in_order() -> None:
    """One CPU, then devices by their kind and number."""
    gpu, switch = part(TEEKind.NVIDIA_GPU), part(TEEKind.NVIDIA_SWITCH)
    assert list(result(part(), gpu, gpu, switch, gpu).submods) == ["cpu", "gpu0", "gpu1", "switch0", "gpu2"]


def test_a_part_says_what_its_evidence_says() -> None:
    """Measurements and facts as the evidence has them, its nonce, and the policy by its digest."""
    cpu = result(part()).submods["cpu"]
    assert cpu.attester_claims["measured.mrtd"] == "sha384:" + "11" * 48
    assert cpu.attester_claims["fact.tcb_evaluation_number"] == 20
    assert cpu.attester_claims["fact.smt_enabled"] is True
    assert cpu.nonce == bytes(range(64))
    assert cpu.policies == (policy_id(POLICY),)
    assert POLICY.sha256.hex() in policy_id(POLICY)


def test_no_identity_of_a_machine_leaves() -> None:
    """Neither form holds a platform id, in any spelling."""
    made = result(part(), part(TEEKind.NVIDIA_GPU))
    for data in (made.to_cbor(), made.to_json()):
        assert SERIAL not in data
        assert SERIAL.hex().encode() not in data
        assert b"serial-of-a-machine" not in data


def test_findings_stand_in_words() -> None:
    """Reason and text of each, in order; the status follows."""
    refused = Note(reason=Reason.TCB_REFUSED, text="tdx.tcb_status is OutOfDate, want UpToDate")
    got = result(part(TEEKind.TDX, refused), part(TEEKind.NVIDIA_GPU))
    assert got.submods["cpu"].verifier_claims["findings"] == (
        "TCB_REFUSED: tdx.tcb_status is OutOfDate, want UpToDate",
    )
    assert got.submods["cpu"].status is got.status is Tier.CONTRAINDICATED
    assert got.submods["gpu0"].status is Tier.AFFIRMING


def test_what_concerns_the_whole_has_a_submodule_of_its_own() -> None:
    """A missing GPU is nobody's fault alone, and lowers the whole."""
    wrong = Note(reason=Reason.TOPOLOGY_REFUSED, text="topology.gpus is 7, want 8")
    got = result(part(), whole=(wrong,))
    assert got.submods["cpu"].status is Tier.AFFIRMING
    assert got.submods["machine"].status is got.status is Tier.CONTRAINDICATED


def test_evidence_that_is_not_genuine_states_nothing() -> None:
    """Only why."""
    got = result(Appraised(kind=TEEKind.TDX, claims=None, notes=(FAILED,))).submods["cpu"]
    assert (got.status, dict(got.vector)) == (Tier.CONTRAINDICATED, {TrustClaim.HARDWARE: 99})
    assert (dict(got.attester_claims), got.nonce) == ({}, b"")


def test_a_slot_that_is_no_nonce_is_left_out() -> None:
    """The draft's nonces have 8 to 64 bytes."""
    assert result(part(stated=claims(slot=b"short"))).submods["cpu"].nonce == b""


def test_a_relying_partys_nonce_is_echoed() -> None:
    """Of 8 to 64 bytes; another is refused."""
    assert result(part(), nonce=b"12345678").nonce == b"12345678"
    with pytest.raises(MalformedEvidence):
        result(part(), nonce=b"1234567")
