# SPDX-License-Identifier: Apache-2.0
"""What the views of the audit page are given: values read from the log, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from attestation.tlog.jcs import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """A witness of the policy; `at` is when it last cosigned, None if it has not."""

    name: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The log as its newest checkpoint has it, and who vouches for that."""

    origin: str
    path: str
    vkey: str
    size: int
    root: bytes
    checkpoint: str
    newest: datetime | None
    """When the newest entry says it was made, by the log's own clock."""
    witnessed: str
    """What a person must be told of the quorum."""
    quorum_met: bool
    cosigners: Sequence[Cosigner]
    simulated: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An entry with its index; `body` is empty for bytes that are no entry of a kind known here."""

    index: int
    kind: str
    at: datetime | None
    body: Mapping[str, JSON]
    data: bytes = field(repr=False)

    def text(self, path: str) -> str:
        """The value at `path` (`policy.version`) as the page shows it; empty if there is none."""
        value: JSON = self.body
        for key in path.split("."):
            if not isinstance(value, Mapping):
                return ""
            value = value.get(key)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, (str, int)) else ""

    def items(self, key: str) -> Sequence[JSON]:
        """The array at `key`, empty if there is none."""
        value = self.body.get(key)
        return value if isinstance(value, Sequence) and not isinstance(value, str) else ()

    @property
    def simulated(self) -> bool:
        """Whether the entry says that it comes from simulated evidence."""
        return self.body.get("simulated") is True


class NodeState(StrEnum):
    """What the log says of a node at a time."""

    VALID = "valid"
    EXPIRED = "expired"
    REFUSED = "refused"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a node's time line; a refusal or a revocation has no length."""

    state: NodeState
    start: datetime
    end: datetime
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A worker (its receipt key's hash) and what was logged about it, oldest first; `more` if older entries exist."""

    worker_id: str
    provider: str
    state: NodeState
    simulated: bool
    spans: Sequence[Span]
    gaps: Sequence[Span]
    """Times between two verdicts in which none was valid: nothing may have been served then."""
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which verdicts are asked for; empty texts ask for all."""

    node: str = ""
    policy: str = ""
    verdict: str = ""
    since: str = ""
    until: str = ""
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Verdicts found, newest first, and where to go on: at most so many entries are looked at for one page."""

    rows: Sequence[Logged]
    looked_at: int
    next_before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything the first view shows."""

    status: Status
    nodes: Sequence[Node]
    verdicts: Verdicts
    policies: Sequence[Logged]
    keys: Sequence[Logged]
    refusals: Sequence[Logged]
    exceptions: Sequence[Logged]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """Two published policies and the rules in which they differ; `unread` says why they could not be compared."""

    old: Logged
    new: Logged
    lines: Sequence[str]
    unread: str = ""
