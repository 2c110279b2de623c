# SPDX-License-Identifier: Apache-2.0
"""What a witness process is told: one TOML file plus the environment (`SEALBID_WITNESS_…`), unknown keys refused.

name = "witness.example/w1"        the name its cosignatures carry; never changes
state_dir = "state"                key and last notes
guard_dir = "/other/volume/guard"  how far it ever got, apart from state_dir

[[logs]]
origin = "registry.example/evidence"
vkeys = ["registry.example/evidence+0123abcd+AV..."]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestation.logs import LogLevel
from attestation.settings import check_address

MAX_LOGS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """The listener's certificate and key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """A log this witness cosigns."""

    origin: str
    """The first line of its checkpoints."""
    vkeys: tuple[str, ...]
    """Its keys, as C2SP signed-note spells them; a signature by any one is enough."""
    per_day: int = 86_400
    """Heads cosigned a day, an hour's worth of them at once."""

    def __post_init__(self) -> None:
        if not self.vkeys or self.per_day < 1:
            raise ValueError("a log has at least one vkey, and per_day is at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessSettings:
    """A witness process."""

    name: str
    """The name in its cosignatures: a schema-less URL of its operator, for example `witness.example/w1`."""
    state_dir: Path
    """The key and the last note of every log; mode 0700."""
    logs: tuple[LogSettings, ...] = ()
    guard_dir: Path | None = None
    """How far it ever got, best on another volume and in no backup; `guard` in state_dir when unset."""
    listen: str = "127.0.0.1:7445"
    """`host:port`; port 0 picks a free one."""
    tls: TLSFiles | None = None
    per_minute: int = 600
    """Requests a minute by one peer address, of any kind."""
    metrics_listen: str | None = None
    log_level: LogLevel = LogLevel.INFO

    def __post_init__(self) -> None:
        check_address("listen", self.listen, any_port=True)
        check_address("metrics_listen", self.metrics_listen, any_port=True)
        if self.per_minute < 1:
            raise ValueError("per_minute is at least 1")
        if len({log.origin for log in self.logs}) != len(self.logs) or len(self.logs) > MAX_LOGS:
            raise ValueError(f"logs are at most {MAX_LOGS}, each origin once")

    @property
    def guard(self) -> Path:
        """The folder of the guards."""
        return self.guard_dir or self.state_dir / "guard"
