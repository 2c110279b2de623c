# SPDX-License-Identifier: Apache-2.0
"""The gateway process: the one place where its concrete parts are chosen and tied together.

    registry ──watch──▶ Candidates ──▶ WorkerPool, Market, WorkerClient          who may be sealed to
    caller   ──gRPC───▶ InferenceService ──▶ InferenceFlow ──▶ WorkerPool        the request
    worker   ──link───▶ WorkerPool ──▶ Journal ──pipe──▶ writer ──▶ SQLite        halves, receipts, charges

It starts in the order in which it could be harmed: settings and keys, the registry's word that its own keys are logged,
then the journal's writer, links, and the front last. It stops the other way round: no new requests, those under way,
then the journal.
"""

import asyncio
import gc
import logging
import os
import random
import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import uvloop
from prometheus_client import CollectorRegistry

from attestation import logs
from attestation.attested import AttestedWorker
from attestation.errors import Reason, SealbidError
from attestation.receipt_file import LoggedEntry
from attestation.registration import sign_enrolment
from attestation.registry.gateways import LoggedGateway, verify_gateway
from attestation.revocation import SealGuard
from attestation.rpc.scrape import serve_metrics
from attestation.signals import until_told
from attestation.trust import TrustRoot
from attestation.verifiers import verifiers_for
from attestation.wire.client import RegistryClient
from gateway.auth import Authenticator
from gateway.config import GatewaySettings
from gateway.dispatch.candidates import Candidates
from gateway.dispatch.hub import Hub
from gateway.dispatch.interface import DispatchEvent
from gateway.dispatch.pool import WorkerPool
from gateway.dispatch.sessions import Sessions
from gateway.dispatch.worker_client import WorkerClient
from gateway.flow import InferenceFlow
from gateway.front import Front
from gateway.identity import GatewayIdentity, find_identity, load_identity
from gateway.inference import InferenceService
from gateway.inputs import Inputs, read_inputs
from gateway.market.service import Market
from gateway.market.snapshot import Eligible
from gateway.market.terms import flat_terms
from gateway.marketplace import MarketService
from gateway.quota import Quota
from gateway.receipts.archive import open_records
from gateway.receipts.desk import Desk
from gateway.receipts.journal import Journal
from gateway.receipts.memo import MemoKey
from gateway.receipts.process import launcher
from gateway.receipts.service import ReceiptService
from gateway.reputation.store import ConstantReputation
from gateway.statistics import Statistics
from gateway.telemetry import Telemetry, profile_name
from gateway.tensors import Catalog

_LOG: Final = logging.getLogger("sealbid.gateway")
_ENROL_SECONDS: Final = 1.0
_COMMIT_SECONDS: Final = 1.0
_SECRET_BYTES: Final = 32


