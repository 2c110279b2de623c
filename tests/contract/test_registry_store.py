# SPDX-License-Identifier: Apache-2.0
"""The contract of `RegistryStore`, held by every implementation."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.registry.blobs import MAX_BLOB_BYTES
from attestation.registry.sqlmodel_store import (
    CHALLENGE_MEMORY_SECONDS,
    CLAIM_MEMORY_SECONDS,
    SQLiteRegistryStore,
)
from attestation.registry.store import (
    ClaimResult,
    Moved,
    RegistryStore,
    RegistryStoreError,
    Spent,
    StoredAdmission,
    StoredGateway,
    WantedComponent,
)
from tests.support.registry import MemoryRegistryStore
from tests.support.tree import ROOT

NOW = 1_000_000
A, B = b"\x0a" * 32, b"\x0b" * 32
GPU = WantedComponent(component=b"\x01" * 32, capacity=1)
SHARED = WantedComponent(component=b"\x02" * 32, capacity=2)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryStore]:
    if request.param == "memory":
        yield MemoryRegistryStore()
        return
    opened = SQLiteRegistryStore(tmp_path / "registry.sqlite")
    yield opened
    opened.close()


def admission(number: int = 1, *, worker: int | None = None, expires: int = NOW + 3600) -> StoredAdmission:
    return StoredAdmission(
        keyset_id=bytes([number]) * 32,
        worker_id=bytes([worker or number]) * 32,
        provider_id=A,
        bundle=b"bundle %d" % number,
        lease=b"lease",
        verdict_index=number,
        verdict_entry=b"entry",
        certificate_der=b"certificate",
        endpoint="127.0.0.1:1",
        expires=expires,
    )


def claim(
    store: RegistryStore, wanted: WantedComponent, worker: int, *, provider: bytes = A, now: int = NOW
) -> ClaimResult:
    return store.claim(
        [wanted],
        worker_id=bytes([worker]) * 32,
        keyset_id=bytes([worker]) * 32,
        provider_id=provider,
        expires=now + 3600,
        now=now,
    )


def test_a_challenge_is_spent_once_by_its_provider(store: RegistryStore) -> None:
    """Only the provider it was issued to spends it, and only once; the unknown is told from the used."""
    store.issue_challenge(nonce=b"n", provider_id=A, expires=NOW + 60)
    assert store.spend_challenge(nonce=b"n", provider_id=B) is Spent.NEVER_ISSUED
    assert store.spend_challenge(nonce=b"other", provider_id=A) is Spent.NEVER_ISSUED
    assert store.spend_challenge(nonce=b"n", provider_id=A) is Spent.NOW
    assert store.spend_challenge(nonce=b"n", provider_id=A) is Spent.BEFORE


def test_of_many_threads_one_spends(store: RegistryStore) -> None:
    """Racing for one challenge has exactly one winner."""
    store.issue_challenge(nonce=b"n", provider_id=A, expires=NOW + 60)
    results = race(8, lambda: store.spend_challenge(nonce=b"n", provider_id=A))
    assert sorted(result.value for result in results) == sorted([Spent.NOW.value] + [Spent.BEFORE.value] * 7)


def test_of_many_providers_one_claims(store: RegistryStore) -> None:
    """Racing for one exclusive component has exactly one owner."""
    workers = iter(range(1, 9))
    lock = threading.Lock()

    def attempt() -> ClaimResult:
        with lock:
            number = next(workers)
        return claim(store, GPU, number, provider=bytes([number]) * 32)

    results = race(8, attempt)
    assert sum(not result.conflicts for result in results) == 1


def race(count: int, work: Callable[[], object]) -> list:  # type: ignore[type-arg]
    """Runs `work` on `count` threads that start together."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_exclusive_claims_hold_until_they_end(store: RegistryStore) -> None:
    """Another provider gets in exactly when the claim is over; the owner renews at any time."""
    assert claim(store, GPU, 1).conflicts == ()
    assert claim(store, GPU, 2, provider=B).conflicts == (GPU.component,)
    assert claim(store, GPU, 1, now=NOW + 10).conflicts == ()
    assert claim(store, GPU, 2, provider=B, now=NOW + 3609).conflicts == (GPU.component,)
    assert claim(store, GPU, 2, provider=B, now=NOW + 3610).conflicts == ()


