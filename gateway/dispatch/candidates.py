# SPDX-License-Identifier: Apache-2.0
"""Who may be sealed to: follows the registry, and verifies every admission again under this gateway's own policy.

    watch ──heartbeat──▶ guard, at once: what it revokes leaves the table
      └────admission──▶ pending ──verified in a thread──▶ table ──lease over──▶ gone

The registry's verdict is a service, not an authority: nothing enters the table that `verify_worker` did not build here.
Verification never delays a heartbeat. A registry that is away changes nothing until leases end or its silence is older
than the policy allows, which the guard decides at each seal. A production policy starts with a production trust root
only (ruling 27).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final, Protocol

from attestation.appraisal.policy import AppraisalPolicy
from attestation.attested import AttestedWorker
from attestation.errors import NotAcceptable, Reason, SealbidError, SettingsError
from attestation.registry.values import Admitted
from attestation.revocation import SealGuard
from attestation.tee.interface import Verifiers
from attestation.trust import TrustRoot
from attestation.verify import PresentedWorker, verify_worker
from gateway.dispatch.interface import DispatchEvent, DispatchMetrics

_LOG = logging.getLogger("sealbid.gateway.candidates")
FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 10.0
SWEEP_SECONDS: Final = 1.0
MAX_PENDING: Final = 4096
_SHOWN_FINDINGS: Final = 5


class Registry(Protocol):
    """The part of the registry's client that is followed. Each call is a new stream that starts with what holds now."""

    def watch(self) -> AsyncIterator[Admitted | bytes]: ...


class Candidates:
    """The table of attested workers, kept fresh by one task."""

    def __init__(
        self,
        *,
        registry: Registry,
        guard: SealGuard,
        trust: TrustRoot,
        policy: AppraisalPolicy,
        verifiers: Verifiers,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
        admitted: Callable[[AttestedWorker], None],
        left: Callable[[bytes, Reason], None],
        metrics: DispatchMetrics,
    ) -> None:
        """`admitted` and `left` (keyset_id, reason) are called on the event loop, in order for each keyset.

        Raises:
            SettingsError: trust root and policy are of different profiles.
        """
        if trust.profile is not policy.profile:
            got, want = trust.profile.value, policy.profile.value
            raise SettingsError(f"trust.profile is {got}, want {want} as the policy")
        self._registry = registry
        self._guard = guard
        self._trust = trust
        self._policy = policy
        self._verifiers = verifiers
        self._clock = clock
        self._jitter = jitter
        self._admitted = admitted
        self._left = left
        self._metrics = metrics
        self._heartbeat = b""
        self._workers: dict[bytes, AttestedWorker] = {}
        self._pending: asyncio.Queue[PresentedWorker] = asyncio.Queue(MAX_PENDING)

    @property
    def workers(self) -> tuple[AttestedWorker, ...]:
        """Every worker in the table."""
        return tuple(self._workers.values())

    def find(self, keyset_id: bytes) -> AttestedWorker | None:
        """The worker of this keyset, while it is in the table."""
        return self._workers.get(keyset_id)

    async def run(self) -> None:
        """Follows the registry until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._verify())
            tasks.create_task(self._sweep())

    async def _follow(self) -> None:
        wait, lost = FIRST_WAIT, False
        while True:
            try:
                async for event in self._registry.watch():
                    if lost:
                        _LOG.info("registry is back")
                    wait, lost = FIRST_WAIT, False
                    await self._take(event)
            except SealbidError as error:
                if not lost:
                    _LOG.warning("registry lost", extra={"reason": error.reason.value, "text": error.message})
                lost = True
            await asyncio.sleep(wait * (0.5 + self._jitter() / 2))
            wait = min(wait * 2, LONGEST_WAIT)

    async def _take(self, event: Admitted | bytes) -> None:
        if isinstance(event, Admitted):
            if self._pending.full():
                _LOG.warning("verification is behind", extra={"pending": self._pending.qsize()})
            await self._pending.put(event.presented)
        else:
            self._hear(event)

    def _hear(self, signed: bytes) -> None:
        try:
            heartbeat = self._guard.hear(signed, self._clock())
        except SealbidError as error:
            _LOG.warning("heartbeat refused", extra={"reason": error.reason.value, "text": error.message})
            return
        self._heartbeat = signed
        for keyset_id in set(heartbeat.revoked) & self._workers.keys():
            self._remove(keyset_id, Reason.REVOKED)

    async def _verify(self) -> None:
        while True:
            presented = await self._pending.get()
            try:
                worker = await asyncio.to_thread(self._verified, presented, self._heartbeat)
                for key in worker.keys:
                    self._guard.check(key, self._clock())
            except SealbidError as error:
                self._refuse(error)
            except Exception as error:  # noqa: BLE001  a worker's bytes must not end the task that admits all others
                self._metrics.dispatch(DispatchEvent.WORKER_REFUSED)
                # Its type alone: an unknown failure's text may hold anything.
                _LOG.warning("worker refused", extra={"reason": Reason.INTERNAL.value, "error": type(error).__name__})
            else:
                self._enter(worker)

    def _verified(self, presented: PresentedWorker, heartbeat: bytes) -> AttestedWorker:
        return verify_worker(
            presented,
            heartbeat=heartbeat,
            trust=self._trust,
            policy=self._policy,
            verifiers=self._verifiers,
            now=self._clock(),
        )

    def _enter(self, worker: AttestedWorker) -> None:
        known = self._workers.get(worker.keyset_id)
        if known is not None and known.expires > worker.expires:
            return  # an older admission, verified late
        self._workers[worker.keyset_id] = worker
        _LOG.info(
            "worker admitted",
            extra={"worker_id": worker.worker_id.hex(), "provider": worker.provider, "profile": worker.profile.value},
        )
        self._admitted(worker)

    def _refuse(self, error: SealbidError) -> None:
        """A renewal that is refused leaves the earlier admission to end by itself."""
        self._metrics.dispatch(DispatchEvent.WORKER_REFUSED)
        findings = error.findings if isinstance(error, NotAcceptable) else ()
        shown = [finding.reason.value for finding in findings[:_SHOWN_FINDINGS]]
        _LOG.warning("worker refused", extra={"reason": error.reason.value, "text": error.message, "findings": shown})

    def _remove(self, keyset_id: bytes, reason: Reason) -> None:
        worker = self._workers.pop(keyset_id)
        _LOG.info("worker left", extra={"worker_id": worker.worker_id.hex(), "reason": reason.value})
        self._left(keyset_id, reason)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._clock()
            for keyset_id in [name for name, worker in self._workers.items() if worker.expires <= now]:
                self._remove(keyset_id, Reason.LEASE_EXPIRED)
