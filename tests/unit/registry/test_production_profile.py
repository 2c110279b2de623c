# SPDX-License-Identifier: Apache-2.0
"""A production registry has no path on which simulated evidence passes (ruling 27)."""

import subprocess
import sys

from attestation.appraisal.policy import read_policy
from attestation.binding import Profile
from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.verifiers import verifiers_for
from tests.support.worlds import SIMULATED, Machine, policy_bytes, world

STRICT = read_policy(policy_bytes("production-strict"))


def test_ruling_27_production_processes_have_no_simulated_verifier() -> None:
    """The verifiers of a production process do not include SIMULATED, and choosing them does not import it."""
    assert set(verifiers_for(Profile.DEVELOPMENT)) == {TEEKind.SIMULATED}
    code = (
        "import sys; from attestation.binding import Profile; from attestation.verifiers import verifiers_for;"
        "assert verifiers_for(Profile.PRODUCTION) == {};"
        "assert not [name for name in sys.modules if name.startswith('attestation.simulated')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ruling_27_production_refuses_simulated_evidence_twice_over() -> None:
    """Without the verifier it is unsupported; were it there by mistake, the policy refuses it all the same."""
    without = world(policy=STRICT, verifiers=verifiers_for(Profile.PRODUCTION)).refuse(Machine())
    assert without.reason is Reason.UNSUPPORTED
    by_mistake = world(policy=STRICT, verifiers=SIMULATED).refuse(Machine())
    assert by_mistake.reason is Reason.SIMULATED_REFUSED
