# SPDX-License-Identifier: Apache-2.0
"""A whole registry on disk, run inside the test's process on a free port, and clients of it. All SIMULATED."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestation.appraisal.policy import read_policy
from attestation.attested import AttestedWorker
from attestation.claims import ComponentID, ComponentKind
from attestation.errors import Reason, SealbidError
from attestation.registry.values import Admitted, Refused
from attestation.rpc.auth import new_api_key
from attestation.server.admin import initialise
from attestation.server.app import RunningRegistry, running
from attestation.server.config import RegistrySettings
from attestation.trust import TrustRoot, read_trust
from attestation.verify import verify_worker
from attestation.wire.client import RegistryClient
from enclave.attesters.simulated import SimulatedAttester
from tests.support.worlds import ORIGIN, POLICIES, SIMULATED, Entropy, Machine

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


def make_site(tmp_path: Path) -> Site:
    """An initialised development registry below `tmp_path`."""
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


async def failure(call: object) -> Reason:
    with pytest.raises(SealbidError) as refused:
        await call  # type: ignore[misc]
    assert "sbk_" not in refused.value.message
    return refused.value.reason
