# SPDX-License-Identifier: Apache-2.0
"""The registry as a process on loopback: the whole path over gRPC, roles, watch streams, restarts. All SIMULATED."""

import asyncio
import contextlib
import io
import logging
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, generate_latest
from sealbid_wire.registry.v1 import registry_pb2, registry_pb2_grpc

from attestation import logs
from attestation.appraisal.policy import read_policy
from attestation.attested import AttestedWorker
from attestation.binding import Keyset, Profile
from attestation.claims import ComponentID, ComponentKind
from attestation.errors import Reason, SealbidError, SettingsError
from attestation.lease import open_heartbeat
from attestation.registration import sign_enrolment
from attestation.registry.gateways import verify_gateway
from attestation.registry.registry import Registry
from attestation.registry.values import Admitted, Refused
from attestation.revocation import SealGuard
from attestation.rpc.auth import bearer, new_api_key
from attestation.rpc.pinning import GATEWAY_NAME, make_identity
from attestation.server.admin import initialise
from attestation.server.app import RunningRegistry, running
from attestation.server.config import RegistrySettings, TLSFiles
from attestation.server.telemetry import Telemetry
from attestation.tlog.entry import Kind, parse_entry
from attestation.tlog.store import LogError
from attestation.trust import TrustRoot, read_trust
from attestation.verify import verify_worker
from attestation.wire.client import RegistryClient
from enclave.attesters.simulated import SimulatedAttester
from tests.support.worlds import ORIGIN, POLICIES, SIMULATED, Entropy, Machine

pytestmark = pytest.mark.net

ROLES = ("provider", "gateway", "operator", "auditor", "caller")


@dataclass(frozen=True)
class Site:
    """An initialised registry on disk, and a key for every role."""

    settings: RegistrySettings
    keys: dict[str, str]
    trust: TrustRoot

    def run(self, **changes: object) -> AbstractAsyncContextManager[RunningRegistry]:
        return running(replace(self.settings, **changes))  # type: ignore[arg-type]

    def client(self, registry: RunningRegistry, role: str) -> RegistryClient:
        return RegistryClient.connect(registry.address, api_key=self.keys[role])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    entropy = Entropy()
    made = {role: new_api_key(entropy) for role in ROLES}
    names = {"provider": "provider-a"}
    keys_file = tmp_path / "keys.toml"
    keys_file.write_text(
        "".join(
            f'[[key]]\nname = "{names.get(role, role)}-1"\nsha256 = "{digest}"\nroles = ["{role}"]\n'
            for role, (_, digest) in made.items()
        )
    )
    settings = RegistrySettings(
        origin=ORIGIN,
        state_dir=tmp_path / "state",
        policy_file=POLICIES / "development.toml",
        keys_file=keys_file,
        listen="127.0.0.1:0",
        heartbeat_seconds=0.05,
    )
    trust_file = initialise(settings, now=datetime.now(UTC))
    return Site(settings, {role: key for role, (key, _) in made.items()}, read_trust(trust_file.read_bytes()))


def machine(**changes: object) -> Machine:
    return Machine(provider="provider-a-1", **changes)  # type: ignore[arg-type]


def attester(platform: bytes = b"platform-one", **changes: object) -> SimulatedAttester:
    components = (ComponentID(kind=ComponentKind.CPU, value=platform),)
    return SimulatedAttester(components=components, **changes)  # type: ignore[arg-type]


async def register(client: RegistryClient, worker: Machine) -> Admitted | Refused:
    bundle = worker.bundle(await client.issue_challenge(), datetime.now(UTC))
    return await client.register(worker.registration(bundle))


def verified(site: Site, admitted: Admitted, heartbeat: bytes) -> AttestedWorker:
    return verify_worker(
        admitted.presented,
        heartbeat=heartbeat,
        trust=site.trust,
        policy=read_policy(site.settings.policy_file.read_bytes()),
        verifiers=SIMULATED,
        now=datetime.now(UTC),
    )


@asynccontextmanager
async def watching(client: RegistryClient) -> AsyncIterator[AsyncIterator[Admitted | bytes]]:
    events = client.watch()
    try:
        yield events
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def next_admission(events: AsyncIterator[Admitted | bytes]) -> tuple[Admitted, bytes]:
    """The next admission and the heartbeat just before it."""
    heartbeat = b""
    async for event in events:
        if isinstance(event, Admitted):
            return event, heartbeat
        heartbeat = event
    raise AssertionError("the stream ended")


