# SPDX-License-Identifier: Apache-2.0
"""The registry process: the one place where its concrete parts are chosen and tied together.

Under a development policy it gets the SIMULATED verifier; under a production policy that module is not even imported,
so a production registry has no way to find simulated evidence genuine.
"""

import asyncio
import hashlib
import logging
import os
import random
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry
from sealbid_wire.log.v1 import log_pb2, log_pb2_grpc
from sealbid_wire.registry.v1 import registry_pb2, registry_pb2_grpc

from attestation import logs
from attestation.appraisal.policy import MAX_POLICY_BYTES, AppraisalPolicy, read_policy
from attestation.collateral.complete import AsSent, Completer
from attestation.collateral.config import CollateralMode, open_completer, open_source
from attestation.collateral.source import CachedSource
from attestation.errors import SealbidError, SettingsError
from attestation.files import read_file
from attestation.rates import Rates
from attestation.registry.registry import Registry
from attestation.registry.sqlmodel_store import SQLiteRegistryStore
from attestation.rpc.auth import MAX_KEYS_BYTES, APIKeys, server_tls
from attestation.rpc.scrape import serve_metrics
from attestation.server.answering import Answering
from attestation.server.build import this_build
from attestation.server.config import RegistrySettings
from attestation.server.http_app import serving_logs
from attestation.server.http_evidence import EvidenceArchive
from attestation.server.http_page import AuditPage
from attestation.server.http_site import log_path
from attestation.server.log_service import LogService
from attestation.server.registry_service import Changes, RegistryService
from attestation.server.state import LOG_DATABASE, STORE_DATABASE, read_keys
from attestation.server.telemetry import Telemetry
from attestation.server.witnesses import QuorumMissing
from attestation.server.witnessing import open_witnesses, read_witness_policy, renewing
from attestation.signals import until_told
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.quorum import WitnessPolicy
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.trust import load_trust
from attestation.verifiers import verifiers_for
from attestation.wire.client import MAX_MESSAGE_BYTES

PURGE_SECONDS: Final = 60.0
RENEW_SECONDS: Final = 60.0
STOP_SECONDS: Final = 2.0
MAX_CALLS: Final = 1024
"""Watch streams included; beyond it calls are refused, not queued."""

_LOG: Final = logging.getLogger("attestation.server")
_SERVICES: Final = ("RegistryService", "LogService")
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """A registry that serves at `address`, and its log over HTTP at `http_address` if that is set up."""

    address: str
    http_address: str | None
    registry: Registry
    log: EvidenceLog
    telemetry: Telemetry


