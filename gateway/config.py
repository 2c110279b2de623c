# SPDX-License-Identifier: Apache-2.0
"""What a gateway process is told: one TOML file plus the environment (`SEALBID_GATEWAY_…`), unknown keys refused."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAX_ATTEMPTS: Final = 5


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model callers may name: which engines count as it, and what it may cost."""

    engines: tuple[str, ...]
    """SHA-256 of every engine accepted under this name, lower-case hex."""
    reference_price_nanos: int
    """Published reference price per 1,000 work units; the reserve and the handicaps derive from it."""
    max_price_nanos: int | None = None
    """Price cap for callers that name none; the reserve when unset."""


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

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(f"max_attempts is 1 to {MAX_ATTEMPTS}")
        if self.min_deadline_milliseconds < 1 or min(self.max_request_bytes, self.max_response_bytes) < 1024:
            raise ValueError("min_deadline_milliseconds is at least 1, max_request_bytes and max_response_bytes 1024")


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
    log_level: str = "info"