async def test_challenge_to_attested_worker_over_the_wire(site: Site) -> None:
    """A worker registers, a gateway's watch stream shows it, and the gateway's own verification accepts it."""
    async with (
        site.run() as registry,
        site.client(registry, "provider") as provider,
        site.client(registry, "gateway") as gateway,
        watching(gateway) as events,
    ):
        worker = machine()
        assert isinstance(await register(provider, worker), Admitted)
        admitted, heartbeat = await next_admission(events)
        attested = verified(site, admitted, heartbeat)
        assert attested.provider == "provider-a-1"
        assert attested.worker_id == worker.keyset.worker_id
        assert await gateway.proof(attested.verdict_index)
        assert (await gateway.entries())[attested.verdict_index] == attested.verdict_entry


async def test_refusals_come_back_with_all_findings_and_a_proof(site: Site) -> None:
    """A worker with debug on gets its findings in the answer, and the log holds the refusal."""
    async with site.run() as registry, site.client(registry, "provider") as provider:
        refused = await register(provider, machine(attester=attester(measurement=bytes(48), debug=True)))
        assert isinstance(refused, Refused)
        assert [item.reason for item in refused.findings] == [Reason.DEBUG_REFUSED, Reason.MEASUREMENT_REFUSED]
        assert parse_entry(refused.verdict_entry).body["verdict"] == "fail"


async def test_revocation_reaches_watchers_and_stops_seals(site: Site) -> None:
    """After an operator revokes, the next heartbeat names the keyset and the seal guard refuses it."""
    policy = read_policy(site.settings.policy_file.read_bytes())
    guard = SealGuard(policy=policy, trust=site.trust)
    async with (
        site.run() as registry,
        site.client(registry, "provider") as provider,
        site.client(registry, "gateway") as gateway,
        site.client(registry, "operator") as operator,
        watching(gateway) as events,
    ):
        await register(provider, machine())
        admitted, heartbeat = await next_admission(events)
        key = verified(site, admitted, heartbeat).keys[0]
        guard.hear(heartbeat, datetime.now(UTC))
        guard.check(key, datetime.now(UTC))
        index = await operator.revoke(key.keyset_id, "suspected leak")
        async for event in events:
            if isinstance(event, bytes) and key.keyset_id in guard.hear(event, datetime.now(UTC)).revoked:
                break
        with pytest.raises(SealbidError) as refused:
            guard.check(key, datetime.now(UTC))
        assert refused.value.reason is Reason.REVOKED
        assert parse_entry((await operator.entries())[index]).kind is Kind.ATTEST_REVOKE


async def test_heartbeats_keep_coming_and_come_first(site: Site) -> None:
    """A watch stream starts with a heartbeat and never falls silent while nothing happens."""
    async with site.run() as registry, site.client(registry, "gateway") as gateway, watching(gateway) as events:
        beats = [await anext(events) for _ in range(4)]
        opened = [open_heartbeat(beat, site.trust.lease_key) for beat in beats if isinstance(beat, bytes)]
        assert len(opened) == 4
        assert {beat.profile for beat in opened} == {Profile.DEVELOPMENT}


async def test_late_watchers_catch_up_and_only_with_live_workers(site: Site) -> None:
    """A stream opened later starts with what holds now; what was revoked meanwhile is not shown."""
    async with (
        site.run() as registry,
        site.client(registry, "provider") as provider,
        site.client(registry, "operator") as operator,
        site.client(registry, "gateway") as gateway,
    ):
        first = await register(provider, machine(seed=1, attester=attester(b"platform-one")))
        second = await register(provider, machine(seed=2, attester=attester(b"platform-two")))
        assert isinstance(first, Admitted)
        assert isinstance(second, Admitted)
        async with watching(operator) as events:
            await anext(events)
        await operator.revoke(Keyset.decode(first.presented.bundle.keyset).keyset_id, "gone")
        async with watching(gateway) as events:
            admitted, heartbeat = await next_admission(events)
        assert admitted.presented.lease == second.presented.lease
        verified(site, admitted, heartbeat)


