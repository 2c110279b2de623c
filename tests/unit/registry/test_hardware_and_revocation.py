# SPDX-License-Identifier: Apache-2.0
"""Hardware has one owner at a time, claims end with leases, and revocation takes hold at once and for good."""

from dataclasses import replace

import pytest

from attestation.claims import ComponentID, ComponentKind
from attestation.errors import Reason, SealbidError
from attestation.identity import provider_id
from attestation.lease import open_heartbeat, open_lease
from attestation.registry.store import RegistryStoreError
from attestation.registry.values import Admitted, Refused
from attestation.tlog.entry import Kind
from enclave.attesters.simulated import SimulatedAttester
from tests.support.log import WholeLogCheck
from tests.support.worlds import ORIGIN, Machine, World, development_policy, world


def machine(
    seed: int, *, provider: str = "provider-a", cpu: bytes = b"platform-one", gpu: bytes | None = None
) -> Machine:
    components = [ComponentID(kind=ComponentKind.CPU, value=cpu)]
    if gpu is not None:
        components.append(ComponentID(kind=ComponentKind.GPU, value=gpu))
    return Machine(seed=seed, provider=provider, attester=SimulatedAttester(components=components))


def revoked(here: World) -> tuple[bytes, ...]:
    return open_heartbeat(here.heartbeat(), here.trust.lease_key).revoked


def shared_world(cap: int) -> World:
    return world(policy=development_policy(dedicated_host="false", max_workers_per_cpu=str(cap)))


def test_ruling_16_a_gpu_has_one_owner_across_the_market() -> None:
    """A second provider claiming a GPU in use is refused and the refusal logged; it may once the lease is over."""
    here = shared_world(8)
    here.admit(machine(1, gpu=b"gpu-serial-1"))
    second = machine(2, provider="provider-b", gpu=b"gpu-serial-1")
    refused = here.refuse(second)
    assert refused.reason is Reason.HARDWARE_CLAIMED
    assert here.entries()[-1].body["reasons"] == ["HARDWARE_CLAIMED"]
    here.clock.advance(3600)
    assert isinstance(here.register(second), Admitted)


def test_ruling_16_a_dedicated_cpu_is_exclusive() -> None:
    """Where the policy says dedicated host, one CPU carries one provider's worker."""
    here = world()
    here.admit(machine(1))
    assert here.refuse(machine(2, provider="provider-b")).reason is Reason.HARDWARE_CLAIMED
    assert isinstance(here.register(machine(2, provider="provider-b", cpu=b"platform-two")), Admitted)


def test_ruling_16_a_shared_cpu_is_capped_per_chip() -> None:
    """On shared hosts neighbours fit up to the cap, and a renewal does not count twice."""
    here = shared_world(2)
    here.admit(machine(1))
    here.admit(machine(2, provider="provider-b"))
    assert here.refuse(machine(3, provider="provider-c")).reason is Reason.HARDWARE_CLAIMED
    here.admit(machine(1))


def test_ruling_16_masked_identities_count_as_unknown() -> None:
    """Two workers whose platform hides its id do not collide where sharing is allowed."""
    here = shared_world(1)
    here.admit(machine(1, cpu=bytes(16)))
    here.admit(machine(2, provider="provider-b", cpu=bytes(16)))


def test_ruling_16_an_endorsement_key_has_one_owner_across_the_market() -> None:
    """A TPM's key is exclusive as a GPU is, whatever the policy says of hosts."""
    here = shared_world(8)
    key = ComponentID(kind=ComponentKind.EK, value=b"ek-digest-of-a-tpm")
    mine, others = (
        Machine(seed=seed, provider=name, attester=SimulatedAttester(components=[key]))
        for seed, name in ((1, "provider-a"), (2, "provider-b"))
    )
    here.admit(mine)
    assert here.refuse(others).reason is Reason.HARDWARE_CLAIMED


def moves(here: World) -> list[tuple[object, object]]:
    """The platform.move entries: from whom to whom."""
    return [(e.body["from"], e.body["to"]) for e in here.entries() if e.kind is Kind.PLATFORM_MOVE]


