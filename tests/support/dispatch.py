# SPDX-License-Identifier: Apache-2.0
"""A gateway's dispatch for tests: pool, client, hub and sessions, with what it counts and is told."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.attested import AttestedWorker
from attestation.binding import SuiteID
from attestation.errors import Reason
from attestation.identity import gateway_id_of
from attestation.rpc.pinning import (
    GATEWAY_NAME,
    TLSIdentity,
    make_identity,
)
from attestation.sealing.header import Method, RequestLimits
from attestation.sealing.request import seal_request
from gateway.dispatch.exchange import Order
from gateway.dispatch.hub import Hub
from gateway.dispatch.pool import WorkerPool
from gateway.dispatch.sessions import Sessions
from gateway.dispatch.worker_client import WorkerClient
from gateway.receipts.arrival import HalfArrival
from gateway.request import Attempt
from tests.support.attested import NOW, POLICY_SHA256
from tests.support.sealing import RecordingGuard

OFFER = bytes(31) + b"\x0f"
ENGINE = bytes(31) + b"\x0e"
SECONDS = 20
"""How long anything may take before a test counts as hung."""


@dataclass
class Observed:
    """Metrics that can be waited for."""

    events: dict[str, int] = field(default_factory=dict)
    linked: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def dispatch(self, event: str) -> None:
        """Counts."""
        self.events[event] = self.events.get(event, 0) + 1
        self.changed.set()

    def workers(self, count: int) -> None:
        """Notes how many workers are ready."""
        self.linked = count
        self.changed.set()


class Gateway:
    """Pool, sessions, client and hub of one gateway, on real sockets."""

    def __init__(
        self, *, max_requests: int = 65536, max_response_bytes: int = 1 << 22, earlier: "Gateway | None" = None
    ) -> None:
        """`earlier` is the process whose keys this one took over."""
        self.loop = asyncio.get_running_loop()
        self.now = NOW
        self.signing_key: Ed25519PrivateKey = earlier.signing_key if earlier else Ed25519PrivateKey.generate()
        self.gateway_id = gateway_id_of(self.public_key)
        self.tls: TLSIdentity = earlier.tls if earlier else make_identity("gateway", GATEWAY_NAME)
        self.metrics = Observed()
        self.guard = RecordingGuard()
        self.arrivals: asyncio.Queue[HalfArrival] = asyncio.Queue()
        self.faults: list[tuple[bytes, Reason]] = []
        self.linked: list[bytes] = []
        sessions = Sessions(
            signing_key=self.signing_key,
            guard=self.guard,
            suites=(SuiteID.MLKEM768_X25519, SuiteID.X25519),
            entropy=os.urandom,
            made=lambda: self.metrics.dispatch("session"),
            max_requests=max_requests,
        )
        self.pool = WorkerPool(
            sessions=sessions,
            loop=self.loop,
            clock=lambda: self.now,
            halves=self.arrivals.put_nowait,
            linked=self.linked.append,
            faults=lambda worker_id, reason: self.faults.append((worker_id, reason)),
            metrics=self.metrics,
            max_response_bytes=max_response_bytes,
        )
        self.client = WorkerClient(
            pool=self.pool,
            identity=self.tls,
            gateway_id=self.gateway_id,
            metrics=self.metrics,
            jitter=lambda: 0.0,
        )
        self.hub: Hub | None = None

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key."""
        return self.signing_key.public_key().public_bytes_raw()

    async def listen(self) -> int:
        """Opens the hub, once; its port."""
        if self.hub is not None:
            return self.hub.port
        self.hub = Hub(
            pool=self.pool,
            identity=self.tls,
            gateway_id=self.gateway_id,
            metrics=self.metrics,
            address="127.0.0.1:0",
        )
        await self.hub.start()
        return self.hub.port

    def admit(self, worker: AttestedWorker) -> None:
        """What candidates would call."""
        self.pool.admit(worker)
        self.client.admit(worker)

    async def close(self) -> None:
        """Stops everything."""
        await self.client.close()
        if self.hub is not None:
            await self.hub.stop()
        self.pool.close()

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits, event by event, until `holds()` is true."""
        async with asyncio.timeout(SECONDS):
            while not holds():
                self.metrics.changed.clear()
                await self.metrics.changed.wait()

    async def reach(self, worker: AttestedWorker) -> None:
        """Waits until the worker is linked."""
        await self.until(lambda: self.pool.reachable(worker.keyset_id))

    def order(
        self,
        worker: AttestedWorker,
        plaintext: bytes = b"question",
        *,
        model: str = "echo",
        method: Method = Method.INFER,
        offer_id: bytes = OFFER,
        seconds: float = SECONDS,
        memo: Callable[[Attempt], bytes] = lambda attempt: b"memo of " + attempt.dispatch_sha256,
        number: int = 1,
    ) -> Order:
        """One attempt to make."""
        limits = RequestLimits(
            method=method,
            model=model,
            intent_sha256=bytes(32),
            policy_sha256=POLICY_SHA256,
            max_price_nanos=1000,
            expires=int(self.now.timestamp()) + 60,
        )
        return Order(
            keyset_id=worker.keyset_id,
            request=seal_request(limits, plaintext, entropy=os.urandom),
            attempt=number,
            award=b"award",
            award_sha256=bytes(32),
            transcript=b"transcript",
            offer_id=offer_id,
            price_nanos=500,
            deadline=self.loop.time() + seconds,
            memo=memo,
        )