async def test_every_call_asks_for_its_role(site: Site) -> None:
    """No key is UNAUTHENTICATED; a key of the wrong role is PERMISSION_DENIED; reading the log needs none."""
    async with site.run() as registry:
        async with RegistryClient.connect(registry.address) as nobody:
            assert (await nobody.checkpoint()).startswith(ORIGIN.encode())
            assert await failure(nobody.issue_challenge()) is Reason.UNAUTHENTICATED
        async with site.client(registry, "caller") as caller:
            assert await failure(caller.issue_challenge()) is Reason.PERMISSION_DENIED
            assert await failure(caller.revoke(bytes(32), "x")) is Reason.PERMISSION_DENIED
            assert await failure(caller.list_gateways()) is Reason.PERMISSION_DENIED
            assert await failure(anext(caller.watch())) is Reason.PERMISSION_DENIED
        async with site.client(registry, "provider") as provider:
            assert await failure(provider.revoke(bytes(32), "x")) is Reason.PERMISSION_DENIED
        async with site.client(registry, "operator") as operator:
            assert await failure(operator.revoke(bytes(32), "x")) is Reason.NOT_FOUND
            assert await failure(operator.revoke(b"short", "x")) is Reason.MALFORMED
            assert await failure(operator.proof(1 << 40)) is Reason.NOT_FOUND


async def failure(call: object) -> Reason:
    with pytest.raises(SealbidError) as refused:
        await call  # type: ignore[misc]
    assert "sbk_" not in refused.value.message
    return refused.value.reason


async def test_an_auditors_reading_is_in_the_log(site: Site) -> None:
    """Whoever but a gateway watches raw evidence leaves an access entry with a pseudonym."""
    async with site.run() as registry, site.client(registry, "auditor") as auditor:
        async with watching(auditor) as events:
            await anext(events)
        last = parse_entry((await auditor.entries())[-1])
        assert (last.kind, last.body["by"]) == (Kind.AUDIT_ACCESS, "auditor-1")


async def test_gateways_enrol_and_workers_verify_them(site: Site) -> None:
    """A gateway's keys come back to a provider with proofs that hold under the trust root."""
    key, identity = Ed25519PrivateKey.generate(), make_identity("gateway", GATEWAY_NAME)
    async with (
        site.run() as registry,
        site.client(registry, "gateway") as gateway,
        site.client(registry, "provider") as provider,
    ):
        await gateway.enrol_gateway(
            signing_key=key.public_key().public_bytes_raw(),
            certificate_der=identity.certificate_der,
            enrolment=sign_enrolment(key, identity.certificate_der),
        )
        (listed,) = await provider.list_gateways()
        verify_gateway(listed, trust=site.trust)
        stolen = gateway.enrol_gateway(
            signing_key=key.public_key().public_bytes_raw(),
            certificate_der=identity.certificate_der,
            enrolment=sign_enrolment(Ed25519PrivateKey.generate(), identity.certificate_der),
        )
        assert await failure(stolen) is Reason.SIGNATURE_INVALID


async def test_a_stopping_registry_ends_its_streams(site: Site) -> None:
    """Watchers are told at once when the registry goes away, and can tell that from silence."""
    async with contextlib.AsyncExitStack() as stack:
        async with site.run() as registry:
            gateway = await stack.enter_async_context(site.client(registry, "gateway"))
            events = await stack.enter_async_context(watching(gateway))
            await anext(events)
        with pytest.raises(SealbidError) as ended:
            async for _ in events:
                pass
        assert ended.value.reason is Reason.PEER_UNAVAILABLE


async def test_a_restarted_registry_remembers_and_signs_on(site: Site) -> None:
    """Leases, revocations and the log survive a restart; the log grows from where it was."""
    worker = machine()
    async with site.run() as registry, site.client(registry, "provider") as provider:
        assert isinstance(await register(provider, worker), Admitted)
        size = registry.log.size()
    async with (
        site.run() as registry,
        site.client(registry, "gateway") as gateway,
        watching(gateway) as events,
    ):
        assert registry.log.size() == size
        admitted, heartbeat = await next_admission(events)
        assert verified(site, admitted, heartbeat).worker_id == worker.keyset.worker_id


async def test_a_restored_backup_refuses_to_sign(site: Site) -> None:
    """A state directory put back to yesterday, with the head store elsewhere, does not start (ruling 32)."""
    head = site.settings.state_dir.parent / "elsewhere"
    (site.settings.state_dir / "signed-head").rename(head)
    backup = {path.name: path.read_bytes() for path in site.settings.state_dir.iterdir()}
    async with site.run(head_file=head) as registry, site.client(registry, "provider") as provider:
        await register(provider, machine())
    for path in site.settings.state_dir.iterdir():
        path.unlink()
    for name, data in backup.items():
        path = site.settings.state_dir / name
        path.touch(mode=0o600)
        path.write_bytes(data)
    with pytest.raises(LogError) as refused:
        async with site.run(head_file=head):
            pass
    assert refused.value.reason is Reason.LOG_ROLLBACK


