# SPDX-License-Identifier: Apache-2.0
"""What a registry process is told: one TOML file plus the environment (`SEALBID_REGISTRY_…`), unknown keys refused."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from attestation.collateral.config import CollateralSettings
from attestation.logs import LogLevel
from attestation.settings import check_address


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """The listener's certificate and key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Calls one account may make: challenges and registrations together."""

    per_minute: int = 60
    burst: int = 30

    def __post_init__(self) -> None:
        if self.per_minute < 1 or self.burst < 1:
            raise ValueError("per_minute and burst are at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """The listener for reading the log over HTTP; off unless an address is given."""

    listen: str | None = None
    """`host:port`; port 0 picks a free one. Without `tls` only an address of this machine's own is taken."""
    tls: TLSFiles | None = None

    def __post_init__(self) -> None:
        check_address("listen", self.listen, any_port=True)
        if self.listen is not None and self.listen.startswith("unix"):
            raise ValueError("listen is a unix socket, want host:port")


class WithoutQuorum(StrEnum):
    """What becomes of a log head that too few witnesses cosign."""

    STOP = "stop"
    """It is not published: nothing new becomes usable until they do."""
    SERVE = "serve"
    """It is published and flagged; whoever asks for the quorum refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessesSettings:
    """Who cosigns the log's heads; nobody unless a policy is given."""

    policy_file: Path | None = None
    """A C2SP tlog-policy file; the witnesses in it that have an address are asked."""
    without_quorum: WithoutQuorum = WithoutQuorum.STOP
    seconds: float = 5.0
    """How long one round may take, all witnesses at once."""
    grace_seconds: float = 0.2
    """How long the others are waited for once the quorum is met."""
    renew_seconds: float = 15.0
    """How often a quiet log is cosigned anew: policies bound the age of cosignatures."""
    ca_file: Path | None = None
    """Certificates that witnesses' own must chain to, instead of the system's."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.seconds <= 60 or not 0 <= self.grace_seconds <= self.seconds:
            raise ValueError("seconds is 0.05 to 60, and grace_seconds at most that")
        if not 1 <= self.renew_seconds <= 3600:
            raise ValueError("renew_seconds is 1 to 3600")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """A registry process with its evidence log."""

    origin: str
    """The log's name, for example `registry.example/evidence`; it is the audience of every challenge."""
    state_dir: Path
    """Keys, log, store and the trust file live here, mode 0700."""
    policy_file: Path
    keys_file: Path
    """Hashes of the API keys, with name and roles."""
    listen: str = "127.0.0.1:7443"
    """`host:port` of the services; port 0 picks a free one."""
    head_file: Path | None = None
    """Where the last signed log head is kept, best on another volume; `signed-head` in state_dir when unset."""
    tls: TLSFiles | None = None
    heartbeat_seconds: float = 2.0
    rate: Rate = field(default_factory=Rate)
    collateral: CollateralSettings = field(default_factory=CollateralSettings)
    http: HTTPSettings = field(default_factory=HTTPSettings)
    witnesses: WitnessesSettings = field(default_factory=WitnessesSettings)
    metrics_listen: str | None = None
    log_level: LogLevel = LogLevel.INFO

    def __post_init__(self) -> None:
        check_address("listen", self.listen, any_port=True)
        check_address("metrics_listen", self.metrics_listen, any_port=True)
        if not 0.05 <= self.heartbeat_seconds <= 5:
            raise ValueError("heartbeat_seconds is 0.05 to 5: gateways stop sealing without news")

    @property
    def head(self) -> Path:
        """The file of the last signed head."""
        return self.head_file or self.state_dir / "signed-head"

    @property
    def collateral_folder(self) -> Path:
        """The cache of collateral, unless `collateral.folder` says another."""
        return self.state_dir / "collateral"

    @property
    def trust_file(self) -> Path:
        """The trust root others need, as written by `initialise`."""
        return self.state_dir / "trust.toml"
