# SPDX-License-Identifier: Apache-2.0
"""What a worker process is told: one TOML file plus the environment (`SEALBID_WORKER_…`), unknown keys refused.

There is no state directory: a worker keeps nothing on disk.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attestation.codec import cbor
from attestation.logs import LogLevel
from attestation.offer import Tier
from attestation.settings import check_address
from enclave.attesters.detect import AttesterChoice
from enclave.attesters.tpm_device import DEVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service this worker calls and how it authenticates there; a CA file is needed beyond loopback."""

    address: str
    api_key_file: Path
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        check_address("address", self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The machine a SIMULATED attester pretends to be; it proves nothing."""

    cpu: str
    """Name of the pretended CPU; equal names are one machine."""
    gpus: tuple[str, ...] = ()
    debug: bool = False
    security_version: int = 2
    image: str = ""
    """Name of the pretended worker image; the one development policies accept when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TPM:
    """The TPM of a worker whose attester is `tpm`."""

    device: Path = Path("/") / DEVICE
    """The kernel's resource manager, or the socket of a TPM made of software."""
    issuers_file: Path | None = None
    """PEM certificates above the one of the TPM's endorsement key, issuer first, root last; 1 to 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """Which attester makes this worker's evidence. `simulated` and `tpm` must be named, they are never found."""

    kind: AttesterChoice = AttesterChoice.AUTO
    simulated: Simulated | None = None
    tpm: TPM = field(default_factory=TPM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model to serve: `magika`, `tiny`, `identity`, `add-one` or `onnx:PATH`."""

    source: str
    name: str = ""
    """Name for callers; the source's own when empty."""
    max_batch_size: int | None = None
    """Rows one request may have and one batch may reach; the source's own when unset."""
    threads: int = 1
    max_delay_milliseconds: int = 0
    """How long a request waits for others to share its batch; batches form by themselves while the engine is busy."""
    max_waiting: int = 256
    max_streams: int = 16

    def __post_init__(self) -> None:
        if min(self.threads, self.max_waiting, self.max_streams) < 1 or not 0 <= self.max_delay_milliseconds <= 1000:
            raise ValueError("threads, max_waiting and max_streams are at least 1, max_delay_milliseconds 0 to 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """One standing offer: what a call on this machine costs and how much of it there is."""

    model: str
    ask_nanos: int
    """Price asked for 1,000 work units, in nano-dollars."""
    tier: Tier = Tier.STANDARD
    region: str = "local"
    slots: int = 4
    """Calls taken at once under this offer."""
    latency_ms: int = 100
    """Time promised for a call."""
    max_rows: int = 8192
    """Largest request taken: rows of a tensor model, tokens of a generative one."""

    def __post_init__(self) -> None:
        if not (0 <= self.ask_nanos < 1 << 63 and 1 <= self.slots < 1 << 16 and 1 <= self.max_rows < 1 << 32):
            raise ValueError("ask_nanos is at least 0, slots 1 to 65535, max_rows at least 1")
        if not 1 <= self.latency_ms <= 3_600_000:
            raise ValueError("latency_ms is 1 to 3600000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """A gateway to dial, for a worker that cannot be reached itself."""

    address: str
    gateway_id: str
    """64 hex digits."""

    def __post_init__(self) -> None:
        check_address("address", self.address)
        if len(self.gateway_id) != 64 or set(self.gateway_id) - set("0123456789abcdef"):
            raise ValueError("gateway_id is not 64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what gateways may take of this worker's memory."""

    max_calls: int = 256
    max_calls_per_link: int = 256
    max_request_bytes: int = 64 << 20
    max_response_bytes: int = 16 << 20
    max_held_bytes: int = 256 << 20
    """Request bytes of one link's calls not yet answered."""
    max_queued_bytes: int = 4 << 20
    """Answer bytes a gateway has not read at which nothing more is taken from it."""
    max_waiting_bytes: int = 128 << 20
    """Decoded inputs waiting for one model."""
    max_unconfirmed_halves: int = 65536

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_calls_per_link", "max_request_bytes", "max_unconfirmed_halves"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """A worker process."""

    provider: str
    """The provider's account at the registry; the worker's evidence is made for it alone."""
    registry: Service
    trust_file: Path
    models: tuple[Model, ...]
    offers: tuple[Offering, ...] = ()
    markets: tuple[Service, ...] = ()
    """Where offers are placed: the gateways' public addresses."""
    listen: str | None = None
    """`host:port` of WorkerService, port 0 for any; None for a worker that only dials."""
    advertise: str | None = None
    """`host:port` by which gateways reach it; `listen` when unset."""
    dial: tuple[Dial, ...] = ()
    attester: Attestation = field(default_factory=Attestation)
    limits: Limits = field(default_factory=Limits)
    gateways_seconds: float = 5.0
    """How often the registry is asked for its gateways."""
    metrics_listen: str | None = None
    drain_seconds: float = 30.0
    log_level: LogLevel = LogLevel.INFO

    def __post_init__(self) -> None:
        check_address("listen", self.listen, any_port=True)
        check_address("advertise", self.advertise)
        check_address("metrics_listen", self.metrics_listen, any_port=True)
        if self.listen is None and not self.dial:
            raise ValueError("worker neither listens nor dials, want listen or dial")
        if not self.models:
            raise ValueError("models is empty, want at least one")
        if not 0.1 <= self.gateways_seconds <= 3600:
            raise ValueError("gateways_seconds is 0.1 to 3600")


def config_sha256(settings: WorkerSettings, engines: Sequence[tuple[str, bytes]]) -> bytes:
    """The digest of the effective configuration that a key binding commits to.

    It covers what decides how requests are treated: models with their engines (`(name, digest)` in the order of the
    settings), batching and limits. Addresses, accounts, prices and log levels are left out, so that the same worker
    image run by anyone has the same digest.
    """
    item: cbor.Item = {
        0: "sealbid/worker-config/1",
        1: [
            [name, digest, -1 if model.max_batch_size is None else model.max_batch_size, model.threads,
             model.max_delay_milliseconds, model.max_waiting, model.max_streams]
            for model, (name, digest) in zip(settings.models, engines, strict=True)
        ],
        2: [
            settings.limits.max_calls,
            settings.limits.max_calls_per_link,
            settings.limits.max_request_bytes,
            settings.limits.max_response_bytes,
            settings.limits.max_held_bytes,
            settings.limits.max_queued_bytes,
            settings.limits.max_waiting_bytes,
            settings.limits.max_unconfirmed_halves,
        ],
    }  # fmt: skip
    return hashlib.sha256(cbor.encode(item)).digest()
