# SPDX-License-Identifier: Apache-2.0
"""A worker attested by a TPM does the whole main job: real swtpm, real processes, a client nobody here wrote.

The policy is a development one that names the test's own EK root, so everything is marked SIMULATED; the same bytes
under a production policy are refused, for that root among other things.
"""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

from attestation.appraisal.appraise import appraise
from attestation.appraisal.policy import read_policy
from attestation.binding import Profile
from attestation.claims import ComponentKind, TEEKind
from attestation.errors import NotAcceptable, Reason
from attestation.lease import open_lease
from attestation.registry.values import Admitted
from attestation.tlog.entry import parse_entry
from attestation.trust import TrustRoot, read_trust
from attestation.verifiers import verifiers_for
from attestation.verify import verify_bundle, verify_worker
from attestation.wire.client import RegistryClient
from sealbid.demo.deployment import Plan, WorkerPlan
from tests.support.e2e import Caller, E2EDeployment, a_request, audit, model_plans, numbers, started
from tests.support.foreign import ForeignClient, array_of_output, foreign_python, foreign_request
from tests.support.swtpm import SoftwareTPM, software_tpm, tpm_policy
from tests.support.worlds import POLICIES

pytestmark = pytest.mark.net

WORKER = WorkerPlan(name="rowan", ask_nanos=400, models=("add-one",))
ROW = numbers(bytes(range(64)))


class TPMDeployment(E2EDeployment):
    """A deployment whose workers attest with a TPM."""

    tpm: SoftwareTPM

    @override
    def prepare(self) -> None:
        super().prepare()
        (self.root / "issuers.pem").write_bytes(self.tpm.issuers_pem)
        for worker in self.plan.workers:
            path = self.worker_settings(worker.name)
            lines = [
                f'tpm = {{ device = "{self.tpm.socket}", issuers_file = "issuers.pem" }}'
                if line.startswith("simulated = ")
                else line.replace('kind = "simulated"', 'kind = "tpm"')
                for line in path.read_text().splitlines()
            ]
            path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def tpm() -> Iterator[SoftwareTPM]:
    """A TPM in which the start of a worker was measured."""
    with software_tpm() as tpm:
        tpm.extend(14, b"the worker of this test")
        yield tpm


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, tpm: SoftwareTPM) -> Path:
    """The policy that names this TPM's root and what was measured."""
    path = tmp_path_factory.mktemp("policy") / "tpm.toml"
    path.write_bytes(tpm_policy(tpm))
    return path


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, tpm: SoftwareTPM, policy: Path) -> Iterator[TPMDeployment]:
    """Registry, gateway and one worker with a TPM."""
    plan = Plan(models=model_plans("add-one"), workers=[WORKER], policy=policy)
    deployment = TPMDeployment(tmp_path_factory.mktemp("tpm"), plan, launcher="sealbid")
    deployment.tpm = tpm
    with started(deployment):
        yield deployment


@pytest.fixture
def caller(deployment: TPMDeployment) -> Iterator[Caller]:
    """A client with a connection of its own."""
    with Caller(deployment) as caller:
        yield caller


@pytest.fixture(scope="module")
def trust(deployment: TPMDeployment) -> TrustRoot:
    """The deployment's trust root."""
    return read_trust(deployment.trust_file.read_bytes())


@pytest.fixture(scope="module")
def admitted(deployment: TPMDeployment) -> tuple[Admitted, bytes]:
    """The worker as the registry hands it out, and the newest heartbeat before it."""

    async def first() -> tuple[Admitted, bytes]:
        heartbeat = b""
        async with RegistryClient.connect(deployment.registry, api_key=deployment.key("gateway")) as client:
            async for event in client.watch():
                if isinstance(event, Admitted):
                    return event, heartbeat
                heartbeat = event
        raise AssertionError("the watch stream ended")

    return asyncio.run(first())


def test_a_client_is_answered_by_a_worker_with_a_tpm(caller: Caller) -> None:
    """The answer is the model's, and its receipt verifies and says SIMULATED."""
    answered = caller.infer(a_request("add-one", {"x": ROW}))
    assert np.array_equal(answered.outputs["y"], ROW + 1)
    assert answered.attempts == 1
    assert caller.receipt_file(answered.request_id).simulated


