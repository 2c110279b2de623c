# SPDX-License-Identifier: Apache-2.0
"""A whole worker in this process: real keys, engines and batches, and a clock the test moves; no registry."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from attestation.attested import AttestedWorker
from attestation.binding import KeyBinding, Profile
from attestation.identity import provider_id
from attestation.lease import Lease
from attestation.offer import Offer, Tier
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import Engine
from enclave.gateways import Gateways
from enclave.keys import KeyCustody
from enclave.link import LinkLimits
from enclave.listening import LinkService, Listener
from enclave.metrics import Metrics
from enclave.models.catalog import find_model, open_engine
from enclave.offerbook import OwnOffers
from enclave.served import ServedModel, ServingLimits
from enclave.worker import Worker, WorkerLimits
from tests.support.attested import NOW, POLICY_SHA256, attested_for_tests, binding_for

ASK_NANOS = 100
SERVING = ServingLimits(
    max_batch_rows=16,
    max_delay_seconds=0.0,
    max_waiting=64,
    max_waiting_bytes=1 << 24,
    max_streams=4,
    max_response_bytes=1 << 22,
)
LINK_LIMITS = LinkLimits(max_calls=32, max_held_bytes=1 << 23, max_queued_bytes=1 << 20)
WORKER_LIMITS = WorkerLimits(max_calls=64, max_request_bytes=1 << 22, max_unconfirmed=256)


@dataclass
class Clock:
    """Wall time as the test sets it."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Moves time on."""
        self.now += timedelta(seconds=seconds)


@dataclass(kw_only=True)
class Workplace:
    """A worker and what stands around it."""

    worker: Worker
    custody: KeyCustody
    gateways: Gateways
    offers: OwnOffers
    clock: Clock
    metrics: Metrics
    attested: AttestedWorker
    placed: dict[str, Offer]
    port: int = 0
    limits: LinkLimits = LINK_LIMITS
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def offer(self, model: str, **changes: object) -> Offer:
        """Makes and honours an offer for a model."""
        at = int(self.clock.now.timestamp())
        terms: dict[str, object] = {
            "seq": 1,
            "keyset_id": self.attested.keyset_id,
            "worker_id": self.custody.worker_id,
            "provider_id": self.attested.provider_id,
            "model": model,
            "engine_sha256": self.worker.models[model].engine_sha256,
            "tier": Tier.STANDARD,
            "region": "eu",
            "ask_nanos": ASK_NANOS,
            "slots": 32,
            "latency_ms": 50,
            "not_before": at,
            "not_after": at + 120,
            "max_rows": 64,
        }
        offer = Offer(**(terms | changes))  # type: ignore[arg-type]
        self.offers.add(offer, now=self.clock.now)
        self.placed[model] = offer
        return offer

    def rotate(self, *, seconds: int = 3600) -> AttestedWorker:
        """A new generation of keys with a lease of so many seconds."""
        self.attested = new_lease(self.custody, self.clock.now, self.worker.models.values(), seconds=seconds)
        return self.attested


def new_lease(custody: KeyCustody, now: datetime, models: object, *, seconds: int = 3600) -> AttestedWorker:
    """Proposes a generation and installs it as a registry's lease would."""
    engines = tuple(sorted({model.engine_sha256 for model in models}))  # type: ignore[attr-defined]
    keyset = custody.propose()
    base = binding_for(keyset, engines=engines)
    binding = KeyBinding(
        profile=Profile.DEVELOPMENT,
        purpose="worker",
        verifier_nonce=os.urandom(32),
        keyset_id=keyset.keyset_id,
        provider_id=base.provider_id,
        audience=base.audience,
        devices=(),
        engines=engines,
        config_sha256=bytes(32),
        not_after=int(now.timestamp()) + 3600,
    )
    lease = Lease(
        worker_id=custody.worker_id,
        keyset_id=keyset.keyset_id,
        binding_digest=binding.digest,
        provider_id=provider_id("provider-a"),
        policy_sha256=POLICY_SHA256,
        verdict_index=1,
        verdict_leaf=bytes(32),
        profile=Profile.DEVELOPMENT,
        issued=int(now.timestamp()),
        expires=int(now.timestamp()) + seconds,
    )
    custody.install(binding, lease, now=now)
    return attested_for_tests(
        keyset,
        engines=engines,
        binding=binding,
        certificate_der=custody.tls.certificate_der,
        expires=lease.expires_at,
    )


@asynccontextmanager
async def a_worker(
    *references: str,
    engines: Sequence[Engine] = (),
    limits: LinkLimits = LINK_LIMITS,
    worker_limits: WorkerLimits = WORKER_LIMITS,
    serving: ServingLimits = SERVING,
    listen: bool = True,
) -> AsyncIterator[Workplace]:
    """A worker serving these models (`add-one` and `tiny` if none are named), with an offer for each."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(EngineThreads(2))
        names = references or (() if engines else ("add-one", "tiny"))
        loaded = [open_engine(find_model(name), threads=1, entropy=os.urandom) for name in names]
        models = {
            model.name: model
            for model in (
                ServedModel(engine=engine, limits=serving, clock=loop.time, threads=threads)
                for engine in (*loaded, *engines)
            )
        }
        clock, custody, offers, metrics = Clock(), KeyCustody(), OwnOffers(), Metrics(profile=Profile.DEVELOPMENT)
        gateways = Gateways()
        worker = Worker(
            custody=custody,
            models=models,
            offers=offers,
            limits=worker_limits,
            metrics=metrics,
            clock=clock,
            loop=loop,
        )
        place = Workplace(
            worker=worker,
            custody=custody,
            gateways=gateways,
            offers=offers,
            clock=clock,
            metrics=metrics,
            attested=new_lease(custody, clock.now, models.values()),
            placed={},
            limits=limits,
            stack=stack,
        )
        for model in models.values():
            place.offer(model.name)
            task = asyncio.ensure_future(model.run())
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        if listen:
            await _listen(place)
        yield place


async def _listen(place: Workplace) -> None:
    service = LinkService(worker=place.worker, gateways=place.gateways, limits=place.limits, clock=place.clock)
    listener = Listener(service=service, worker=place.worker, gateways=place.gateways, address="127.0.0.1:0")
    await listener.start()
    place.stack.push_async_callback(listener.stop)
    place.port = listener.port
