# SPDX-License-Identifier: Apache-2.0
"""The registry as a process on loopback: the whole path over gRPC, roles, watch streams. All SIMULATED."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.appraisal.policy import read_policy
from attestation.binding import Keyset, Profile
from attestation.errors import Reason, SealbidError
from attestation.lease import open_heartbeat
from attestation.registration import sign_enrolment
from attestation.registry.gateways import verify_gateway
from attestation.registry.values import Admitted, Refused
from attestation.revocation import SealGuard
from attestation.rpc.pinning import GATEWAY_NAME, make_identity
from attestation.tlog.entry import Kind, parse_entry
from attestation.wire.client import RegistryClient
from tests.support.site import Site, attester, failure, machine, make_site, next_admission, register, verified, watching
from tests.support.worlds import ORIGIN

pytestmark = pytest.mark.net


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


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


async def test_many_workers_register_at_once(site: Site) -> None:
    """Concurrent registrations all get verdicts of their own, and the log stays one history."""
    async with site.run() as registry, site.client(registry, "provider") as provider:
        workers = [machine(seed=seed, attester=attester(b"platform-%d" % seed)) for seed in range(1, 9)]
        verdicts = await asyncio.gather(*(register(provider, worker) for worker in workers))
        admitted = [verdict for verdict in verdicts if isinstance(verdict, Admitted)]
        assert len(admitted) == len(workers)
        indices = {parse_entry(item.presented.verdict_entry).subject for item in admitted}
        assert indices == {worker.keyset.worker_id.hex() for worker in workers}
