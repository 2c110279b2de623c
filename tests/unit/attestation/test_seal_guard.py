# SPDX-License-Identifier: Apache-2.0
"""Every seal asks whether the key may still be used; silence counts as no."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.attested import AttestedKey
from attestation.binding import Profile
from attestation.errors import NotAcceptable, NotGenuine, Reason, SealbidError
from attestation.lease import Heartbeat, open_heartbeat, sign_heartbeat
from attestation.revocation import SealGuard
from attestation.verify import verify_worker
from tests.support.worlds import SIMULATED, Machine, World, world


def guarded(policy_staleness: int = 60) -> tuple[World, AttestedKey, SealGuard]:
    """A world, an attested key in it, and a guard that has heard one heartbeat."""
    here = world()
    presented = here.admit(Machine())
    worker = verify_worker(
        presented,
        heartbeat=here.heartbeat(),
        trust=here.trust,
        policy=here.policy,
        verifiers=SIMULATED,
        now=here.clock.now,
    )
    guard = SealGuard(policy=here.policy, trust=here.trust)
    guard.hear(here.heartbeat(), here.clock.now)
    return here, worker.keys[0], guard


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(SealbidError) as refused:
        call()
    return refused.value.reason


def test_ruling_15_sealing_stops_when_the_registry_falls_silent() -> None:
    """A key passes while the newest heartbeat is at most max_revocation_staleness old, and not a second longer."""
    here, key, guard = guarded()
    guard.check(key, here.clock.now)
    guard.check(key, here.clock.advance(60))
    assert reason_of(lambda: guard.check(key, here.clock.advance(1))) is Reason.REVOCATION_STALE
    guard.hear(here.heartbeat(), here.clock.now)
    guard.check(key, here.clock.now)


def test_ruling_15_before_the_first_heartbeat_nothing_is_sealed() -> None:
    """A guard that has heard nothing lets nothing through."""
    here, key, _ = guarded()
    fresh = SealGuard(policy=here.policy, trust=here.trust)
    assert reason_of(lambda: fresh.check(key, here.clock.now)) is Reason.REVOCATION_STALE


def test_ruling_15_a_revocation_is_in_force_with_the_next_heartbeat() -> None:
    """Revoking a keyset stops seals to it as soon as a heartbeat says so."""
    here, key, guard = guarded()
    here.registry.revoke(key.keyset_id, reason="key leak suspected", by="ops-1")
    guard.check(key, here.clock.now)
    guard.hear(here.heartbeat(), here.clock.advance(2))
    assert reason_of(lambda: guard.check(key, here.clock.now)) is Reason.REVOKED


def test_ruling_14_expiry_and_policy_are_asked_again_at_each_seal() -> None:
    """A key that was good when made is refused once its time is over, and by a guard of another policy."""
    here, key, guard = guarded()
    late = key.expires
    signed = here.resign_heartbeat(
        replace(open_heartbeat(here.heartbeat(), here.trust.lease_key), made=int(late.timestamp()))
    )
    guard.hear(signed, late)
    guard.check(key, late - timedelta(seconds=1))
    assert reason_of(lambda: guard.check(key, late)) is Reason.LEASE_EXPIRED
    other = world()
    stricter = replace(here.policy, data=here.policy.data + b"# another policy\n")
    elsewhere = SealGuard(policy=stricter, trust=other.trust)
    with pytest.raises(NotAcceptable) as refused:
        elsewhere.check(key, here.clock.now)
    assert refused.value.reason is Reason.POLICY_MISMATCH


def test_an_old_heartbeat_changes_nothing() -> None:
    """Replaying an earlier heartbeat neither lifts a revocation nor makes the news older."""
    here, key, guard = guarded()
    before = here.heartbeat()
    here.clock.advance(1)
    here.registry.revoke(key.keyset_id, reason="gone", by="ops-1")
    guard.hear(here.heartbeat(), here.clock.now)
    guard.hear(before, here.clock.now)
    assert reason_of(lambda: guard.check(key, here.clock.now)) is Reason.REVOKED


@pytest.mark.parametrize("change", ["origin", "profile", "future", "key", "shrunk"])
def test_foreign_heartbeats_are_refused(change: str) -> None:
    """Another log, profile or key, a future time, a shorter log: each is refused and leaves the guard as it was."""
    here, key, guard = guarded()
    good = open_heartbeat(here.heartbeat(), here.trust.lease_key)
    made = int(here.clock.now.timestamp())
    changed: dict[str, Heartbeat] = {
        "origin": replace(good, origin="other.test/evidence"),
        "profile": replace(good, profile=Profile.PRODUCTION),
        "future": replace(good, made=made + 31),
        "key": good,
        "shrunk": replace(good, size=good.size - 1, made=made + 1),
    }
    signer = here.keys.lease_key if change != "key" else Ed25519PrivateKey.generate()
    with pytest.raises(NotGenuine) as refused:
        guard.hear(sign_heartbeat(signer, changed[change]), here.clock.now)
    wanted = Reason.LOG_ROLLBACK if change == "shrunk" else Reason.HEARTBEAT_INVALID
    assert refused.value.reason is wanted
    guard.check(key, here.clock.now)