def test_shared_claims_count_workers(store: RegistryStore) -> None:
    """A shared component takes as many workers as its capacity, of whatever provider."""
    assert claim(store, SHARED, 1).conflicts == ()
    assert claim(store, SHARED, 2, provider=B).conflicts == ()
    assert claim(store, SHARED, 3).conflicts == (SHARED.component,)
    assert claim(store, SHARED, 2, provider=B).conflicts == ()


def test_a_conflict_claims_nothing(store: RegistryStore) -> None:
    """All components or none: what was free stays free when another was not."""
    claim(store, GPU, 1)
    free = WantedComponent(component=b"\x09" * 32, capacity=1)
    result = store.claim([free, GPU], worker_id=B, keyset_id=B, provider_id=B, expires=NOW + 3600, now=NOW)
    assert result.conflicts == (GPU.component,)
    assert claim(store, free, 5, provider=b"\x05" * 32).conflicts == ()


def test_hardware_that_comes_to_another_provider_has_moved(store: RegistryStore) -> None:
    """Only from its last owner, only what is exclusive, also long after the claim ended; never to oneself."""
    assert claim(store, GPU, 1).moved == ()
    assert claim(store, GPU, 1, now=NOW + 10).moved == ()
    later = NOW + 30 * 86_400
    store.purge(now=later)
    assert claim(store, GPU, 2, provider=B, now=later).moved == (Moved(component=GPU.component, from_provider=A),)
    assert claim(store, GPU, 3, provider=B, now=later + 10).moved == ()
    back = later + 2 * 86_400
    assert claim(store, GPU, 1, now=back).moved == (Moved(component=GPU.component, from_provider=B),)
    assert claim(store, SHARED, 1).moved == claim(store, SHARED, 2, provider=B).moved == ()


def test_a_superseded_workers_claims_end_with_it(store: RegistryStore) -> None:
    """Of the hardware the older worker held, what the younger one has not is free at once."""
    other = WantedComponent(component=b"\x03" * 32, capacity=1)
    store.admit(admission(1), now=NOW)
    claim(store, GPU, 1)
    claim(store, other, 1)
    assert claim(store, GPU, 2).superseded == (bytes([1]) * 32,)
    assert claim(store, other, 3, provider=B).conflicts == ()


def test_owners_are_forgotten_in_the_end(store: RegistryStore) -> None:
    """A year after the last claim ended nobody is on record any more."""
    claim(store, GPU, 1)
    over = NOW + 3600 + CLAIM_MEMORY_SECONDS
    store.purge(now=over)
    assert claim(store, GPU, 2, provider=B, now=over).moved == ()


def test_a_refused_claim_moves_nothing(store: RegistryStore) -> None:
    """While the owner lives, another provider's claim is a conflict and no move, and changes no record."""
    claim(store, GPU, 1)
    assert claim(store, GPU, 2, provider=B) == ClaimResult(conflicts=(GPU.component,), superseded=(), moved=())
    assert claim(store, GPU, 1, now=NOW + 10).moved == ()


def test_of_many_processes_one_spends(tmp_path: Path) -> None:
    """The memory of what was spent is the database's: of four processes that race, one spends each challenge."""
    path = tmp_path / "registry.sqlite"
    store = SQLiteRegistryStore(path)
    for number in range(20):
        store.issue_challenge(nonce=b"%d" % number, provider_id=A, expires=NOW + 60)
    script = "import sys; from tests.contract.test_registry_store import spend_all; spend_all(sys.argv[1])"
    racing = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(4)
    ]
    spent = [process.communicate()[0].split() for process in racing]
    store.close()
    assert sorted(int(nonce) for one in spent for nonce in one) == list(range(20))


def spend_all(path: str) -> None:
    """One process's part of the race above: prints what it spent."""
    store = SQLiteRegistryStore(Path(path))
    for number in range(20):
        if store.spend_challenge(nonce=b"%d" % number, provider_id=A) is Spent.NOW:
            sys.stdout.write(f"{number}\n")
    store.close()


