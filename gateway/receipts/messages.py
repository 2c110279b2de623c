# SPDX-License-Identifier: Apache-2.0
"""What a gateway and its journal's writer say to each other over two pipes.

    frame  = u32 length || marshal(tuple)
    gateway → writer   (OUTCOME, ...) (ARRIVAL, ...) (WORKER, ...) (BEGUN, ...) (GREETED, ...)    handed over, in order
    writer  → gateway  (READY,) or (REFUSED, text) once, then (REPORT, settled, failing, counts, kept)

`marshal` because both ends are the same interpreter on the same code, one having started the other: it carries plain
data and, unlike pickle, nothing that runs when it is read; canonical CBOR costs twenty times as much per request. It
is no format for files or for peers. A frame beyond the bound is refused: the other end is not the one we started.
"""

import marshal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from attestation.binding import Profile
from attestation.errors import Malformed
from gateway.receipts.arrival import HalfArrival
from gateway.receipts.work import Begun, Greeted, WorkerKeys
from gateway.request import Attempt, Ending, Method, Outcome

Item: TypeAlias = "Outcome | HalfArrival | WorkerKeys | Begun | Greeted"

MAX_FRAME_BYTES: Final = 1 << 26
_HEAD: Final = 4
_OUTCOME, _ARRIVAL, _WORKER, _BEGUN, _GREETED = range(5)
_READY, _REFUSED, _REPORT = range(3)


