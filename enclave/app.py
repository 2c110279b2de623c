# SPDX-License-Identifier: Apache-2.0
"""The worker process: the one place where its concrete parts are chosen and tied together.

    harden → read files → load engines (their digests go into the key binding) → listen and dial → register → offer

Nothing is written anywhere: keys live in memory, logs go to standard error. SIGTERM or SIGINT drains: offers are
withdrawn, links are told, calls under way are finished, halves wait for their confirmation until `drain_seconds` end.
"""

import asyncio
import gc
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from attestation import logs
from attestation.binding import Profile
from attestation.claims import ComponentID, ComponentKind
from attestation.errors import MalformedEvidence, SettingsError
from attestation.files import read_file, read_token
from attestation.identity import provider_id
from attestation.signals import until_told
from attestation.trust import TrustRoot, load_trust
from attestation.wire.client import RegistryClient
from enclave.attesters.detect import AttesterChoice, choose_attester, inspect
from enclave.attesters.interface import Attester, Duty
from enclave.attesters.local import local_attesters
from enclave.attesters.tpm import TPMQuoter, read_issuers
from enclave.attesters.tpm_device import open_tpm
from enclave.batching.threads import EngineThreads
from enclave.chores import Chores
from enclave.config import TPM, Simulated, WorkerSettings, config_sha256
from enclave.dialling import Dialler
from enclave.gateways import Gateways
from enclave.hardening import harden
from enclave.keys import KeyCustody
from enclave.link import LinkLimits
from enclave.listening import LinkService, Listener
from enclave.metrics import Metrics
from enclave.models.catalog import find_model, open_engine
from enclave.offerbook import OwnOffers
from enclave.onboarding.offers import MarketClient, OfferDesk
from enclave.onboarding.register import Registrar
from enclave.scrape import Scrape
from enclave.served import ServedModel, ServingLimits
from enclave.worker import Worker, WorkerLimits

_LOG: Final = logging.getLogger("enclave.app")
MAX_FILE_BYTES: Final = 1 << 20
CONFIRM_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWorker:
    """A worker that serves; `endpoint` is empty if it only dials."""

    worker: Worker
    gateways: Gateways
    endpoint: str
    desk: OfferDesk
    metrics_port: int
    failed: "asyncio.Future[None]"
    """Done, with the error, when a part that should never end has ended."""


def main(settings: WorkerSettings) -> None:
    """Runs a worker until SIGTERM or SIGINT. Raises `SettingsError` for what must not start."""
    hardening = harden()
    trust = _trust(settings)
    logs.configure("worker", trust.profile.value, level=settings.log_level)
    _LOG.info(
        "hardened",
        extra={
            "core_dumps_off": hardening.core_dumps_off,
            "undumpable": hardening.undumpable,
            "memory_locked": hardening.memory_locked,
        },
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: WorkerSettings) -> None:
    """Serves until the process is told to stop, then drains."""

    async def serving(running_worker: RunningWorker, stop: asyncio.Event) -> None:
        running_worker.failed.add_done_callback(lambda _: stop.set())
        gc.collect()
        gc.freeze()  # engines and modules live to the end: no collection needs to walk them again
        await stop.wait()
        await drain(running_worker, seconds=settings.drain_seconds)
        if running_worker.failed.done():
            running_worker.failed.result()
        _LOG.info("worker stops")

    await until_told(running(settings), serving)


async def drain(running_worker: RunningWorker, *, seconds: float) -> None:
    """Ends orderly: no new calls, those under way finished, their halves confirmed, all within `seconds`."""
    worker = running_worker.worker
    worker.drain()
    _LOG.info("draining")
    try:
        async with asyncio.timeout(seconds):
            await running_worker.desk.withdraw()
            await worker.drained()
            async with asyncio.timeout(min(CONFIRM_SECONDS, seconds)):
                await worker.confirmed()
    except TimeoutError:
        _LOG.warning("drained in part", extra={"seconds": seconds, "unconfirmed_halves": worker.unconfirmed})