def test_the_same_provider_supersedes_its_own_worker(store: RegistryStore) -> None:
    """Live keysets of the old worker are revoked with the claim, once, and its claims pass on."""
    claim(store, GPU, 1)
    store.admit(admission(1), now=NOW)
    store.admit(admission(7, worker=1), now=NOW)
    store.admit(admission(8, worker=1, expires=NOW - 1), now=NOW)
    result = claim(store, GPU, 2)
    assert result.superseded == (bytes([1]) * 32, bytes([7]) * 32)
    assert store.revoked(now=NOW) == result.superseded
    assert [item.by for item in store.unlogged()] == ["registry", "registry"]
    assert claim(store, GPU, 2).superseded == ()


def test_admissions_are_ordered_live_and_newest(store: RegistryStore) -> None:
    """Changes after a version come in order; a renewal replaces and moves up; expired ones are not shown."""
    for number in (1, 2, 3):
        assert store.admit(admission(number), now=NOW)
    first = store.admissions(after=0, now=NOW)
    assert [item.verdict_index for item in first] == [1, 2, 3]
    versions = [item.version for item in first]
    assert versions == sorted(set(versions))
    store.admit(replace(admission(1), verdict_index=9), now=NOW)
    changed = store.admissions(after=versions[-1], now=NOW)
    assert [(item.keyset_id, item.verdict_index) for item in changed] == [(bytes([1]) * 32, 9)]
    assert changed[0].version > versions[-1]
    assert store.admission(bytes([2]) * 32) == first[1]
    assert store.admissions(after=0, now=NOW + 3600) == []


def test_revocation_is_final(store: RegistryStore) -> None:
    """A revoked keyset leaves the admissions, keeps its first reason, frees its hardware, is never admitted again."""
    claim(store, GPU, 1)
    store.admit(admission(1), now=NOW)
    assert store.revoke(b"unknown", reason="x", by="ops", now=NOW) is None
    found = store.revoke(bytes([1]) * 32, reason="first", by="ops", now=NOW)
    assert found is not None
    assert (found.reason, found.until, found.logged) == ("first", NOW + 3600, None)
    assert store.revoke(bytes([1]) * 32, reason="second", by="ops", now=NOW) == found
    assert store.admissions(after=0, now=NOW) == []
    assert store.is_revoked(worker_id=bytes([1]) * 32, keyset_id=b"new")
    assert store.is_revoked(worker_id=b"new", keyset_id=bytes([1]) * 32)
    assert not store.is_revoked(worker_id=b"new", keyset_id=b"new")
    assert not store.admit(admission(1), now=NOW)
    assert not store.admit(admission(2, worker=1), now=NOW)
    assert claim(store, GPU, 5, provider=B).conflicts == ()


def test_revocations_are_logged_once(store: RegistryStore) -> None:
    """What is marked as logged is no longer pending, and says where it stands."""
    store.admit(admission(1), now=NOW)
    store.revoke(bytes([1]) * 32, reason="x", by="ops", now=NOW)
    assert [item.keyset_id for item in store.unlogged()] == [bytes([1]) * 32]
    store.mark_logged(bytes([1]) * 32, 41)
    assert store.unlogged() == []
    again = store.revoke(bytes([1]) * 32, reason="x", by="ops", now=NOW)
    assert again is not None
    assert again.logged == 41


def test_heartbeats_list_revocations_while_their_lease_lives(store: RegistryStore) -> None:
    """The list is ascending and forgets a keyset when its lease is over."""
    for number, expires in ((3, NOW + 10), (1, NOW + 20)):
        store.admit(admission(number, expires=expires), now=NOW)
        store.revoke(bytes([number]) * 32, reason="x", by="ops", now=NOW)
    assert store.revoked(now=NOW) == (bytes([1]) * 32, bytes([3]) * 32)
    assert store.revoked(now=NOW + 10) == (bytes([1]) * 32,)