class JournalEvent(StrEnum):
    """What the journal counts."""

    RECEIPT = "receipt"
    RECOVERED = "recovered"
    SIGNATURE_MISSING = "signature_missing"
    DUPLICATE = "duplicate"
    HALF_REFUSED = "half_refused"
    HALF_TURNED_AWAY = "half_turned_away"
    MEMO_REFUSED = "memo_refused"
    ITEM_REFUSED = "item_refused"
    COMMIT_FAILED = "commit_failed"
    WRITER_LOST = "writer_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The writer holds the lock and its database is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The writer cannot start; it ends."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of what was handed over. `settled` counts items since the last report: they need not come again."""

    settled: int
    failing: bool
    counts: Mapping[str, int]
    kept: Mapping[bytes, list[bytes]]


Answer: TypeAlias = "Ready | Refused | Report"


def encode_item(item: Item) -> bytes:
    """The frame of one item."""
    if isinstance(item, Begun):
        return _frame((_BEGUN, item.request_id, item.worker_id, item.dispatch_sha256, item.memo))
    if isinstance(item, Outcome):
        return _frame((_OUTCOME, *_outcome_fields(item)))
    if isinstance(item, HalfArrival):
        return _frame((_ARRIVAL, item.worker_id, item.receipt_key, item.cose, item.leaves, item.halves))
    if isinstance(item, Greeted):
        return _frame((_GREETED, item.worker_id))
    keys = (item.keyset_id, item.binding_digest, item.provider_id)
    return _frame((_WORKER, *keys, item.keyset, item.verdict_entry, item.verdict_proof))


def take_items(buffer: bytearray) -> list[Item]:
    """The items of all whole frames in the buffer, which are taken out of it."""
    return [_item(fields) for fields in _frames(buffer)]


def encode_answer(answer: Answer) -> bytes:
    """The frame of one answer."""
    match answer:
        case Ready():
            return _frame((_READY,))
        case Refused(text=text):
            return _frame((_REFUSED, text))
        case Report():
            return _frame((_REPORT, answer.settled, answer.failing, dict(answer.counts), dict(answer.kept)))


def take_answers(buffer: bytearray) -> list[Answer]:
    """The answers of all whole frames in the buffer, which are taken out of it."""
    return [_answer(fields) for fields in _frames(buffer)]


def _frame(fields: tuple[Any, ...]) -> bytes:
    data = marshal.dumps(fields)
    return len(data).to_bytes(_HEAD, "big") + data


def _frames(buffer: bytearray) -> Iterator[tuple[Any, ...]]:
    at = 0
    try:
        while len(buffer) - at >= _HEAD:
            start = at + _HEAD
            size = int.from_bytes(buffer[at:start], "big")
            if size > MAX_FRAME_BYTES:
                raise Malformed(f"journal frame has {size} bytes, want at most {MAX_FRAME_BYTES}")
            if len(buffer) - start < size:
                return
            at = start + size
            yield marshal.loads(buffer[start:at])  # noqa: S302  plain data of our own other half, see above
    finally:
        del buffer[:at]


def _item(fields: tuple[Any, ...]) -> Item:
    kind = fields[0]
    if kind == _BEGUN:
        _, request_id, worker_id, dispatch_sha256, memo = fields
        return Begun(request_id=request_id, worker_id=worker_id, dispatch_sha256=dispatch_sha256, memo=memo)
    if kind == _GREETED:
        return Greeted(worker_id=fields[1])
    if kind == _OUTCOME:
        return _outcome(fields)
    if kind == _ARRIVAL:
        _, worker_id, receipt_key, cose, leaves, halves = fields
        return HalfArrival(worker_id=worker_id, receipt_key=receipt_key, cose=cose, leaves=leaves, halves=halves)
    _, keyset_id, binding_digest, provider_id, keyset, entry, proof = fields
    return WorkerKeys(
        keyset_id=keyset_id,
        binding_digest=binding_digest,
        provider_id=provider_id,
        keyset=keyset,
        verdict_entry=entry,
        verdict_proof=proof,
    )


def _answer(fields: tuple[Any, ...]) -> Answer:
    if fields[0] == _READY:
        return Ready()
    if fields[0] == _REFUSED:
        return Refused(text=fields[1])
    _, settled, failing, counts, kept = fields
    return Report(settled=settled, failing=failing, counts=counts, kept=kept)


def _outcome_fields(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.request_id,
        outcome.tenant,
        outcome.model,
        int(outcome.method),
        tuple([_attempt_fields(attempt) for attempt in outcome.attempts]),
        outcome.half,
        int(outcome.ending),
        outcome.charge_nanos,
        outcome.wu_cap,
        outcome.max_total_nanos,
        outcome.started.timestamp(),
        outcome.ended.timestamp(),
        outcome.profile.value,
    )


def _outcome(fields: tuple[Any, ...]) -> Outcome:
    _, request_id, tenant, model, method, attempts, half, ending, charge, wu_cap, most, started, ended, profile = fields
    return Outcome(
        request_id=request_id,
        tenant=tenant,
        model=model,
        method=Method(method),
        attempts=tuple([_attempt(attempt) for attempt in attempts]),
        half=half,
        ending=Ending(ending),
        charge_nanos=charge,
        wu_cap=wu_cap,
        max_total_nanos=most,
        started=datetime.fromtimestamp(started, UTC),
        ended=datetime.fromtimestamp(ended, UTC),
        profile=Profile(profile),
    )


def _attempt_fields(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.number,
        attempt.worker_id,
        attempt.keyset_id,
        attempt.binding_digest,
        attempt.offer_id,
        attempt.price_nanos,
        attempt.award,
        attempt.award_sha256,
        attempt.dispatch,
        attempt.dispatch_sha256,
        attempt.transcript,
        attempt.reason,
    )


def _attempt(fields: tuple[Any, ...]) -> Attempt:
    number, worker, keyset, binding, offer, price, award, award_sha256, dispatch, digest, transcript, reason = fields
    return Attempt(
        number=number,
        worker_id=worker,
        keyset_id=keyset,
        binding_digest=binding,
        offer_id=offer,
        price_nanos=price,
        award=award,
        award_sha256=award_sha256,
        dispatch=dispatch,
        dispatch_sha256=digest,
        transcript=transcript,
        reason=reason,
    )