def test_ruling_16_a_gpu_that_comes_to_another_provider_is_logged_as_a_move() -> None:
    """Right before the verdict that lets it in: by its HMAC, from whom, to whom, and SIMULATED; not at renewals."""
    here = shared_world(8)
    here.admit(machine(1, gpu=b"gpu-serial-1"))
    here.admit(machine(1, gpu=b"gpu-serial-1"))
    assert moves(here) == []
    here.clock.advance(3600)
    here.registry.purge()
    newcomer = machine(2, provider="provider-b", gpu=b"gpu-serial-1")
    presented = here.admit(newcomer)
    move, verdict = here.entries()[-2:]
    assert verdict.encoded == presented.verdict_entry
    lease = open_lease(presented.lease, here.trust.lease_key)
    assert (lease.verdict_index, lease.verdict_leaf) == (len(here.entries()) - 1, verdict.leaf_hash)
    assert moves(here) == [(provider_id("provider-a").hex(), provider_id("provider-b").hex())]
    assert move.body["worker_id"] == newcomer.keyset.worker_id.hex()
    platforms = verdict.body["platforms"]
    assert isinstance(platforms, list)
    assert move.body["platform"] in platforms
    assert move.simulated
    here.admit(newcomer)
    assert len(moves(here)) == 1
    WholeLogCheck(origin=ORIGIN, log_key=here.trust.log_key).log(here.log)


def test_ruling_16_a_revoked_owner_is_remembered() -> None:
    """Freed by revocation, hardware may move at once, and the move is logged."""
    here = shared_world(8)
    first = machine(1, gpu=b"gpu-serial-1")
    here.admit(first)
    here.registry.revoke(first.keyset.keyset_id, reason="sold", by="ops-1")
    here.admit(machine(2, provider="provider-b", gpu=b"gpu-serial-1"))
    assert len(moves(here)) == 1


def test_ruling_16_shared_cpus_do_not_move() -> None:
    """Neighbours on one host are no move; on a dedicated host another provider's worker is."""
    here = shared_world(2)
    here.admit(machine(1))
    here.admit(machine(2, provider="provider-b"))
    assert moves(here) == []
    dedicated = world()
    dedicated.admit(machine(1))
    dedicated.clock.advance(3600)
    dedicated.admit(machine(2, provider="provider-b"))
    assert len(moves(dedicated)) == 1


def test_a_denied_machine_is_refused_at_its_renewal() -> None:
    """A deny-list holds from the moment its policy does: the lease that lives ends, and there is no next one."""
    here, worker = world(), machine(1)
    here.admit(worker)
    denied = development_policy(denied=f'["cpu:{b"platform-one".hex()}"]')
    here.registry._policy = denied
    here.registry._judge = replace(here.registry._judge, policy=denied)
    refused = here.refuse(worker)
    assert refused.reason is Reason.PLATFORM_REFUSED
    assert b"platform-one".hex() not in refused.verdict_entry.decode()
    assert all(b"platform-one".hex() not in finding.text for finding in refused.findings)


def test_ruling_33_the_log_holds_macs_of_hardware_identities() -> None:
    """No entry holds a raw identity; two registries name the same machine differently."""
    here = world()
    here.admit(machine(1, cpu=b"\xabserial-of-a-real-chip"))
    entry = here.entries()[-1]
    assert b"serial-of-a-real-chip".hex() not in entry.encoded.decode()
    other = world()
    other.registry._keys = replace(other.keys, identity_key=b"\x23" * 32)
    other.admit(machine(1, cpu=b"\xabserial-of-a-real-chip"))
    assert entry.body["platforms"] != other.entries()[-1].body["platforms"]


def test_a_restarted_worker_supersedes_itself() -> None:
    """The same provider on the same machine with new keys is admitted; the old worker is revoked and that is logged."""
    here = world()
    old, new = machine(1), machine(2)
    here.admit(old)
    here.admit(new)
    assert revoked(here) == (old.keyset.keyset_id,)
    assert [entry.body["keyset_id"] for entry in here.entries() if entry.kind is Kind.ATTEST_REVOKE] == [
        old.keyset.keyset_id.hex()
    ]
    assert here.refuse(old).reason is Reason.REVOKED


def test_revocation_is_logged_in_force_at_once_and_final() -> None:
    """The next heartbeat names the keyset, the log says why, renewals are refused, a second revoke changes nothing."""
    here, worker = world(), machine(1)
    here.admit(worker)
    index = here.registry.revoke(worker.keyset.keyset_id, reason="operator decided", by="ops-1")
    entry = here.entries()[index]
    assert (entry.kind, entry.body["reason"], entry.body["by"]) == (Kind.ATTEST_REVOKE, "operator decided", "ops-1")
    assert revoked(here) == (worker.keyset.keyset_id,)
    assert here.registry.changes(0)[1] == []
    assert here.registry.revoke(worker.keyset.keyset_id, reason="again", by="ops-2") == index
    assert here.refuse(worker).reason is Reason.REVOKED
    assert here.refuse(Machine(seed=1, generation=2)).reason is Reason.REVOKED
    here.clock.advance(3600)
    assert revoked(here) == ()
    assert here.refuse(worker).reason is Reason.REVOKED