def test_gateways_replace_by_id(store: RegistryStore) -> None:
    """One row per gateway, the newest certificate, ascending by id."""
    gateway = StoredGateway(
        gateway_id=B,
        signing_key=A,
        certificate_der=b"one",
        key_index=3,
        key_entry=b"entry",
        tls_index=4,
        tls_entry=b"tls",
    )
    store.put_gateway(gateway)
    store.put_gateway(replace(gateway, gateway_id=A))
    store.put_gateway(replace(gateway, certificate_der=b"two"))
    assert [(item.gateway_id, item.certificate_der) for item in store.gateways()] == [(A, b"one"), (B, b"two")]


def test_the_archive_keeps_bytes_by_digest(store: RegistryStore) -> None:
    """What is archived is found by its digest, twice is once, and each part is found by its own."""
    data, parts = b"a bundle with evidence and collateral", [b"evidence", b"collateral", b"elsewhere"]
    store.archive(sha256=digest(data), data=data, parts=parts)
    store.archive(sha256=digest(data), data=data, parts=parts)
    store.archive(sha256=digest(b"more evidence"), data=b"more evidence", parts=[b"evidence"])
    assert store.archived(digest(data)) == data
    assert [store.archived(digest(part)) for part in parts] == [b"evidence", b"collateral", None]


@pytest.mark.parametrize(("named", "data"), [(b"other", b"data"), (b"", b"data")])
def test_the_archive_takes_nothing_under_another_digest(store: RegistryStore, named: bytes, data: bytes) -> None:
    """Bytes are kept under their own digest or not at all."""
    with pytest.raises(RegistryStoreError) as caught:
        store.archive(sha256=digest(named), data=data)
    assert caught.value.reason == Reason.MALFORMED
    assert store.archived(digest(named)) is None


def test_the_archive_is_bounded(store: RegistryStore) -> None:
    """What no bundle can be is not kept."""
    data = bytes(MAX_BLOB_BYTES + 1)
    with pytest.raises(RegistryStoreError) as caught:
        store.archive(sha256=digest(data), data=data)
    assert caught.value.reason == Reason.MALFORMED


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def test_purging_forgets_only_what_is_over(store: RegistryStore) -> None:
    """Live admissions and recent challenges stay; revocations stay for good."""
    store.issue_challenge(nonce=b"old", provider_id=A, expires=NOW - CHALLENGE_MEMORY_SECONDS - 1)
    store.issue_challenge(nonce=b"new", provider_id=A, expires=NOW)
    store.admit(admission(1, expires=NOW), now=NOW - 10)
    store.admit(admission(2), now=NOW)
    store.revoke(bytes([1]) * 32, reason="x", by="ops", now=NOW - 5)
    store.purge(now=NOW)
    assert store.spend_challenge(nonce=b"old", provider_id=A) is Spent.NEVER_ISSUED
    assert store.spend_challenge(nonce=b"new", provider_id=A) is Spent.NOW
    assert store.admission(bytes([1]) * 32) is None
    assert store.admission(bytes([2]) * 32) is not None
    assert store.is_revoked(worker_id=b"", keyset_id=bytes([1]) * 32)


def test_sqlite_survives_reopening_and_refuses_other_schemas(tmp_path: Path) -> None:
    """What was stored is there after a restart; a database of another version is refused by name."""
    path = tmp_path / "registry.sqlite"
    first = SQLiteRegistryStore(path)
    first.issue_challenge(nonce=b"n", provider_id=A, expires=NOW)
    first.spend_challenge(nonce=b"n", provider_id=A)
    first.close()
    second = SQLiteRegistryStore(path)
    assert second.spend_challenge(nonce=b"n", provider_id=A) is Spent.BEFORE
    with second._engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 99")
    second.close()
    with pytest.raises(RegistryStoreError, match="schema 99"):
        SQLiteRegistryStore(path)


def test_sqlite_names_failures_without_values(tmp_path: Path) -> None:
    """A broken database is STORE_UNAVAILABLE, and no stored value is in the text."""
    store = SQLiteRegistryStore(tmp_path / "registry.sqlite")
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reg_challenge")
    with pytest.raises(RegistryStoreError) as failed:
        store.issue_challenge(nonce=b"secret-nonce", provider_id=A, expires=NOW)
    store.close()
    assert "secret" not in str(failed.value)