def main(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT. Raises `SettingsError` for what must not start."""
    inputs = read_inputs(settings)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold requests in the clear, and keys
    identity = load_identity(settings.state_dir, entropy=os.urandom)
    logs.configure("gateway", inputs.policy.profile.value, level=settings.log_level.upper())
    uvloop.run(serve(settings, inputs, identity))


def check(settings: GatewaySettings) -> list[str]:
    """What would run, a line each. Reads files, writes and opens nothing. Raises `SettingsError`."""
    inputs = read_inputs(settings)
    identity = find_identity(settings.state_dir)
    return [
        f"gateway {identity.gateway_id.hex() if identity else 'is new, its keys are made when it starts'}",
        f"policy {inputs.policy.id} v{inputs.policy.version}, profile {profile_name(inputs.policy.profile)}",
        f"registry {settings.registry.address}, log {inputs.trust.origin}, {inputs.trust.witness_policy.display}",
        f"front {settings.listen}, links from workers {settings.link_listen or 'none, all are dialled'}",
        *(f"model {name}: {len(model.engines)} engine(s)" for name, model in settings.models.items()),
        *(f"unchecked {field}: {reason}" for field, reason in inputs.policy.unchecked().items()),
    ]


async def serve(settings: GatewaySettings, inputs: Inputs, identity: GatewayIdentity) -> None:
    """Serves until the process is told to stop."""

    async def serving(_: Front, stop: asyncio.Event) -> None:
        await stop.wait()
        _LOG.info("gateway stops, requests under way are finished first")

    await until_told(running(settings, inputs, identity), serving)


@asynccontextmanager
async def running(settings: GatewaySettings, inputs: Inputs, identity: GatewayIdentity) -> AsyncIterator[Front]:
    """A gateway for as long as the block lasts; for `serve`, and for tests inside one process."""
    async with AsyncExitStack() as stack:
        metrics = CollectorRegistry()
        statistics = Statistics(settings.models)
        telemetry = Telemetry(registry=metrics, profile=inputs.policy.profile, statistics=statistics)
        registry = await stack.enter_async_context(_registry(settings, inputs))
        gateway = await _enrol(registry, settings.registry.address, inputs.trust, identity)
        process = _Process(settings, inputs, identity, telemetry, registry, gateway)
        stack.push_async_callback(process.close)
        await process.open(inputs, telemetry, statistics)
        stack.push_async_callback(process.stop)
        front = await process.start()
        gc.freeze()  # what start-up made stays; collections need not walk it again
        if settings.metrics_listen is not None:
            stack.callback(serve_metrics(settings.metrics_listen, metrics))
        _LOG.info("gateway serves", extra={"address": front.address, "gateway_id": gateway.gateway_id.hex()})
        yield front


class _Process:
    """All parts of one running gateway, and the order in which they start and stop."""

    def __init__(
        self,
        settings: GatewaySettings,
        inputs: Inputs,
        identity: GatewayIdentity,
        telemetry: Telemetry,
        registry: RegistryClient,
        gateway: LoggedGateway,
    ) -> None:
        self._settings = settings
        self._distrusted: set[bytes] = set()
        policy = inputs.policy
        instance = os.urandom(16)
        memo_key = MemoKey(identity.memo_key)
        guard = SealGuard(policy=policy, trust=inputs.trust)
        sessions = Sessions(
            signing_key=identity.signing_key,
            guard=guard,
            suites=policy.suites,
            entropy=os.urandom,
            made=lambda: telemetry.dispatch(DispatchEvent.SESSION),
        )
        self._records = open_records(
            settings.state_dir, gateway_key=LoggedEntry(entry=gateway.key_entry, proof=gateway.key_proof)
        )
        self._journal = Journal(
            launch=launcher(
                state_dir=settings.state_dir,
                instance=instance,
                profile=policy.profile.value,
                log_level=settings.log_level.upper(),
                signature_grace_seconds=settings.limits.signature_grace_seconds,
            ),
            kept=lambda kept: self._pool.halves_kept(kept),
            metrics=telemetry,
        )
        self._pool = WorkerPool(
            sessions=sessions,
            loop=asyncio.get_running_loop(),
            clock=_now,
            halves=self._journal.halves,
            linked=self._journal.greeted,
            faults=self._distrust,
            metrics=telemetry,
            max_response_bytes=settings.limits.max_response_bytes,
        )
        self._client = WorkerClient(
            pool=self._pool,
            identity=identity.tls,
            gateway_id=gateway.gateway_id,
            metrics=telemetry,
            jitter=random.random,
        )
        self._hub = (
            None
            if settings.link_listen is None
            else Hub(
                pool=self._pool,
                identity=identity.tls,
                gateway_id=gateway.gateway_id,
                metrics=telemetry,
                address=settings.link_listen,
            )
        )
        self._market = Market(
            gateway_id=gateway.gateway_id,
            day_secret=os.urandom(_SECRET_BYTES),
            salt_key=os.urandom(_SECRET_BYTES),
            terms=flat_terms({name: model.reference_price_nanos for name, model in settings.models.items()}),
            reputation=ConstantReputation(),
        )
        self._candidates = Candidates(
            registry=registry,
            guard=guard,
            trust=inputs.trust,
            policy=policy,
            verifiers=verifiers_for(policy.profile),
            clock=_now,
            jitter=random.random,
            admitted=self._admitted,
            left=self._left,
            metrics=telemetry,
        )
        self._desk = Desk(journal=self._journal, memo_key=memo_key, instance=instance)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, inputs: Inputs, telemetry: Telemetry, statistics: Statistics) -> None:
        """Starts the journal, then makes what needs its records: by then an earlier gateway's writer has ended."""
        await self._journal.start()
        self._flow = self._make_flow(inputs, telemetry, self._desk)
        self._front = self._make_front(inputs, statistics)

    async def start(self) -> Front:
        """Starts everything else; the front begins to listen last."""
        if self._hub is not None:
            await self._hub.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._candidates.run()), loop.create_task(self._commit_offers())]
        await self._front.start()
        return self._front

    async def stop(self) -> None:
        """No new requests; those under way; then the journal, then links."""
        await self._front.stop(self._settings.limits.drain_seconds)
        await self._flow.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()
        await self._client.close()
        if self._hub is not None:
            await self._hub.stop()
        self._pool.close()

    async def close(self) -> None:
        """The journal, if it still runs, and its files."""
        await self._journal.close()
        self._records.close()

    def _make_flow(self, inputs: Inputs, telemetry: Telemetry, desk: Desk) -> InferenceFlow:
        settings = self._settings
        self._catalog = Catalog(
            models=settings.models,
            spec_of=self._pool.models.spec_of,
            max_request_bytes=settings.limits.max_request_bytes,
        )
        return InferenceFlow(
            catalog=self._catalog,
            quota=Quota(
                tenants=settings.tenants,
                default=settings.default_tenant,
                clock=time.monotonic,
                spent={name: self._records.total(name).charged_nanos for name in _tenants(settings, inputs)},
            ),
            market=self._market,
            pool=self._pool,
            desk=desk,
            telemetry=telemetry,
            policy_sha256=inputs.policy.sha256,
            profile=inputs.policy.profile,
            bounds=settings.limits,
            clock=_now,
            monotonic=asyncio.get_running_loop().time,
            entropy=os.urandom,
        )

    def _make_front(self, inputs: Inputs, statistics: Statistics) -> Front:
        settings = self._settings
        authenticator = Authenticator(keys=inputs.keys, tenants=settings.tenants)
        inference = InferenceService(
            flow=self._flow,
            catalog=self._catalog,
            authenticator=authenticator,
            statistics=statistics,
            profile=profile_name(inputs.policy.profile),
            version=inputs.version,
        )
        offers = MarketService(
            market=self._market,
            attested=self._eligible,
            catalog=self._catalog,
            authenticator=authenticator,
            clock=_now,
        )
        receipts = ReceiptService(authenticator=authenticator, journal=self._journal, reader=self._records)
        return Front(settings=settings, inference=inference, offers=offers, receipts=receipts)

    # attested workers come and go

    def _admitted(self, worker: AttestedWorker) -> None:
        self._journal.admit(worker)
        self._pool.admit(worker)
        self._client.admit(worker)

    def _left(self, keyset_id: bytes, reason: Reason) -> None:
        self._market.withdraw_worker(keyset_id)
        self._pool.leave(keyset_id, reason)

    def _distrust(self, worker_id: bytes, reason: Reason) -> None:
        """An attested worker sent what does not hold: its offers leave, and it places none until it restarts."""
        self._distrusted.add(worker_id)
        _LOG.warning("worker suspended", extra={"worker_id": worker_id.hex(), "reason": reason.value})
        self._market.suspend(worker_id)

    def _eligible(self, keyset_id: bytes) -> Eligible | None:
        worker = self._candidates.find(keyset_id)
        if worker is None or worker.worker_id in self._distrusted:
            return None
        return Eligible(
            worker_id=worker.worker_id,
            keyset_id=worker.keyset_id,
            receipt_key=worker.keyset.receipt_key,
            provider_id=worker.provider_id,
            engines=frozenset(worker.engines),
            policies=frozenset({worker.policy_sha256}),
            expires=int(worker.expires.timestamp()),
        )

    async def _commit_offers(self) -> None:
        """Commits the book about once a second: offers count from then on."""
        while True:
            self._market.commit(now=_now())
            await asyncio.sleep(_COMMIT_SECONDS)


