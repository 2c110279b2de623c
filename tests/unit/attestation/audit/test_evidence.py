# SPDX-License-Identifier: Apache-2.0
"""An audit accepts only what is genuine and acceptable in every part, and says of everything else why not."""

from dataclasses import replace

import pytest

from attestation.audit.evidence import audit
from attestation.audit.evidence_view import SIMULATED, lines, to_json, worst_exit
from attestation.audit.judgement import Answer
from attestation.binding import Challenge
from attestation.claims import ComponentID, ComponentKind, TCBStatus, TEEKind
from attestation.errors import (
    AttestationError,
    CollateralUnavailable,
    MalformedEvidence,
    NotAcceptable,
    NotGenuine,
    Reason,
    Stale,
)
from attestation.exits import Exit
from attestation.simulated.verifier import SimulatedVerifier
from tests.conformance.policies import capture
from tests.support.worlds import Machine, development_policy, world
from tests.unit.attestation.audit.recorded import (
    NONCE,
    NOW,
    QUOTE,
    REPORT,
    SWITCH_REPORT,
    Says,
    claims,
    file,
    folder,
    permissive,
    question,
)

REFUSALS = [
    (NotGenuine(Reason.SIGNATURE_INVALID, "x"), Answer.NO, Answer.NO, Exit.REJECTED),
    (CollateralUnavailable(Reason.COLLATERAL_EXPIRED, "x"), Answer.UNDECIDED, Answer.UNDECIDED, Exit.UNDECIDED),
    (CollateralUnavailable(Reason.ENDORSEMENT_MISSING, "x"), Answer.UNDECIDED, Answer.UNDECIDED, Exit.UNDECIDED),
    (MalformedEvidence(Reason.UNSUPPORTED, "x"), Answer.UNDECIDED, Answer.UNDECIDED, Exit.UNDECIDED),
    (MalformedEvidence(Reason.MALFORMED, "x"), Answer.NO, Answer.NO, Exit.MALFORMED),
    (NotAcceptable(Reason.DEBUG_REFUSED, "x"), Answer.YES, Answer.NO, Exit.REJECTED),
    (Stale(Reason.EVIDENCE_STALE, "x"), Answer.YES, Answer.NO, Exit.REJECTED),
]


def test_good_evidence_is_accepted() -> None:
    """Genuine evidence against which the policy has nothing exits 0, and says what stays unproven all the same."""
    verdict = audit(file("quote.bin", QUOTE), [], question())
    assert (verdict.exit, verdict.genuine, verdict.acceptable) == (Exit.ACCEPTED, Answer.YES, Answer.YES)
    assert any("never admitted" in line for line in verdict.unproven)


@pytest.mark.parametrize(("error", "genuine", "acceptable", "code"), REFUSALS, ids=lambda value: str(value)[:20])
def test_each_kind_of_refusal_has_its_own_answers(
    error: AttestationError, genuine: Answer, acceptable: Answer, code: Exit
) -> None:
    """What a verifier raises decides both answers and the exit status, under its own reason and with a remedy."""
    verdict = audit(file("quote.bin", QUOTE), [], question(cpu=Says(error)))
    assert (verdict.genuine, verdict.acceptable, verdict.exit) == (genuine, acceptable, code)
    assert verdict.reasons == (error.reason,)
    assert all(remark.remedy for remark in verdict.all_remarks)


def test_a_finding_refuses_and_an_undecided_one_does_not_accept() -> None:
    """A policy's finding rejects; a missing manifest leaves it undecided; both together reject."""
    out_of_date = replace(claims(TEEKind.TDX), tcb_status=TCBStatus.OUT_OF_DATE)
    verdict = audit(file("quote.bin", QUOTE), [], question(cpu=Says(out_of_date)))
    assert (verdict.exit, verdict.genuine, verdict.reasons) == (Exit.REJECTED, Answer.YES, (Reason.TCB_REFUSED,))
    no_manifest = Says(claims(TEEKind.NVIDIA_GPU, driver_rim="missing"))
    verdict = audit(file("gpu0.report.bin", REPORT), [], question(gpu=no_manifest))
    assert (verdict.exit, verdict.genuine, verdict.acceptable) == (Exit.UNDECIDED, Answer.YES, Answer.UNDECIDED)
    both = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT)
    assert audit(both, [], question(cpu=Says(out_of_date), gpu=no_manifest)).exit is Exit.REJECTED