@asynccontextmanager
async def running(
    settings: WorkerSettings, *, clock: Callable[[], datetime] | None = None
) -> AsyncIterator[RunningWorker]:
    """A worker for as long as the block lasts; for `serve`, and for tests and demos inside one process."""
    now = clock or _now
    trust = _trust(settings)
    attester = configured_attester(settings, trust.profile)
    if attester.profile is not trust.profile:
        raise SettingsError(f"attester is {attester.profile.value}, want {trust.profile.value} as the trust root says")
    metrics = Metrics(profile=trust.profile)
    async with AsyncExitStack() as stack:
        chores = Chores()
        models = await _load(settings, chores, stack)
        stack.push_async_callback(chores.stop)
        worker, own = _worker(settings, models, metrics, now)
        stack.callback(worker.custody.close)
        gateways = Gateways()
        endpoint = await _meet(settings, worker, gateways, now, chores, stack)
        registry = RegistryClient.connect(
            settings.registry.address,
            api_key=read_token(settings.registry.api_key_file, "api_key_file", MAX_FILE_BYTES),
            ca_pem=_ca(settings.registry.ca_file),
        )
        stack.push_async_callback(registry.close)
        registrar = Registrar(
            registry=registry,
            custody=worker.custody,
            attester=attester,
            duty=_duty(settings, trust, models),
            trust=trust,
            endpoint=endpoint,
            metrics=metrics,
            clock=now,
        )
        desk = await _desk(settings, worker, own, now, stack)
        metrics_port = await _scrape(settings, worker, now, stack)
        for chore in (registrar.know(gateways, seconds=settings.gateways_seconds), registrar.keep(), desk.run()):
            chores.spawn(chore)
        _LOG.info(
            "worker serves",
            extra={
                "worker_id": worker.custody.worker_id.hex(),
                "endpoint": endpoint,
                "models": list(models),
                "profile": metrics.profile,
            },
        )
        yield RunningWorker(
            worker=worker,
            gateways=gateways,
            endpoint=endpoint,
            desk=desk,
            metrics_port=metrics_port,
            failed=chores.failed,
        )


async def _load(settings: WorkerSettings, chores: Chores, stack: AsyncExitStack) -> dict[str, ServedModel]:
    """Engines in the order of the settings, each with its queue running."""
    loop = asyncio.get_running_loop()
    models: dict[str, ServedModel] = {}
    for item in settings.models:
        source = find_model(item.source, name=item.name, max_batch_size=item.max_batch_size)
        if source.name in models:
            raise SettingsError(f"models has {source.name} twice, want distinct names")
        engine = await asyncio.to_thread(open_engine, source, threads=item.threads, entropy=os.urandom)
        # One thread for batches, the rest for streams: a batch runs on the engine's own threads.
        threads = stack.enter_context(EngineThreads(2, name=f"engine-{source.name}"))
        model = ServedModel(
            engine=engine,
            limits=ServingLimits(
                max_batch_rows=max(1, source.max_batch_size),
                max_delay_seconds=item.max_delay_milliseconds / 1000,
                max_waiting=item.max_waiting,
                max_waiting_bytes=settings.limits.max_waiting_bytes,
                max_streams=item.max_streams,
                max_response_bytes=settings.limits.max_response_bytes,
            ),
            clock=loop.time,
            threads=threads,
        )
        stack.push_async_callback(model.close)
        chores.spawn(model.run())
        models[source.name] = model
    return models


def _worker(
    settings: WorkerSettings, models: Mapping[str, ServedModel], metrics: Metrics, clock: Callable[[], datetime]
) -> tuple[Worker, OwnOffers]:
    own = OwnOffers()
    worker = Worker(
        custody=KeyCustody(),
        models=models,
        offers=own,
        limits=WorkerLimits(
            max_calls=settings.limits.max_calls,
            max_request_bytes=settings.limits.max_request_bytes,
            max_unconfirmed=settings.limits.max_unconfirmed_halves,
        ),
        metrics=metrics,
        clock=clock,
        loop=asyncio.get_running_loop(),
    )
    return worker, own


async def _meet(
    settings: WorkerSettings,
    worker: Worker,
    gateways: Gateways,
    clock: Callable[[], datetime],
    chores: Chores,
    stack: AsyncExitStack,
) -> str:
    """Opens the ways gateways meet this worker; gives the endpoint to advertise."""
    limits = LinkLimits(
        max_calls=settings.limits.max_calls_per_link,
        max_held_bytes=settings.limits.max_held_bytes,
        max_queued_bytes=settings.limits.max_queued_bytes,
    )
    for item in settings.dial:
        dialler = Dialler(
            worker=worker,
            gateways=gateways,
            limits=limits,
            clock=clock,
            address=item.address,
            gateway_id=bytes.fromhex(item.gateway_id),
        )
        chores.spawn(dialler.run())
    if settings.listen is None:
        return ""
    service = LinkService(worker=worker, gateways=gateways, limits=limits, clock=clock)
    listener = Listener(service=service, worker=worker, gateways=gateways, address=settings.listen)
    await listener.start()
    stack.push_async_callback(listener.stop)
    return settings.advertise or f"{settings.listen.rpartition(':')[0]}:{listener.port}"


