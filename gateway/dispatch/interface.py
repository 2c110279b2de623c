# SPDX-License-Identifier: Apache-2.0
"""Seams of dispatch: what it counts, whom it tells of lies and of halves. All are called on the event loop."""

from enum import StrEnum
from typing import Protocol

from attestation.errors import Reason
from gateway.receipts.arrival import HalfArrival


class DispatchEvent(StrEnum):
    """What dispatch counts."""

    LINK_UP = "link_up"
    LINK_DOWN = "link_down"
    LINK_FAILED = "link_failed"
    LINK_REFUSED = "link_refused"
    SESSION = "session"
    CALL_REFUSED = "call_refused"
    CALL_LOST = "call_lost"
    CALL_LATE = "call_late"
    ANSWER_REFUSED = "answer_refused"
    WORKER_REFUSED = "worker_refused"


class DispatchMetrics(Protocol):
    """Where dispatch counts."""

    def dispatch(self, event: str) -> None: ...

    def workers(self, count: int) -> None: ...


class Faults(Protocol):
    """Is told when an attested worker's answer was refused: a lie in its half, or bytes that do not open."""

    def __call__(self, worker_id: bytes, reason: Reason, /) -> None: ...


class LinkSink(Protocol):
    """Is told, ahead of the halves it returns, that a worker linked."""

    def __call__(self, worker_id: bytes, /) -> None: ...


class HalfSink(Protocol):
    """Takes a worker's batch of halves without blocking; which became durable is told to the pool later."""

    def __call__(self, arrival: HalfArrival, /) -> None: ...
