# SPDX-License-Identifier: Apache-2.0
"""The values a request is made of on its way through the flow: who asks, what for, what was tried, how it ended."""

from dataclasses import dataclass, field
from datetime import datetime

from attestation.binding import Profile
from attestation.offer import Tier
from attestation.sealing.halves import Outcome as Ending
from attestation.sealing.header import Method

__all__ = ["FLUSH_MILLISECONDS", "Attempt", "Call", "Ending", "Limits", "Method", "Outcome", "Tier"]


FLUSH_MILLISECONDS = {Tier.INTERACTIVE: 20, Tier.STANDARD: 50, Tier.BATCH: 200}
"""Interval at which a stream's frames leave the worker, by tier (docs/spec.md, 11.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the caller allows; sealed into the header and never widened."""

    tier: Tier
    max_price_nanos: int
    """Per 1,000 work units."""
    max_total_nanos: int
    """For the whole request."""
    regions: tuple[str, ...]
    """Empty: any region the tenant's policy allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted request. `payload` is the serialized ModelInferRequest exactly as received."""

    tenant: str
    """Never leaves the gateway."""
    method: Method
    model: str
    payload: bytes = field(repr=False)
    limits: Limits
    context: int
    """Rows of the batch, or tokens of prompt and answer together."""
    wu_cap: int
    """Work units this request can cost at most."""
    deadline: float
    """Event-loop time by which the caller wants the answer."""
    expires: int
    """Unix seconds after which no worker may start it."""
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One worker tried. `reason` is empty when this attempt answered."""

    number: int
    worker_id: bytes
    keyset_id: bytes
    binding_digest: bytes
    offer_id: bytes
    price_nanos: int
    award: bytes = field(repr=False)
    award_sha256: bytes
    dispatch: bytes = field(repr=False)
    dispatch_sha256: bytes
    transcript: bytes = field(default=b"", repr=False)
    """The auction's transcript, by which an auditor replays it; empty where a restart lost it."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything the receipt, the ledger and reputation need; handed on after the answer has left."""

    request_id: bytes
    tenant: str
    model: str
    method: Method
    attempts: tuple[Attempt, ...]
    half: bytes | None
    """The worker half of the attempt that answered or refused, or None when no worker did."""
    ending: Ending
    charge_nanos: int
    wu_cap: int
    max_total_nanos: int
    started: datetime
    ended: datetime
    profile: Profile