def test_one_bad_part_decides_for_the_folder() -> None:
    """A folder is as good as its worst part."""
    forged = Says(NotGenuine(Reason.SIGNATURE_INVALID, "x"))
    both = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT)
    assert audit(both, [], question()).exit is Exit.ACCEPTED
    verdict = audit(both, [], question(gpu=forged))
    assert (verdict.genuine, verdict.exit) == (Answer.NO, Exit.REJECTED)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"{}", b"[]", b"hello", b"<" * 5, b"0\x82"])
def test_what_nobody_knows_is_undecided(data: bytes) -> None:
    """Bytes that look like nothing are never accepted and never blamed on a vendor's verifier."""
    verdict = audit(file("thing", data), [], question())
    assert verdict.exit in (Exit.UNDECIDED, Exit.MALFORMED)
    assert verdict.acceptable is not Answer.YES


def test_an_empty_folder_is_undecided() -> None:
    """A folder without evidence accepts nothing."""
    verdict = audit(folder(), [], question())
    assert (verdict.exit, verdict.reasons) == (Exit.UNDECIDED, (Reason.UNSUPPORTED,))


def test_a_kind_without_verifier_is_unsupported() -> None:
    """A process that has no verifier of a kind says so instead of passing the evidence by."""
    asked = replace(question(), verifiers={})
    assert audit(file("quote.bin", QUOTE), [], asked).reasons == (Reason.UNSUPPORTED,)


def test_a_given_nonce_must_be_in_the_evidence() -> None:
    """The nonce is compared with every device, or with the CPU where there is none; zeros may follow it."""
    assert audit(file("quote.bin", QUOTE), [], question(nonce=NONCE)).exit is Exit.ACCEPTED
    assert audit(file("quote.bin", QUOTE), [], question(nonce=NONCE[:-1])).reasons == (Reason.NONCE_MISMATCH,)
    assert audit(file("quote.bin", QUOTE), [], question(nonce=NONCE + bytes(33))).reasons == (Reason.NONCE_MISMATCH,)
    assert audit(file("gpu.bin", REPORT), [], question(nonce=bytes(32))).reasons == (Reason.NONCE_MISMATCH,)
    both = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT)
    stale = Says(claims(TEEKind.NVIDIA_GPU, slot=bytes(32)))
    assert audit(both, [], question(gpu=stale, nonce=NONCE)).reasons == (Reason.NONCE_MISMATCH,)
    second_is_stale = Says(lambda data: claims(TEEKind.NVIDIA_GPU, slot=NONCE if data == REPORT else bytes(32)))
    three = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT, gpu1_report_bin=REPORT + b"2")
    assert audit(three, [], question(gpu=second_is_stale, nonce=NONCE)).reasons == (Reason.NONCE_MISMATCH,)


def test_two_machines_are_not_one() -> None:
    """Two CPUs in one folder are refused: their devices could be anybody's."""
    verdict = audit(folder(a_quote_bin=QUOTE, b_quote_bin=QUOTE), [], question())
    assert verdict.exit is Exit.MALFORMED


def test_topology_is_judged_for_a_folder_and_not_for_a_file() -> None:
    """A policy that wants two GPUs refuses a machine with one, and asks nothing of a single report."""
    two = permissive(capture().replace('gpus = { unchecked = "recorded by others" }', "gpus = { exactly = 2 }"))
    one = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT)
    assert audit(one, [], question(policy=two)).reasons == (Reason.TOPOLOGY_REFUSED,)
    assert audit(file("gpu0.report.bin", REPORT), [], question(policy=two)).exit is Exit.ACCEPTED


def test_every_endorsement_given_reaches_the_verifier() -> None:
    """Endorsements of the folder and those given beside it are handed over alike."""
    cpu = Says(claims(TEEKind.TDX))
    json = b'{"tcb_info": "", "qe_identity": ""}'
    audit(folder(tdx_quote_bin=QUOTE, collateral_json=json), [("r.xml", b"<a/>")], question(cpu=cpu))
    assert [item.kind for item in cpu.seen[0]] == ["intel-dcap-json", "nvidia-rim"]


def test_what_is_not_read_is_said() -> None:
    """A file of the folder, or given beside it, that nobody knows is named: it was not part of the verdict."""
    verdict = audit(folder(tdx_quote_bin=QUOTE, notes_bin=b"x", a_md=b"text"), [("odd.der", b"y")], question())
    assert (verdict.exit, verdict.ignored) == (Exit.ACCEPTED, ("notes.bin", "odd.der"))