def test_tritonclient_is_answered_by_a_worker_with_a_tpm(deployment: TPMDeployment) -> None:
    """A client nobody here wrote gets its answer, from a server that calls itself SIMULATED."""
    foreign_python()
    client = ForeignClient(gateway=deployment.gateway, key=deployment.key("acme"), client="sync")
    assert client.call("get_server_metadata", as_json=True)["name"] == "sealbid (SIMULATED)"
    (answer,) = client.take({"infer": foreign_request("add-one", {"x": ROW})})
    assert np.array_equal(array_of_output(answer, "y"), ROW + 1)
    assert answer["parameters"]["sealbid-profile"] == "SIMULATED"


def test_the_auditor_sees_simulated(deployment: TPMDeployment, caller: Caller) -> None:
    """`sealbid audit receipt` accepts the receipt and says what it is worth."""
    answered = caller.infer(a_request("add-one", {"x": ROW}))
    verdict = audit(caller.receipt(answered.request_id), deployment.trust_file)
    assert verdict.returncode == 0, verdict.stderr
    assert json.loads(verdict.stdout)["simulated"] is True


def test_lease_and_log_entry_say_tpm_and_simulated(admitted: tuple[Admitted, bytes], trust: TrustRoot) -> None:
    """The lease is of the development profile; the verdict in the log names the kind and is marked."""
    presented = admitted[0].presented
    assert open_lease(presented.lease, trust.lease_key).profile is Profile.DEVELOPMENT
    body = parse_entry(presented.verdict_entry).body
    assert (body["verdict"], body["simulated"]) == ("pass", True)
    claims = body["claims"]
    assert isinstance(claims, dict)
    assert claims["tee"] == "tpm"
    assert "measured.pcr14" in claims


def test_every_log_line_and_sample_says_simulated(deployment: TPMDeployment, caller: Caller) -> None:
    """A real TPM under a development policy is nowhere shown as more than SIMULATED."""
    caller.infer(a_request("add-one", {"x": ROW}))
    for name in ("gateway", "registry", WORKER.name):
        lines = deployment.processes.log(name).read_text().splitlines()
        assert lines, f"{name} says something"
        assert [line for line in lines if json.loads(line).get("profile") != "SIMULATED"] == []
        samples = [line for line in deployment.scrape(name).decode().splitlines() if line and not line.startswith("#")]
        assert samples, f"{name} measures something"
        assert [sample for sample in samples if 'profile="SIMULATED"' not in sample] == []


def test_a_gateway_verifies_the_worker_itself(admitted: tuple[Admitted, bytes], trust: TrustRoot, policy: Path) -> None:
    """Under its own copy of the policy the worker is attested, by its TPM, and claims to be no more than simulated."""
    worker, heartbeat = admitted
    attested = verify_worker(
        worker.presented,
        heartbeat=heartbeat,
        trust=trust,
        policy=read_policy(policy.read_bytes()),
        verifiers=verifiers_for(Profile.DEVELOPMENT),
        now=datetime.now(UTC),
    )
    assert attested.claims.kind is TEEKind.TPM
    assert attested.claims.simulated
    assert [identity.kind for identity in attested.claims.platform_ids] == [ComponentKind.EK]


@pytest.mark.parametrize("name", ["production-strict", "production-hopper-tdx"])
def test_the_same_bytes_are_refused_in_production_for_their_root(
    admitted: tuple[Admitted, bytes], trust: TrustRoot, tpm: SoftwareTPM, name: str
) -> None:
    """The EK's root is among the findings, by name; so is that the binding is of a development profile."""
    worker, heartbeat = admitted
    policy = read_policy((POLICIES / f"{name}.toml").read_bytes())
    now, verifiers = datetime.now(UTC), verifiers_for(Profile.PRODUCTION)
    verified = verify_bundle(worker.presented.bundle, audience=trust.origin, verifiers=verifiers, now=now)
    findings = appraise(verified.claims, policy, now)
    assert [finding.got for finding in findings if finding.reason is Reason.ROOT_REFUSED] == [tpm.root_sha256]
    assert Reason.SIMULATED_REFUSED in {finding.reason for finding in findings}
    with pytest.raises(NotAcceptable):
        verify_worker(worker.presented, heartbeat=heartbeat, trust=trust, policy=policy, verifiers=verifiers, now=now)
