# SPDX-License-Identifier: Apache-2.0
"""How a registry comes to its witnesses: the policy file, the asking, and asking again while the log is quiet."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from attestation.collateral.transport import HTTPSTransport
from attestation.errors import SealbidError, SettingsError
from attestation.files import read_file
from attestation.server.config import RegistrySettings, WithoutQuorum
from attestation.server.witness_telemetry import WitnessTelemetry
from attestation.server.witnesses import Witnesses
from attestation.tlog.note import NoteKey
from attestation.tlog.policy import MAX_POLICY_BYTES, NO_WITNESSES, parse_witness_policy
from attestation.tlog.quorum import WitnessPolicy, shown

_PORTS: Final = {"https": 443, "http": 80}
_LOG: Final = logging.getLogger("attestation.server")


def read_witness_policy(settings: RegistrySettings) -> WitnessPolicy:
    """The policy in force; `none` where no file is named.

    Raises:
        SettingsError: the file cannot be read, or lists logs and not this one.
        MalformedEvidence: it is no policy.
    """
    path = settings.witnesses.policy_file
    if path is None:
        return NO_WITNESSES
    policy = parse_witness_policy(read_file(path, "witnesses.policy_file", MAX_POLICY_BYTES))
    if policy.logs and not policy.logs_of(settings.origin):
        raise SettingsError(f"witnesses.policy_file lists logs, want {settings.origin} among them or none")
    return policy


def open_witnesses(
    settings: RegistrySettings,
    policy: WitnessPolicy,
    *,
    log_key: NoteKey,
    metrics: CollectorRegistry,
    profile: str,
    clock: Callable[[], datetime],
    open_files: ExitStack,
) -> Witnesses:
    """The witnesses of `policy`, ready to be asked. Raises `SettingsError` for one that nobody could ask."""
    chosen = settings.witnesses
    hosts: dict[str, set[str]] = {"https": set(), "http": set()}
    for witness in policy.witnesses:
        if witness.url:
            scheme, host = _authority(witness.name, witness.url)
            hosts[scheme].add(host)
    if not policy.met([witness.name for witness in policy.witnesses if witness.url]):
        raise SettingsError("witnesses.policy_file gives too few witnesses an address, want its quorum within reach")
    transport = HTTPSTransport(
        hosts=hosts["https"],
        plain=hosts["http"],
        tls=ssl.create_default_context(cafile=chosen.ca_file),
        seconds=chosen.seconds,
    )
    witnesses = Witnesses(
        policy=policy,
        log_key=log_key,
        transport=transport,
        seconds=chosen.seconds,
        grace_seconds=chosen.grace_seconds,
        fail_open=chosen.without_quorum is WithoutQuorum.SERVE,
        telemetry=WitnessTelemetry(registry=metrics, profile=profile),
        clock=clock,
    )
    open_files.callback(witnesses.close)
    return witnesses


@asynccontextmanager
async def renewing(seconds: float, publish: Callable[[], None]) -> AsyncIterator[None]:
    """Publishes every `seconds` for as long as the block lasts, so that the newest head keeps young cosignatures."""
    task = asyncio.create_task(_renew(seconds, publish))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _renew(seconds: float, publish: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(publish)
        except SealbidError:
            _LOG.exception("log head was not renewed")


def _authority(name: str, url: str) -> tuple[str, str]:
    """Scheme and `host:port`; plain HTTP is taken as the policy says it, for a cosignature proves itself."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise SettingsError(f"witness {shown(name)} address is no url, want http or https") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(f"witness {shown(name)} address is not a host and a path at http or https")
    return parts.scheme, f"{parts.hostname}:{port}"