async def _desk(
    settings: WorkerSettings, worker: Worker, own: OwnOffers, clock: Callable[[], datetime], stack: AsyncExitStack
) -> OfferDesk:
    for offering in settings.offers:
        if offering.model not in worker.models:
            raise SettingsError(f"offers name the model {offering.model}, want one of {', '.join(worker.models)}")
    markets = []
    for item in settings.markets:
        client = MarketClient.connect(
            item.address,
            api_key=read_token(item.api_key_file, "api_key_file", MAX_FILE_BYTES),
            ca_pem=_ca(item.ca_file),
        )
        stack.push_async_callback(client.close)
        markets.append(client)
    return OfferDesk(
        custody=worker.custody,
        own=own,
        offerings=settings.offers,
        engines={name: model.engine_sha256 for name, model in worker.models.items()},
        provider_id=provider_id(settings.provider),
        markets=markets,
        metrics=worker.metrics,
        clock=clock,
    )


async def _scrape(
    settings: WorkerSettings, worker: Worker, clock: Callable[[], datetime], stack: AsyncExitStack
) -> int:
    if settings.metrics_listen is None:
        return 0

    def healthy() -> bool:
        return not worker.draining and worker.custody.current(clock()) is not None

    scrape = Scrape(metrics=worker.metrics, healthy=healthy)
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        bound = await scrape.start(host.strip("[]"), int(port))
    except (OSError, ValueError):
        message = f"metrics_listen {settings.metrics_listen} cannot be bound, want a free address of this machine"
        raise SettingsError(message) from None
    stack.push_async_callback(scrape.stop)
    return bound


def _duty(settings: WorkerSettings, trust: TrustRoot, models: Mapping[str, ServedModel]) -> Duty:
    engines = [(name, model.engine_sha256) for name, model in models.items()]
    return Duty(
        provider_id=provider_id(settings.provider),
        audience=trust.origin,
        engines=[digest for _, digest in engines],
        config_sha256=config_sha256(settings, engines),
    )


def configured_attester(settings: WorkerSettings, profile: Profile, *, root: Path = Path("/")) -> Attester:
    """The attester the settings ask for, on the machine below `root`. Raises `SettingsError`."""

    def simulated() -> Attester:
        if settings.attester.simulated is None:
            raise SettingsError("attester.simulated is missing, want a table for the SIMULATED machine")
        return _simulated(settings.attester.simulated)

    machine = local_attesters(profile, root=root, tpm=_tpm(settings.attester.tpm))
    makers = {**machine, AttesterChoice.SIMULATED: simulated}
    return choose_attester(settings.attester.kind, signs=inspect(root), makers=makers)


def _tpm(settings: TPM) -> TPMQuoter:
    pem = None if settings.issuers_file is None else read_file(settings.issuers_file, "issuers_file", MAX_FILE_BYTES)
    try:
        issuers = () if pem is None else read_issuers(pem)
    except MalformedEvidence as error:
        raise SettingsError(f"issuers_file: {error.message}") from None
    return TPMQuoter(open_device=lambda: open_tpm(settings.device), issuers=issuers)


def _simulated(machine: Simulated) -> Attester:
    from attestation.simulated.formats import DEVELOPMENT_MEASUREMENT  # absent from production images
    from enclave.attesters.simulated import SimulatedAttester

    parts = [(ComponentKind.CPU, machine.cpu), *((ComponentKind.GPU, gpu) for gpu in machine.gpus)]
    components = [
        ComponentID(kind=kind, value=hashlib.sha256(f"sealbid SIMULATED {kind.value} {name}".encode()).digest())
        for kind, name in parts
    ]
    image = hashlib.sha384(f"sealbid SIMULATED {machine.image}".encode()).digest()
    return SimulatedAttester(
        components=sorted(components),
        measurement=image if machine.image else DEVELOPMENT_MEASUREMENT,
        debug=machine.debug,
        security_version=machine.security_version,
    )


def _trust(settings: WorkerSettings) -> TrustRoot:
    return load_trust(settings.trust_file, "trust_file")


def _ca(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path, "ca_file", MAX_FILE_BYTES)


def _now() -> datetime:
    return datetime.now(UTC)