def main(settings: RegistrySettings) -> None:
    """Runs a registry until SIGTERM or SIGINT. Raises `SettingsError` for what must not start."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the log's key
    policy = _policy(settings)
    logs.configure("registry", policy.profile.value, level=settings.log_level.upper())
    asyncio.run(serve(settings))


async def serve(settings: RegistrySettings) -> None:
    """Serves until the process is told to stop."""

    async def serving(_: RunningRegistry, stop: asyncio.Event) -> None:
        await stop.wait()
        _LOG.info("registry stops")

    await until_told(running(settings), serving)


@asynccontextmanager
async def running(
    settings: RegistrySettings, *, clock: Callable[[], datetime] | None = None
) -> AsyncIterator[RunningRegistry]:
    """A registry for as long as the block lasts; for `serve`, and for tests and demos inside one process."""
    policy = _policy(settings)
    metrics = CollectorRegistry()
    telemetry = Telemetry(registry=metrics, profile=policy.profile)
    with ExitStack() as open_files:
        accounts_bytes = read_file(settings.keys_file, "keys_file", MAX_KEYS_BYTES)
        accounts = APIKeys.from_toml(accounts_bytes)
        _check_profile(settings, policy)
        secrets = read_keys(settings.state_dir, settings.origin)
        logs = SQLLogs.sqlite(settings.state_dir / LOG_DATABASE)
        open_files.callback(logs.close)
        store = SQLiteRegistryStore(settings.state_dir / STORE_DATABASE)
        open_files.callback(store.close)
        log_store = logs.store(settings.origin)
        witness_policy = read_witness_policy(settings)
        witnesses = open_witnesses(
            settings,
            witness_policy,
            log_key=secrets.log_signer.verifier,
            metrics=metrics,
            profile=telemetry.profile,
            clock=clock or _now,
            open_files=open_files,
        )
        log = EvidenceLog(
            origin=settings.origin,
            signer=secrets.log_signer,
            store=log_store,
            heads=FileHeadStore(settings.head),
            cosigner=witnesses,
        )
        if log.size() == 0:
            raise SettingsError("state_dir has an empty log, want one made by registry init")
        source, completer = _collateral(settings, open_files)
        registry = Registry(
            store=store,
            log=log,
            keys=secrets.registry,
            policy=policy,
            verifiers=verifiers_for(policy.profile),
            verifier=this_build(),
            rates=Rates(per_minute=settings.rate.per_minute, burst=settings.rate.burst),
            clock=clock or _now,
            entropy=os.urandom,
            completer=completer,
        )

        def catch_up() -> None:
            registry.open(by="registry", accounts_sha256=_accounts_digest(accounts))

        try:
            await asyncio.to_thread(catch_up)
        except QuorumMissing:
            # What was granted before stays known and revocable; nothing new becomes usable before witnesses answer.
            _LOG.exception("registry starts without its witnesses")
        if settings.metrics_listen is not None:
            open_files.callback(serve_metrics(settings.metrics_listen, metrics))
        page = AuditPage(
            log=log.served,
            log_key=log.log_key,
            path=log_path(log.origin),
            witnesses=witness_policy,
            simulated=policy.simulated,
            clock=clock or _now,
        )
        evidence = EvidenceArchive(accounts=accounts, archived=store.archived, record=registry.record_access)
        async with (
            _renewing(source),
            renewing(settings.witnesses.renew_seconds, catch_up),
            serving_logs(
                settings.http,
                logs={log.origin: log_store},
                evidence=evidence,
                policy=lambda: _policy_text(witness_policy, log),
                page=page.answer,
            ) as http_address,
            _listening(settings, registry, log, accounts, telemetry, witness_policy) as address,
        ):
            _announce(address, http_address, policy, witness_policy)
            yield RunningRegistry(
                address=address, http_address=http_address, registry=registry, log=log, telemetry=telemetry
            )


def _collateral(settings: RegistrySettings, open_files: ExitStack) -> tuple[CachedSource | None, Completer]:
    if settings.collateral.mode is CollateralMode.OFF:
        return None, AsSent()
    jitter = random.SystemRandom().random
    source = open_source(settings.collateral, settings.collateral_folder, pause=time.sleep, jitter=jitter)
    completer = open_completer(settings.collateral, source)
    open_files.callback(completer.close)
    return source, completer


@asynccontextmanager
async def _renewing(source: CachedSource | None) -> AsyncIterator[None]:
    """Renews collateral before it runs out for as long as the block lasts, apart from all calls."""
    renewing = None if source is None else asyncio.create_task(_renew(source))
    try:
        yield
    finally:
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


async def _renew(source: CachedSource) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        missing = await asyncio.to_thread(source.refresh, _now())
        if missing:
            _LOG.warning("collateral has run out", extra={"count": missing})


@asynccontextmanager
async def _listening(
    settings: RegistrySettings,
    registry: Registry,
    log: EvidenceLog,
    accounts: APIKeys,
    telemetry: Telemetry,
    witness_policy: WitnessPolicy,
) -> AsyncIterator[str]:
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
    changes = Changes()
    answering = Answering(accounts=accounts, telemetry=telemetry)
    service = RegistryService(
        registry=registry,
        answering=answering,
        telemetry=telemetry,
        changes=changes,
        heartbeat_seconds=settings.heartbeat_seconds,
    )
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(service, server)
    log_service = LogService(log=log, answering=answering, witnesses=witness_policy)
    log_pb2_grpc.add_LogServiceServicer_to_server(log_service, server)
    status = await _add_health(server)
    port = _bind(server, settings)
    if port == 0:
        raise SettingsError(f"listen {settings.listen} cannot be bound, want a free address of this machine")
    await server.start()
    chores = asyncio.create_task(_chores(registry, log, telemetry))
    try:
        yield f"{settings.listen.rpartition(':')[0]}:{port}"
    finally:
        changes.close()
        answering.close()
        chores.cancel()
        await asyncio.gather(chores, return_exceptions=True)
        await status.enter_graceful_shutdown()
        await server.stop(STOP_SECONDS)


async def _add_health(server: grpc.aio.Server) -> health.aio.HealthServicer:
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    files = (registry_pb2.DESCRIPTOR, log_pb2.DESCRIPTOR)
    names = [
        service.full_name
        for file, name in zip(files, _SERVICES, strict=True)
        for service in [file.services_by_name[name]]
    ]
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return servicer


def _bind(server: grpc.aio.Server, settings: RegistrySettings) -> int:
    tls = settings.tls
    credentials = server_tls(
        settings.listen,
        key_pem=read_file(tls.key, "tls.key", 1 << 20) if tls else None,
        certificate_pem=read_file(tls.certificate, "tls.certificate", 1 << 20) if tls else None,
    )
    try:
        if credentials is None:
            return server.add_insecure_port(settings.listen)
        return server.add_secure_port(settings.listen, credentials)
    except RuntimeError:
        return 0


async def _chores(registry: Registry, log: EvidenceLog, telemetry: Telemetry) -> None:
    """Forgets what is over, once a minute; a failing store is logged and tried again."""
    while True:
        try:
            telemetry.log_size(await asyncio.to_thread(log.size))
            await asyncio.to_thread(registry.purge)
        except SealbidError:
            _LOG.exception("chores failed")
        await asyncio.sleep(PURGE_SECONDS)


def _accounts_digest(accounts: APIKeys) -> bytes:
    """A digest of names and roles: the log shows that the accounts changed, not which keys they have."""
    lines = [f"{item.name} {','.join(sorted(item.roles))}\n" for item in accounts.credentials()]
    return hashlib.sha256("".join(lines).encode()).digest()


def _policy(settings: RegistrySettings) -> AppraisalPolicy:
    return read_policy(read_file(settings.policy_file, "policy_file", MAX_POLICY_BYTES))


def _check_profile(settings: RegistrySettings, policy: AppraisalPolicy) -> None:
    """A log begun under one profile never goes on under another: its trust file would make nobody believe it."""
    if not settings.trust_file.exists():
        return
    began = load_trust(settings.trust_file, "trust_file in state_dir").profile
    if began is not policy.profile:
        raise SettingsError(f"policy_file profile is {policy.profile.value}, want {began.value} as this log began")


def _policy_text(policy: WitnessPolicy, log: EvidenceLog) -> str:
    """The policy as C2SP tlog-policy spells it. The same text belongs elsewhere too: nobody may take it from here."""
    rule = "quorum none\n" if policy == NO_WITNESSES else policy.text
    return rule if policy.logs else f"log {log.log_key.vkey}\n{rule}"


def _announce(address: str, http_address: str | None, policy: AppraisalPolicy, witness_policy: WitnessPolicy) -> None:
    facts = {"address": address, "policy": policy.id, "policy_sha256": policy.sha256.hex()}
    facts |= {} if http_address is None else {"http_address": http_address}
    _LOG.info("registry serves", extra=facts | {"witnesses": witness_policy.display})
    for field, reason in policy.unchecked().items():
        _LOG.warning("policy leaves unchecked", extra={"field": field, "why": reason})


def _now() -> datetime:
    return datetime.now(UTC)
