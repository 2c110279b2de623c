# SPDX-License-Identifier: Apache-2.0
"""Following the registry: nothing enters the table unverified, what is revoked or over leaves it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.attested import AttestedWorker
from attestation.binding import Profile
from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import Reason, SealbidError, SettingsError, Stale
from attestation.registry.values import Admitted
from attestation.revocation import SealGuard
from attestation.tee.interface import Verifiers
from attestation.verify import PresentedWorker
from gateway.dispatch import candidates as module
from gateway.dispatch.candidates import Candidates
from gateway.dispatch.interface import DispatchEvent
from tests.support.dispatch import SECONDS, Observed
from tests.support.worlds import SIMULATED, Machine, World, policy_bytes, world


class Feed:
    """A registry's watch stream that sends what the test puts in; an error ends one stream."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Admitted | bytes | SealbidError] = asyncio.Queue()
        self.streams = 0

    async def watch(self) -> AsyncIterator[Admitted | bytes]:
        """One stream."""
        self.streams += 1
        while True:
            event = await self.events.get()
            if isinstance(event, SealbidError):
                raise event
            yield event


class Following:
    """Candidates over a world, and what they reported."""

    def __init__(self, around: World, policy: AppraisalPolicy | None = None, verifiers: Verifiers = SIMULATED) -> None:
        self.world = around
        self.feed = Feed()
        self.metrics = Observed()
        self.log: asyncio.Queue[tuple[str, bytes, Reason | None]] = asyncio.Queue()
        chosen = policy or around.policy
        self.guard = SealGuard(policy=chosen, trust=around.trust)
        self.candidates = Candidates(
            registry=self.feed,
            guard=self.guard,
            trust=around.trust,
            policy=chosen,
            verifiers=verifiers,
            clock=around.clock,
            jitter=lambda: 0.0,
            admitted=self._admitted,
            left=lambda keyset_id, reason: self.log.put_nowait(("left", keyset_id, reason)),
            metrics=self.metrics,
        )

    def _admitted(self, worker: AttestedWorker) -> None:
        self.log.put_nowait(("admitted", worker.keyset_id, None))

    def send(self, *events: PresentedWorker | bytes | SealbidError) -> None:
        """What the registry says next."""
        for event in events:
            wrapped = Admitted(presented=event) if isinstance(event, PresentedWorker) else event
            self.feed.events.put_nowait(wrapped)

    async def reported(self) -> tuple[str, bytes, Reason | None]:
        """The next thing pool and market would hear."""
        async with asyncio.timeout(SECONDS):
            return await self.log.get()

    async def refused(self) -> None:
        """Waits for a refusal."""
        async with asyncio.timeout(SECONDS):
            while not self.metrics.events.get(DispatchEvent.WORKER_REFUSED):
                self.metrics.changed.clear()
                await self.metrics.changed.wait()


