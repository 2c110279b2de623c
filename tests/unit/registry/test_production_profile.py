# SPDX-License-Identifier: Apache-2.0
"""A production registry has no path on which simulated evidence passes (ruling 27)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attestation.appraisal.policy import MAX_POLICY_BYTES, read_policy
from attestation.binding import Profile
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.files import read_file
from attestation.verifiers import verifiers_for
from tests.support.worlds import SIMULATED, Machine, policy_bytes, world

STRICT = read_policy(policy_bytes("production-strict"))


def test_ruling_27_production_processes_have_no_simulated_verifier() -> None:
    """The verifiers of a production process do not include SIMULATED, and choosing them does not import it."""
    real = set(TEEKind) - {TEEKind.SIMULATED}
    assert set(verifiers_for(Profile.DEVELOPMENT)) - real == {TEEKind.SIMULATED}
    code = (
        "import sys; from attestation.binding import Profile; from attestation.verifiers import verifiers_for;"
        "assert 'simulated' not in {kind.value for kind in verifiers_for(Profile.PRODUCTION)};"
        "assert not [name for name in sys.modules if name.startswith('attestation.simulated')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ruling_27_production_refuses_simulated_evidence_twice_over() -> None:
    """Without the verifier it is unsupported; were it there by mistake, the policy refuses it all the same."""
    without = world(policy=STRICT, verifiers=verifiers_for(Profile.PRODUCTION)).refuse(Machine())
    assert without.reason is Reason.UNSUPPORTED
    by_mistake = world(policy=STRICT, verifiers=SIMULATED).refuse(Machine())
    assert by_mistake.reason is Reason.SIMULATED_REFUSED


NAMES = ("development.toml", "simulated.toml", "production-strict.toml", "policy")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("linked", [False, True])
def test_ruling_27_a_policy_files_name_or_link_decides_nothing(tmp_path: Path, name: str, linked: bool) -> None:
    """Whatever the file is called, and through whatever link it is reached, its bytes say production."""
    target = tmp_path / "somewhere" / "else.toml"
    target.parent.mkdir()
    target.write_bytes(STRICT.data)
    path = tmp_path / name
    if linked:
        path.symlink_to(target)
    else:
        path.write_bytes(target.read_bytes())
    policy = read_policy(read_file(path, "policy", MAX_POLICY_BYTES))
    assert policy.sha256 == STRICT.sha256
    assert policy.profile is Profile.PRODUCTION
    refused = world(policy=policy, verifiers=SIMULATED).refuse(Machine())
    assert refused.reason is Reason.SIMULATED_REFUSED


def test_ruling_27_no_environment_variable_brings_simulated_back() -> None:
    """A production process started under every variable that looks like a switch still has no SIMULATED verifier."""
    names = (
        "SIMULATED",
        "SEALBID_SIMULATED",
        "SEALBID_PROFILE",
        "SEALBID_DEVELOPMENT",
        "SEALBID_ALLOW_SIMULATED",
        "DEBUG",
    )
    values = ("1", "true", "development", "simulated")
    code = (
        "from attestation.binding import Profile; from attestation.verifiers import verifiers_for;"
        "assert 'simulated' not in {kind.value for kind in verifiers_for(Profile.PRODUCTION)}"
    )
    for value in values:
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | dict.fromkeys(names, value))


def test_ruling_27_editing_the_profile_of_a_development_policy_makes_no_policy() -> None:
    """A development policy whose profile line alone was changed does not read; nor does strict with the kind added."""
    edited = policy_bytes(profile='"production"')
    listed = STRICT.data.replace(b'["tdx", "snp", "sgx"]', b'["tdx", "snp", "sgx", "simulated"]')
    device = STRICT.data.replace(b'["nvidia-gpu", "nvidia-switch"]', b'["nvidia-gpu", "nvidia-switch", "simulated"]')
    for data in (edited, listed, device):
        assert data != STRICT.data
        with pytest.raises(MalformedEvidence) as error:
            read_policy(data)
        assert error.value.reason is Reason.POLICY_INVALID
