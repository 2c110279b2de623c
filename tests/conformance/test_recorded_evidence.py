# SPDX-License-Identifier: Apache-2.0
"""Every expectation of `tests/vectors/expected.toml`, through the same path as `sealbid audit evidence`."""

import hashlib
from functools import cache

import pytest

from attestation.appraisal.policy import AppraisalPolicy
from attestation.audit.evidence import Subject, audit
from attestation.audit.judgement import Answer, Question, Verdict
from attestation.binding import Profile
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import read_tcg2
from attestation.tee.interface import Verifiers
from attestation.tee.tpm.attest import read_quote
from attestation.verifiers import verifiers_for
from tests.conformance.expectations import Bundle, Case, Column, Listed, bundles, cases, listed
from tests.conformance.policies import policy_named
from tests.support.vectors import vector, vectors_folder

SHOWN: dict[Answer, Column] = {
    Answer.YES: True,
    Answer.NO: False,
    Answer.UNDECIDED: "undecided",
    Answer.NOT_ASKED: "n/a",
}
CASES = cases()
BUNDLES = bundles()
SHIPPED = ("production-strict", "production-hopper-tdx")


@cache
def _policy(name: str) -> AppraisalPolicy:
    return policy_named(name)


@cache
def _verifiers(profile: Profile) -> Verifiers:
    return verifiers_for(profile)


@cache
def _subject(path: str) -> Subject:
    where = vectors_folder() / path
    if where.is_dir():
        files = {file.name: file.read_bytes() for file in sorted(where.iterdir())}
        return Subject(name=path, files=files, folder=True)
    return Subject(name=path, files={where.name: vector(path)}, folder=False)


def judge(case: Case, policy: str | None = None) -> Verdict:
    """The verdict about the file or folder of a case."""
    chosen = _policy(policy or case.policy)
    beside = [(path.rsplit("/", 1)[-1], vector(path)) for path in case.beside]
    question = Question(policy=chosen, verifiers=_verifiers(chosen.profile), now=case.at, nonce=case.nonce)
    return audit(_subject(case.path), beside, question)


def _id(case: Case) -> str:
    return f"{case.path}#{case.name}"


def _column(answer: Answer) -> Column:
    return SHOWN[answer]


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_recorded_evidence_comes_to_what_was_derived(case: Case) -> None:
    """Genuine and acceptable are as derived from the bytes; the reason is found, or nothing where nothing should be."""
    verdict = judge(case)
    found = {reason.value for reason in verdict.reasons}
    texts = [f"{remark.reason}: {remark.text}" for remark in verdict.all_remarks]
    assert _column(verdict.genuine) in case.genuine, texts
    assert _column(verdict.acceptable) in case.acceptable, texts
    if case.reasons:
        assert found & set(case.reasons), texts
    else:
        assert found == set(), texts
    assert set(case.besides) <= found, texts


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.path)
def test_recorded_bindings_recompute(bundle: Bundle) -> None:
    """The binding style of a capture is recognised and holds where its evidence is genuine; else it is not asked."""
    verdict = judge(bundle.cases[0])
    if verdict.genuine is Answer.YES:
        assert verdict.binding is not None
        assert (verdict.binding.style, verdict.binding.matches) == (bundle.binding, bundle.binding_matches)
        logs = [part.claims.facts.get("event_log") for part in verdict.parts if part.claims]
        assert ("replayed" in logs) == (bundle.event_log == "matches")
    else:
        assert verdict.binding is None


@pytest.mark.parametrize("one", [one for one in listed() if one.event_log], ids=lambda one: one.path)
def test_recorded_event_logs_replay_to_what_was_quoted(one: Listed) -> None:
    """The registers a log gives hash to the digest inside the TPM's quote."""
    quote = read_quote(vector(one.path))
    registers = replay(read_tcg2(vector(one.event_log or "")), quote.bank, quote.pcrs)
    digest = hashlib.new(quote.bank, b"".join(registers[index] for index in quote.pcrs)).digest()
    assert digest == quote.pcr_digest


@pytest.mark.parametrize("policy", SHIPPED)
def test_no_shipped_production_policy_accepts_anything_recorded(policy: str) -> None:
    """Whatever the time and the collateral, a production policy whose lists are empty accepts nothing."""
    accepted = [_id(case) for case in CASES if judge(case, policy).exit == 0]
    assert accepted == []


def test_every_kind_of_evidence_is_recognised() -> None:
    """No listed evidence is taken for something unknown."""
    roles = {one.path: one.role for one in listed()}
    unknown = [
        case.path
        for case in CASES
        if roles.get(case.path) == "evidence" and [part.kind for part in judge(case).parts] == ["unknown"]
    ]
    assert sorted(set(unknown)) == []