@asynccontextmanager
async def following(
    around: World, policy: AppraisalPolicy | None = None, verifiers: Verifiers = SIMULATED
) -> AsyncIterator[Following]:
    """Candidates at work."""
    follower = Following(around, policy, verifiers)
    task = asyncio.ensure_future(follower.candidates.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_admission_is_verified_here_and_enters_the_table() -> None:
    """What this gateway's own policy accepts becomes a worker that pool and market hear of."""
    around, machine = world(), Machine()
    presented = around.admit(machine)
    async with following(around) as follower:
        follower.send(around.heartbeat(), presented)
        assert await follower.reported() == ("admitted", machine.keyset.keyset_id, None)
        found = follower.candidates.find(machine.keyset.keyset_id)
        assert found is not None
        assert found.endpoint == machine.endpoint
        assert follower.candidates.workers == (found,)


async def test_the_registrys_verdict_is_not_taken_on_faith() -> None:
    """A worker the registry admitted is refused where this gateway's policy is stricter, or its bytes do not hold."""
    around, machine = world(), Machine()
    presented = around.admit(machine)
    stricter = read_policy(policy_bytes(engines='{ any_of = ["' + "ee" * 32 + '"] }'))
    async with following(around, stricter) as follower:
        follower.send(around.heartbeat(), presented)
        await follower.refused()
        assert follower.candidates.workers == ()
    forged = dataclasses.replace(presented, lease=presented.lease[:-1] + bytes([presented.lease[-1] ^ 1]))
    async with following(around) as follower:
        follower.send(around.heartbeat(), forged, presented)
        await follower.refused()
        assert (await follower.reported())[0] == "admitted"


def test_a_production_policy_starts_with_a_production_registry_only() -> None:
    """A development trust root is refused before anything is followed (ruling 27)."""
    around = world()
    with pytest.raises(SettingsError):
        Following(around, dataclasses.replace(around.policy, profile=Profile.PRODUCTION))


async def test_a_revoked_worker_leaves_with_the_heartbeat() -> None:
    """A heartbeat that names a keyset takes it out at once, and the guard refuses it from then on."""
    around, machine = world(), Machine()
    presented = around.admit(machine)
    async with following(around) as follower:
        follower.send(around.heartbeat(), presented)
        await follower.reported()
        worker = follower.candidates.workers[0]
        around.registry.revoke(machine.keyset.keyset_id, reason="test", by="operator")
        around.clock.advance(1)
        follower.send(around.heartbeat())
        assert await follower.reported() == ("left", machine.keyset.keyset_id, Reason.REVOKED)
        assert follower.candidates.workers == ()
        with pytest.raises(Stale) as caught:
            follower.guard.check(worker.keys[0], around.clock.now)
        assert caught.value.reason is Reason.REVOKED


async def test_an_admission_that_was_revoked_meanwhile_does_not_enter() -> None:
    """Verification takes a while; the guard is asked once more when it is done."""
    around, machine = world(), Machine()
    presented = around.admit(machine)
    around.registry.revoke(machine.keyset.keyset_id, reason="test", by="operator")
    around.clock.advance(1)
    async with following(around) as follower:
        follower.send(around.heartbeat(), presented)
        await follower.refused()
        assert follower.candidates.workers == ()


async def test_a_lease_that_ends_takes_its_worker_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any word of the registry, a worker whose lease is over leaves."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    around, machine = world(), Machine()
    presented = around.admit(machine)
    async with following(around) as follower:
        follower.send(around.heartbeat(), presented)
        await follower.reported()
        around.clock.advance(3601)
        assert await follower.reported() == ("left", machine.keyset.keyset_id, Reason.LEASE_EXPIRED)


async def test_a_lost_registry_changes_nothing_and_is_followed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing workers stay while the registry is away; the next stream goes on."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    around, machine, other = world(), Machine(), Machine(seed=2, platform=b"platform-two")
    presented = around.admit(machine)
    async with following(around) as follower:
        follower.send(around.heartbeat(), presented)
        await follower.reported()
        follower.send(SealbidError(Reason.PEER_UNAVAILABLE, "registry is away"))
        second = around.admit(other)
        follower.send(around.heartbeat(), second)
        assert (await follower.reported())[1] == other.keyset.keyset_id
        assert len(follower.candidates.workers) == 2
        assert follower.feed.streams == 2


async def test_a_forged_heartbeat_is_ignored() -> None:
    """Bytes no registry signed neither revoke nor stop the stream."""
    around, machine = world(), Machine()
    presented = around.admit(machine)
    async with following(around) as follower:
        follower.send(b"not a heartbeat", around.heartbeat(), presented)
        assert (await follower.reported())[0] == "admitted"


class Failing:
    """A verifier that fails as no verifier should, as often as told."""

    def __init__(self, times: int) -> None:
        self.left = times

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What the simulated verifier says, once the failures are over."""
        if self.left:
            self.left -= 1
            raise RecursionError("text of a worker's choosing")
        return SIMULATED[evidence.kind].verify(evidence, collateral, now=now)


async def test_a_verifier_that_fails_refuses_one_worker(caplog: pytest.LogCaptureFixture) -> None:
    """The worker whose bytes made it fail is refused and counted, its text is not logged, and the next is admitted."""
    around, machine, other = world(), Machine(), Machine(seed=2, platform=b"platform-two")
    first, second = around.admit(machine), around.admit(other)
    async with following(around, verifiers={TEEKind.SIMULATED: Failing(1)}) as follower:
        follower.send(around.heartbeat(), first, second)
        assert await follower.reported() == ("admitted", other.keyset.keyset_id, None)
        assert follower.metrics.events[DispatchEvent.WORKER_REFUSED] == 1
        assert [worker.keyset_id for worker in follower.candidates.workers] == [other.keyset.keyset_id]
    refusals = [record for record in caplog.records if record.getMessage() == "worker refused"]
    assert [vars(record)["error"] for record in refusals] == ["RecursionError"]
    assert "choosing" not in caplog.text
