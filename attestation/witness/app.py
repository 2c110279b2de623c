# SPDX-License-Identifier: Apache-2.0
"""The witness process: the one place where its concrete parts are chosen and tied together."""

import asyncio
import logging
import os
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry

from attestation import logs
from attestation.errors import SealbidError, SettingsError
from attestation.http.server import serving, tls_context
from attestation.rpc.scrape import serve_metrics
from attestation.signals import until_told
from attestation.tlog.add_checkpoint import MAX_REQUEST_BYTES
from attestation.tlog.cosignature import CosignatureSigner, parse_note_key
from attestation.witness.config import LogSettings, WitnessSettings
from attestation.witness.quota import Buckets
from attestation.witness.routes import Routes
from attestation.witness.state import create, open_store, read_signers
from attestation.witness.store import head_of
from attestation.witness.telemetry import Telemetry
from attestation.witness.witness import Witness, WitnessedLog

_LOG: Final = logging.getLogger("attestation.witness")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStanding:
    """How far a log was cosigned: its last size, or None before any, or what stands in the way."""

    origin: str
    size: int | None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a witness is: the vkeys that policies list, and where it stands with its logs."""

    name: str
    vkeys: tuple[str, ...]
    logs: tuple[LogStanding, ...]


def initialise(settings: WitnessSettings) -> Identity:
    """Makes key and memory, once. Raises `SettingsError`."""
    signers = create(settings, entropy=os.urandom)
    return Identity(name=settings.name, vkeys=_vkeys(signers), logs=())


def show(settings: WitnessSettings) -> Identity:
    """Reads what `initialise` made. Raises `SettingsError`."""
    signers = read_signers(settings)
    witness = _witness(settings, _now)
    return Identity(
        name=settings.name,
        vkeys=_vkeys(signers),
        logs=tuple(_standing(witness, log.origin) for log in witness.logs),
    )


def main(settings: WitnessSettings) -> None:
    """Runs a witness until SIGTERM or SIGINT. Raises `SettingsError` for what must not start."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the key
    logs.configure("witness", "production", level=settings.log_level.upper())
    asyncio.run(_serve(settings))


async def _serve(settings: WitnessSettings) -> None:
    async def until_stopped(_: str, stop: asyncio.Event) -> None:
        await stop.wait()
        _LOG.info("witness stops")

    await until_told(running(settings), until_stopped)


@asynccontextmanager
async def running(settings: WitnessSettings, *, clock: Callable[[], datetime] | None = None) -> AsyncIterator[str]:
    """A witness for as long as the block lasts; yields the address it serves at."""
    metrics = CollectorRegistry()
    now = clock or _now
    witness = _witness(settings, now)
    routes = Routes(
        witness=witness,
        peers=Buckets(per_second=settings.per_minute / 60, burst=settings.per_minute),
        telemetry=Telemetry(registry=metrics),
        clock=now,
    )
    tls = settings.tls
    certificate, key = (tls.certificate, tls.key) if tls else (None, None)
    context = tls_context(settings.listen, certificate=certificate, key=key, name="witness")
    with ExitStack() as open_files:
        if settings.metrics_listen is not None:
            open_files.callback(serve_metrics(settings.metrics_listen, metrics))
        async with serving(
            settings.listen, routes.answer, tls=context, max_body=MAX_REQUEST_BYTES, name="witness"
        ) as address:
            _announce(settings, address, witness)
            yield address


def _witness(settings: WitnessSettings, clock: Callable[[], datetime]) -> Witness:
    return Witness(
        signers=read_signers(settings),
        logs=[_log(log) for log in settings.logs],
        store=open_store(settings),
        clock=clock,
    )


def _vkeys(signers: Sequence[CosignatureSigner]) -> tuple[str, ...]:
    return tuple(signer.verifier.vkey for signer in signers)


def _log(settings: LogSettings) -> WitnessedLog:
    keys = [parse_note_key(vkey) for vkey in settings.vkeys]
    for key in keys:
        if key.name != settings.origin:
            raise SettingsError(f"vkey of log {settings.origin} is named {key.name}, want the origin")
    return WitnessedLog(origin=settings.origin, keys=tuple(keys), per_day=settings.per_day)


def _standing(witness: Witness, origin: str) -> LogStanding:
    try:
        note = witness.last(origin)
    except SealbidError as error:
        return LogStanding(origin=origin, size=None, trouble=error.message)
    return LogStanding(origin=origin, size=None if note is None else head_of(note).size)


def _announce(settings: WitnessSettings, address: str, witness: Witness) -> None:
    facts = {"address": address, "witness": settings.name, "vkeys": list(_vkeys(read_signers(settings)))}
    _LOG.info("witness serves", extra=facts | {"logs": len(witness.logs)})
    for log in witness.logs:
        standing = _standing(witness, log.origin)
        if standing.trouble:
            _LOG.error("log cannot be cosigned", extra={"origin": log.origin, "text": standing.trouble})


def _now() -> datetime:
    return datetime.now(UTC)
