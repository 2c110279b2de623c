# SPDX-License-Identifier: Apache-2.0
"""What an earlier process of this gateway left unfinished: how long it waits, and what it becomes (docs/spec.md, 11.4).

    attempt begun, journaled ahead of its call ─┐
    half returned with its memo ────────────────┴─▶ left ──is_due──▶ recover ──▶ one outcome, as the flow would give it

Pure. The newest attempt decides. It is answered by the half its worker kept; without one no worker is known to have
completed the request, and the outcome is a failure that costs nothing. So the worker is waited for: until it has linked
to this process and had time to return its halves, or until it has stayed away for so long that it is given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from attestation.sealing.halves import WorkerHalf, WorkerStatus
from gateway.receipts.issue import charge_for
from gateway.receipts.memo import Memo
from gateway.request import Ending, Outcome

BROKEN_OFF: Final = "CANCELLED"
"""Why an attempt ended that no half is known of: its gateway was gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long the journal waits for workers, in seconds."""

    halves: float = 10.0
    """For all halves of a request, once a worker could return them."""
    workers: float = 600.0
    """For a worker to link to this process, before it is given up."""
    signature: float = 60.0
    """For a worker's signature over a half, before its receipt is handed out without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """One request an earlier process left."""

    request_id: bytes
    worker_id: bytes
    """Of the newest attempt journaled; empty where only a memo came back."""
    answered: bool
    """Whether the half of that attempt is here."""
    arrived: int | None
    """When the first of its halves came back with a memo, unix seconds; None while none did."""


def is_due(left: Left, *, now: float, began: float, greeted: Mapping[bytes, float], waits: Waits) -> bool:
    """Whether the request is to be settled at `now`, by a process that began to write at `began`.

    `greeted` says since when each worker is linked to this process.
    """
    quiet = now - waits.halves
    if left.arrived is not None and left.arrived > quiet:
        return False
    if not left.worker_id:
        return True
    if left.answered:
        return began <= quiet
    since = greeted.get(left.worker_id)
    return (since is not None and since <= quiet) or began <= now - waits.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One attempt of a request the gateway died over: its memo, and the half its worker made, if any is here."""

    memo: Memo
    half: bytes | None


def recover(known: Sequence[Recovered], *, now: datetime) -> Outcome:
    """The outcome of one request, from all that is known of it: not empty and of one request.

    The newest attempt decides, for an earlier one was given up before the caller saw a byte; it is charged as if the
    answer had reached the caller, since the work was done for that caller and nobody else will say so.
    """
    newest = max(known, key=lambda one: (one.memo.attempts[-1].number, one.half is not None))
    memo, last = newest.memo, newest.memo.attempts[-1]
    half = None if newest.half is None else WorkerHalf.decode(newest.half)
    return Outcome(
        request_id=memo.request_id,
        tenant=memo.tenant,
        model=memo.model,
        method=memo.method,
        attempts=(*memo.attempts[:-1], replace(last, reason=_reason(half))),
        half=newest.half,
        ending=Ending.FAILED if half is None else _ENDINGS.get(half.status, Ending.FAILED),
        charge_nanos=0
        if half is None
        else charge_for(half, attempt=last, wu_cap=memo.wu_cap, max_total_nanos=memo.max_total_nanos),
        wu_cap=memo.wu_cap,
        max_total_nanos=memo.max_total_nanos,
        started=memo.started,
        ended=max(memo.started, now) if half is None else _ended(half, memo.started),
        profile=memo.profile,
    )


_ENDINGS: Final = {WorkerStatus.OK: Ending.ANSWERED, WorkerStatus.INVALID: Ending.REFUSED}


def _reason(half: WorkerHalf | None) -> str:
    if half is None:
        return BROKEN_OFF
    return "" if half.status in _ENDINGS else half.status.name


def _ended(half: WorkerHalf, started: datetime) -> datetime:
    """The worker's word for the end, kept within a day of the start the gateway itself saw."""
    latest = int(started.timestamp()) + 86_400
    return max(started, datetime.fromtimestamp(min(half.ended, latest), UTC))