async def test_health_and_reflection_are_on(site: Site) -> None:
    """Probes and grpcurl work without a key."""
    async with site.run() as registry, grpc.aio.insecure_channel(registry.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        status = await health.Check(health_pb2.HealthCheckRequest(service="sealbid.registry.v1.RegistryService"))
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        async for answer in answers:
            names = {service.name for service in answer.list_services_response.service}
            assert {"sealbid.registry.v1.RegistryService", "sealbid.log.v1.LogService"} <= names
            break


async def test_an_unknown_failure_does_not_leak_its_text(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug answers INTERNAL with a text of ours; the caller learns nothing else."""

    def broken(self: Registry, provider: str) -> bytes:
        raise RuntimeError("secret detail of the host")

    monkeypatch.setattr(Registry, "issue_challenge", broken)
    async with site.run() as registry, grpc.aio.insecure_channel(registry.address) as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.IssueChallenge(registry_pb2.IssueChallengeRequest(), metadata=bearer(site.keys["provider"]))
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(failed.value)


async def test_development_says_simulated_in_logs_and_metrics(site: Site) -> None:
    """Every log line and every metric sample of a development registry is marked SIMULATED."""
    stream, metrics = io.StringIO(), CollectorRegistry()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("registry", "development", stream=stream)
    try:
        async with site.run() as registry, site.client(registry, "provider") as provider:
            verdict = await register(provider, machine())
            await register(provider, machine(attester=attester(debug=True)))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 3
    assert all('"SIMULATED"' in line for line in lines)
    telemetry = Telemetry(registry=metrics, profile=Profile.DEVELOPMENT)
    telemetry.judged("provider-a", verdict)
    samples = [line for line in generate_latest(metrics).decode().splitlines() if not line.startswith("#")]
    assert samples
    assert all('profile="SIMULATED"' in line for line in samples)


def test_initialising_twice_or_over_a_head_is_refused(site: Site, tmp_path: Path) -> None:
    """A registry is made once; its keys are for their owner only."""
    with pytest.raises(SettingsError):
        initialise(site.settings, now=datetime.now(UTC))
    elsewhere = replace(site.settings, state_dir=tmp_path / "other", head_file=site.settings.head)
    with pytest.raises(SettingsError):
        initialise(elsewhere, now=datetime.now(UTC))
    for name in ("log.key", "lease.key", "identity.key"):
        assert stat.S_IMODE((site.settings.state_dir / name).stat().st_mode) == 0o600


async def test_what_must_not_start_does_not(site: Site) -> None:
    """No state, a readable key, plaintext beyond loopback, half TLS, a policy that does not read: each stops it."""
    missing = site.settings.state_dir.parent / "nowhere"
    key = site.settings.state_dir.parent / "nothing.pem"
    refused: Sequence[dict[str, object]] = (
        {"state_dir": missing},
        {"listen": "0.0.0.0:0"},
        {"tls": TLSFiles(certificate=key, key=key)},
        {"keys_file": site.settings.policy_file},
    )
    for changes in refused:
        with pytest.raises(SettingsError):
            async with site.run(**changes):
                pass
    with pytest.raises(SealbidError) as invalid:
        async with site.run(policy_file=site.settings.keys_file):
            pass
    assert invalid.value.reason is Reason.POLICY_INVALID
    (site.settings.state_dir / "lease.key").chmod(0o644)
    with pytest.raises(SettingsError):
        async with site.run():
            pass


async def test_many_workers_register_at_once(site: Site) -> None:
    """Concurrent registrations all get verdicts of their own, and the log stays one history."""
    async with site.run() as registry, site.client(registry, "provider") as provider:
        workers = [machine(seed=seed, attester=attester(b"platform-%d" % seed)) for seed in range(1, 9)]
        verdicts = await asyncio.gather(*(register(provider, worker) for worker in workers))
        admitted = [verdict for verdict in verdicts if isinstance(verdict, Admitted)]
        assert len(admitted) == len(workers)
        indices = {parse_entry(item.presented.verdict_entry).subject for item in admitted}
        assert indices == {worker.keyset.worker_id.hex() for worker in workers}