@asynccontextmanager
async def _registry(settings: GatewaySettings, inputs: Inputs) -> AsyncIterator[RegistryClient]:
    client = RegistryClient.connect(
        settings.registry.address, api_key=inputs.registry_key, ca_pem=inputs.registry_ca_pem
    )
    async with client:
        yield client


async def _enrol(registry: RegistryClient, address: str, trust: TrustRoot, identity: GatewayIdentity) -> LoggedGateway:
    """Has this gateway's keys logged, waiting for a registry that is not there yet; checks the proofs it gets."""
    told: Reason | None = None
    while True:
        try:
            logged = await registry.enrol_gateway(
                signing_key=identity.signing_public,
                certificate_der=identity.tls.certificate_der,
                enrolment=sign_enrolment(identity.signing_key, identity.tls.certificate_der),
            )
        except SealbidError as error:
            if error.reason is not Reason.PEER_UNAVAILABLE:
                raise
            if told is not error.reason:
                told = error.reason
                extra = {"registry": address, "reason": told.value, "text": error.message}
                _LOG.warning("registry is away, waiting for it", extra=extra)
            await asyncio.sleep(_ENROL_SECONDS)
            continue
        verify_gateway(logged, trust=trust)
        return logged


def _tenants(settings: GatewaySettings, inputs: Inputs) -> set[str]:
    """Every account that may be charged."""
    return {credential.name for credential in inputs.keys.credentials()} | set(settings.tenants)


def _now() -> datetime:
    return datetime.now(UTC)
