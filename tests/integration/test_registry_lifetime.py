# SPDX-License-Identifier: Apache-2.0
"""The registry process from start to stop: what must not start, what survives, what it shows. All SIMULATED."""

import contextlib
import io
import logging
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, generate_latest
from sealbid_wire.registry.v1 import registry_pb2, registry_pb2_grpc

from attestation import logs
from attestation.binding import Profile
from attestation.errors import Reason, SealbidError, SettingsError
from attestation.registry.registry import Registry
from attestation.registry.values import Admitted
from attestation.rpc.auth import bearer
from attestation.server.admin import initialise
from attestation.server.config import TLSFiles
from attestation.server.telemetry import Telemetry
from attestation.tlog.store import LogError
from tests.support.site import Site, attester, machine, make_site, next_admission, register, verified, watching

pytestmark = pytest.mark.net


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


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
