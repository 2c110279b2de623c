# SPDX-License-Identifier: Apache-2.0
"""Attestation results of archived bundles: each finding stands with the evidence it concerns, and nothing is affirmed
that a policy refuses or a development policy alone accepts."""

from dataclasses import replace

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.audit.evidence import Subject, audit
from attestation.audit.judgement import Question
from attestation.audit.results import ear_of
from attestation.results.ear import EAR
from attestation.results.trust import Tier
from tests.support.confidential import confidential_world, exact_policy, good_machine, verifiers
from tests.support.worlds import SIMULATED, Machine, World, development_policy, world


def result(here: World, machine: Machine, policy: AppraisalPolicy, *, simulated: bool = False) -> EAR:
    bundle = machine.bundle(here.challenge(), here.clock.now)
    known = SIMULATED if simulated else verifiers()
    question = Question(policy=policy, verifiers=known, now=here.clock.now)
    subject = Subject(name="bundle.bin", files={"bundle.bin": bundle.encode()}, folder=False)
    return ear_of(audit(subject, (), question), build="test", nonce=None)


def changed(old: str, new: str) -> AppraisalPolicy:
    """The policy that accepts a good machine, with one line changed."""
    text = exact_policy().data.decode()
    assert text.count(old) == 1
    return read_policy(text.replace(old, new).encode())


def findings(ear: EAR, label: str) -> object:
    return ear.submods[label].verifier_claims.get("findings", [])


def test_a_good_machine_has_nothing_against_any_part() -> None:
    """CPU and both GPUs have a submodule each, and nothing stands against them or the whole."""
    ear = result(confidential_world(), Machine(attester=good_machine()), exact_policy())
    assert set(ear.submods) == {"cpu", "gpu0", "gpu1"}
    assert [findings(ear, label) for label in ear.submods] == [[], [], []]


def test_a_finding_stands_with_the_evidence_it_concerns() -> None:
    """What the policy refuses of the CPU is the CPU's, not the GPUs' nor the machine's, and the CPU affirms nothing."""
    policy = changed("vmpl = { exactly = 0 }", "vmpl = { exactly = 1 }")
    ear = result(confidential_world(), Machine(attester=good_machine()), policy)
    assert set(ear.submods) == {"cpu", "gpu0", "gpu1"}
    assert "snp.vmpl" in str(findings(ear, "cpu"))
    assert findings(ear, "gpu0") == findings(ear, "gpu1") == []
    assert ear.submods["cpu"].status is not Tier.AFFIRMING
    assert ear.status is not Tier.AFFIRMING


def test_a_finding_about_the_whole_is_the_machines() -> None:
    """A GPU too few is no part's fault."""
    fewer = good_machine()
    ear = result(confidential_world(), Machine(attester=replace(fewer, gpus=fewer.gpus[:1])), exact_policy())
    assert "topology.gpus" in str(findings(ear, "machine"))
    assert findings(ear, "cpu") == findings(ear, "gpu0") == []


def test_nothing_is_affirmed_under_a_development_policy() -> None:
    """Simulated evidence, and real evidence that a development policy accepts, are contraindicated alike."""
    here = world()
    assert result(here, Machine(), here.policy, simulated=True).status is Tier.CONTRAINDICATED
    lenient = read_policy(exact_policy().data.replace(b'profile = "production"', b'profile = "development"'))
    ear = result(confidential_world(), Machine(attester=good_machine()), lenient)
    assert {part.status for part in ear.submods.values()} == {Tier.CONTRAINDICATED}
    assert development_policy().simulated