@pytest.mark.parametrize("data", [b"<a/>", b'{"tcb_info": "", "qe_identity": ""}'])
def test_an_endorsement_by_itself_is_never_accepted(data: bytes) -> None:
    """What endorses evidence is no evidence."""
    assert audit(file("e", data), [], question()).exit is not Exit.ACCEPTED


def test_an_archived_bundle_is_judged_as_at_admission() -> None:
    """A bundle of ours goes through the verification of admission: accepted by its policy, refused when altered."""
    here, machine = world(), Machine()
    challenge = here.challenge()
    bundle = machine.bundle(challenge, here.clock.now).encode()
    asked = replace(
        question(),
        policy=development_policy(),
        verifiers={TEEKind.SIMULATED: SimulatedVerifier()},
        now=here.clock.now,
    )
    assert audit(file("bundle.cbor", bundle), [], asked).exit is Exit.ACCEPTED
    at = bundle.index(challenge) + len(challenge) // 2
    altered = bundle[:at] + bytes([bundle[at] ^ 1]) + bundle[at + 1 :]
    verdict = audit(file("bundle.cbor", altered), [], asked)
    assert verdict.acceptable is not Answer.YES
    assert audit(file("bundle.cbor", bundle[:-1]), [], asked).exit is Exit.MALFORMED


def test_an_archived_bundle_answers_the_challenge_it_holds() -> None:
    """The nonce that is given must be the challenge's, and endorsements beside it count as if they were in it."""
    here, machine = world(), Machine()
    challenge = here.challenge()
    bundle = machine.bundle(challenge, here.clock.now)
    nonce = Challenge.decode(challenge).random
    asked = replace(
        question(nonce=nonce),
        policy=development_policy(),
        verifiers={TEEKind.SIMULATED: SimulatedVerifier()},
        now=here.clock.now,
    )
    assert audit(file("b", bundle.encode()), [], asked).exit is Exit.ACCEPTED
    another = audit(file("b", bundle.encode()), [], replace(asked, nonce=bytes(32)))
    assert (another.exit, another.reasons) == (Exit.REJECTED, (Reason.NONCE_MISMATCH,))
    seen = Says(CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, "x"))
    verifiers = {TEEKind.SIMULATED: seen}
    audit(file("b", bundle.encode()), [("r.xml", b"<a/>")], replace(asked, verifiers=verifiers))
    assert [item.kind for item in seen.seen[0]] == [*(item.kind for item in bundle.collateral), "nvidia-rim"]


def test_the_worst_of_several_decides_the_exit() -> None:
    """Accepted beside rejected is rejected; malformed outranks both."""
    good = audit(file("quote.bin", QUOTE), [], question())
    bad = audit(file("quote.bin", QUOTE), [], question(cpu=Says(NotGenuine(Reason.CHAIN_INVALID, "x"))))
    torn = audit(file("quote.bin", QUOTE), [], question(cpu=Says(MalformedEvidence(Reason.MALFORMED, "x"))))
    assert worst_exit([good, good]) is Exit.ACCEPTED
    assert worst_exit([good, bad]) is Exit.REJECTED
    assert worst_exit([bad, torn, good]) is Exit.MALFORMED


def test_people_see_sign_reason_and_remedy() -> None:
    """The table marks what holds, what does not and what is open, and names every skipped check with its reason."""
    missing = Says(claims(TEEKind.NVIDIA_GPU, vbios_rim="missing"))
    both = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT, switch0_report_bin=SWITCH_REPORT)
    table = "\n".join(lines([audit(both, [], question(gpu=missing))]))
    assert table.startswith(SIMULATED)
    for shown in (
        "✓ genuine     yes",
        "? acceptable  undecided",
        "? RIM_UNAVAILABLE: nvidia-gpu.vbios_rim",
        "remedy: ",
    ):
        assert shown in table
    assert "recorded by others: " in table
    assert "facts.snp" not in table


def test_identities_of_machines_are_never_shown() -> None:
    """Neither form of a verdict holds a platform id."""
    secret = bytes.fromhex("c0ffee" * 5)
    known = replace(claims(TEEKind.TDX), platform_ids=(ComponentID(kind=ComponentKind.CPU, value=secret),))
    verdict = audit(file("quote.bin", QUOTE), [], question(cpu=Says(known)))
    assert secret.hex() not in str(to_json([verdict])) + "\n".join(lines([verdict]))
    assert NOW.isoformat() in str(to_json([verdict]))
