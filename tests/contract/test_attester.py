# SPDX-License-Identifier: Apache-2.0
"""The contract of `Attester`: what it makes verifies, carries the binding, and says what it is."""

import pytest

from attestation.appraisal.appraise import appraise
from attestation.binding import KeyBinding, Profile
from attestation.claims import ComponentID, ComponentKind, TEEKind
from attestation.verify import verify_bundle
from enclave.attesters.interface import Attester
from enclave.attesters.simulated import SimulatedAttester
from tests.support.worlds import ORIGIN, SIMULATED, Machine, development_policy, world


@pytest.fixture(params=["simulated"])
def attester(request: pytest.FixtureRequest) -> Attester:
    assert request.param == "simulated"
    return SimulatedAttester(components=(ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),))


def test_evidence_verifies_and_is_acceptable(attester: Attester) -> None:
    """A challenge answered with this attester verifies and passes the policy of its profile."""
    here = world()
    bundle = Machine(attester=attester).bundle(here.challenge(), here.clock.now)
    verified = verify_bundle(bundle, audience=ORIGIN, verifiers=SIMULATED, now=here.clock.now)
    assert appraise(verified.claims, development_policy(), here.clock.now) == []


def test_the_profile_says_whether_it_is_simulated(attester: Attester) -> None:
    """Only simulated evidence is of the development profile, and its binding says so by label."""
    here = world()
    bundle = Machine(attester=attester).bundle(here.challenge(), here.clock.now)
    simulated = any(evidence.kind is TEEKind.SIMULATED for evidence in bundle.evidence)
    assert (attester.profile is Profile.DEVELOPMENT) is simulated
    assert KeyBinding.decode(bundle.binding).profile is attester.profile


def test_evidence_is_bound_to_one_challenge(attester: Attester) -> None:
    """Two challenges never get the same evidence."""
    here, machine = world(), Machine(attester=attester)
    bundles = [machine.bundle(here.challenge(), here.clock.now) for _ in range(2)]
    assert bundles[0].evidence != bundles[1].evidence
    assert bundles[0].keyset == bundles[1].keyset
