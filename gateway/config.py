# SPDX-License-Identifier: Apache-2.0
"""What a gateway process is told: one TOML file plus the environment (`SEALBID_GATEWAY_…`), unknown keys refused."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attestation.logs import LogLevel
from attestation.settings import check_address

MAX_ATTEMPTS: Final = 5
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """The public listener's own certificate; `client_ca` turns on client certificates."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where the attestation registry is and how this gateway authenticates to it."""

    address: str
    api_key_file: Path
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        check_address("address", self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model callers may name: which engines count as it, and what it may cost."""

    engines: tuple[str, ...]
    """SHA-256 of every engine accepted under this name, lower-case hex."""
    reference_price_nanos: int
    """Published reference price per 1,000 work units; the reserve and the handicaps derive from it."""
    max_price_nanos: int | None = None
    """Price cap for callers that name none; the reserve when unset."""

    def __post_init__(self) -> None:
        if not self.engines or not all(_SHA256.fullmatch(engine) for engine in self.engines):
            raise ValueError("engines are not SHA-256 digests of 64 lower-case hex digits, at least one")
        prices = (self.reference_price_nanos, 1 if self.max_price_nanos is None else self.max_price_nanos)
        if not all(0 < price < 1 << 63 for price in prices):
            raise ValueError("reference_price_nanos and max_price_nanos are at least 1 and below 2^63")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Limits of one tenant."""

    requests_per_second: float = 1000.0
    burst: int = 1000
    concurrent: int = 256
    budget_nanos: int | None = None
    """Sum of all charges at which requests are refused; None means no budget is set."""
    certificate_sha256: tuple[str, ...] = ()
    """SPKI digests of client certificates that authenticate this tenant, lower-case hex."""

    def __post_init__(self) -> None:
        if not 0 < self.requests_per_second <= 1e9 or min(self.burst, self.concurrent) < 0:
            raise ValueError("requests_per_second is above 0, burst and concurrent are at least 0")
        if self.budget_nanos is not None and self.budget_nanos < 0:
            raise ValueError("budget_nanos is at least 0")
        if not all(_SHA256.fullmatch(digest) for digest in self.certificate_sha256):
            raise ValueError("certificate_sha256 are not SHA-256 digests of 64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one request may take."""

    max_request_bytes: int = 16 << 20
    max_response_bytes: int = 16 << 20
    max_attempts: int = 3
    """Workers tried for one request, at most 5: the memo a restart needs has room for that many."""
    default_deadline_seconds: float = 30.0
    max_deadline_seconds: float = 600.0
    min_deadline_milliseconds: int = 5
    """A request with less time left is refused before anything is spent on it."""
    drain_seconds: float = 30.0
    signature_grace_seconds: float = 60.0
    """How long a receipt waits for its worker's signature before it is handed out without."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(f"max_attempts is 1 to {MAX_ATTEMPTS}")
        if self.min_deadline_milliseconds < 1 or min(self.max_request_bytes, self.max_response_bytes) < 1024:
            raise ValueError("min_deadline_milliseconds is at least 1, max_request_bytes and max_response_bytes 1024")
        if not 0 < self.default_deadline_seconds <= self.max_deadline_seconds <= 86_400 or not self.drain_seconds >= 0:
            raise ValueError("default_deadline_seconds is above 0, up to max_deadline_seconds, that up to a day")
        if not 0 < self.signature_grace_seconds <= 86_400:
            raise ValueError("signature_grace_seconds is above 0, up to a day")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """A gateway process."""

    listen: str
    """`host:port` of the public front: Open Inference Protocol, offers, receipts, health, reflection."""
    state_dir: Path
    """Signing key, link key, memo key and journal live here, mode 0700."""
    keys_file: Path
    """Hashes of the API keys, with tenant and roles."""
    trust_file: Path
    policy_file: Path
    registry: Registry
    models: dict[str, Model]
    tenants: dict[str, Tenant] = field(default_factory=dict)
    default_tenant: Tenant = field(default_factory=Tenant)
    limits: Limits = field(default_factory=Limits)
    link_listen: str | None = None
    """`host:port` for workers that dial in; None when this gateway dials all of them."""
    metrics_listen: str | None = None
    tls: TLSFiles | None = None
    insecure_plaintext: str | None = None
    """The reason why a listener beyond loopback may go without TLS."""
    log_level: LogLevel = LogLevel.INFO

    def __post_init__(self) -> None:
        check_address("listen", self.listen, any_port=True)
        check_address("link_listen", self.link_listen, any_port=True)
        check_address("metrics_listen", self.metrics_listen, any_port=True)
