# SPDX-License-Identifier: Apache-2.0
"""The contract of `Attester`: what it makes verifies, carries the binding, and says what it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from attestation.appraisal.appraise import appraise
from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.binding import KeyBinding, Profile
from attestation.claims import ComponentID, ComponentKind, TEEKind
from attestation.tee.interface import Verifier
from attestation.tee.tpm.verifier import TPMVerifier
from attestation.verify import verify_bundle
from enclave.attesters.interface import Attester
from enclave.attesters.simulated import SimulatedAttester
from tests.support.swtpm import software_tpm, tpm_policy
from tests.support.worlds import ORIGIN, SIMULATED, Machine, World, development_policy, world


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An attester, and what accepts its evidence."""

    attester: Attester
    policy: AppraisalPolicy
    verifiers: Mapping[TEEKind, Verifier]

    def world(self) -> World:
        """A registry whose clock tells today's time, as certificates made today are not valid on other days."""
        here = world(policy=self.policy, verifiers=self.verifiers)
        here.clock.now = datetime.now(UTC).replace(microsecond=0)
        return here


@pytest.fixture(params=["simulated", "tpm"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Every attester that can run here."""
    if request.param == "simulated":
        attester = SimulatedAttester(components=(ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),))
        yield Case(attester=attester, policy=development_policy(), verifiers=SIMULATED)
        return
    with software_tpm() as tpm:
        policy = read_policy(tpm_policy(tpm, activation='unchecked = "no registry is asked here"'))
        yield Case(attester=tpm.attester(), policy=policy, verifiers={TEEKind.TPM: TPMVerifier()})


def test_evidence_verifies_and_is_acceptable(case: Case) -> None:
    """A challenge answered with this attester verifies and passes the policy of its profile."""
    here = case.world()
    bundle = Machine(attester=case.attester).bundle(here.challenge(), here.clock.now)
    verified = verify_bundle(bundle, audience=ORIGIN, verifiers=case.verifiers, now=here.clock.now)
    assert appraise(verified.claims, case.policy, here.clock.now) == []


def test_a_binding_is_of_the_attesters_profile(case: Case) -> None:
    """The binding says the profile by its label; simulated evidence is never of the production profile."""
    here = case.world()
    bundle = Machine(attester=case.attester).bundle(here.challenge(), here.clock.now)
    simulated = any(evidence.kind is TEEKind.SIMULATED for evidence in bundle.evidence)
    assert KeyBinding.decode(bundle.binding).profile is case.attester.profile
    assert case.attester.profile is Profile.DEVELOPMENT or not simulated


def test_evidence_is_bound_to_one_challenge(case: Case) -> None:
    """Two challenges never get the same evidence."""
    here, machine = case.world(), Machine(attester=case.attester)
    bundles = [machine.bundle(here.challenge(), here.clock.now) for _ in range(2)]
    assert bundles[0].evidence != bundles[1].evidence
    assert bundles[0].keyset == bundles[1].keyset