def test_revoking_what_has_no_lease_is_not_found() -> None:
    """An unknown keyset is NOT_FOUND and leaves no entry."""
    here = world()
    before = len(here.entries())
    with pytest.raises(SealbidError) as refused:
        here.registry.revoke(bytes(32), reason="x", by="ops-1")
    assert refused.value.reason is Reason.NOT_FOUND
    assert len(here.entries()) == before


def test_a_revocation_between_judgement_and_lease_wins() -> None:
    """A worker revoked while its renewal is under way does not get the lease, whatever was judged."""
    here, worker = world(), machine(1)
    here.admit(worker)

    def revoke() -> None:
        here.registry.revoke(worker.keyset.keyset_id, reason="now", by="ops-1")

    here.store.between = revoke
    refused = here.register(worker)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.REVOKED


@pytest.mark.parametrize("operation", ["spend_challenge", "claim", "archive", "admit"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failing_store_never_leaves_a_lease_without_a_verdict(operation: str, when: str) -> None:
    """Whichever step fails, before or after applying: an error, a sound log, and a clean second attempt."""
    here, worker = world(), machine(1)
    here.store.fail[operation] = when  # type: ignore[assignment]
    with pytest.raises(RegistryStoreError):
        here.register(worker)
    WholeLogCheck(origin=ORIGIN, log_key=here.trust.log_key).log(here.log)
    passed = {entry.encoded for entry in here.entries() if entry.body.get("verdict") == "pass"}
    assert {admitted.presented.verdict_entry for admitted in here.registry.changes(0)[1]} <= passed
    here.admit(worker)


@pytest.mark.parametrize("operation", ["append", "publish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_ruling_14_without_a_published_verdict_there_is_no_lease(operation: str, when: str) -> None:
    """If the log cannot take or publish the verdict, nobody is admitted; the next attempt repairs the checkpoint."""
    here, worker = world(), machine(1)
    here.log_store.fail[operation] = when  # type: ignore[assignment]
    with pytest.raises(SealbidError) as failed:
        here.register(worker)
    assert failed.value.reason is Reason.STORE_UNAVAILABLE
    assert here.registry.changes(0)[1] == []
    here.admit(worker)
    WholeLogCheck(origin=ORIGIN, log_key=here.trust.log_key).log(here.log)


def test_revocations_a_crash_kept_from_the_log_are_logged_at_the_next_start() -> None:
    """In force at once, in the log at the latest when the registry opens again."""
    here, worker = world(), machine(1)
    here.admit(worker)
    here.log_store.fail["append"] = "before"
    with pytest.raises(SealbidError):
        here.registry.revoke(worker.keyset.keyset_id, reason="crash", by="ops-1")
    assert revoked(here) == (worker.keyset.keyset_id,)
    here.registry.open(by="registry", accounts_sha256=bytes(32))
    assert here.entries()[-1].kind is Kind.ATTEST_REVOKE


def test_opening_again_logs_only_what_changed() -> None:
    """The policy and the accounts are logged when they change, not at every start."""
    here = world()
    before = len(here.entries())
    here.registry.open(by="registry", accounts_sha256=bytes(32))
    assert len(here.entries()) == before
    here.registry.open(by="registry", accounts_sha256=b"\x01" * 32)
    assert [entry.kind for entry in here.entries()[before:]] == [Kind.ADMIN_CHANGE]
    assert [entry.kind for entry in here.entries()[:3]] == [Kind.GENESIS, Kind.POLICY_PUBLISH, Kind.ADMIN_CHANGE]


def test_reading_what_is_not_public_is_logged() -> None:
    """An access leaves an entry with who, what and where before anything is read."""
    here = world()
    here.registry.record_access(by="auditor-7", action="watch", target="admissions")
    entry = here.entries()[-1]
    assert (entry.kind, entry.body["by"], entry.body["target"]) == (Kind.AUDIT_ACCESS, "auditor-7", "admissions")
