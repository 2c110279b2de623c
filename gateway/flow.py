# SPDX-License-Identifier: Apache-2.0
"""The life of a request. Read this file first.

     1 admit     quota; sizes, shapes, datatypes; is there enough deadline left?                `_admit`
     2 intent    model, tier, caps, regions → Intent: the caller's limits, never widened        `_intent`
     3 auction   hard gates, score, second-score price → an award and its transcript digest     `_award`
     4 send      seal to the winner, dispatch, wait; a new award when a worker fails            `_send`, `_failed`
     5 answer    open, check, respond; the receipt id goes with it                              `_check`, `_answered`
       ── after the answer, from the Outcome value ──                                           `_conclude`
     6 receipt   journal and countersign    7 settle   ledger, in the journal's transaction     `Desk`

Nothing here blocks, reads a database or uses an asymmetric key: book, leases, sessions and quotas are memory kept fresh
by subscriptions. Failover happens before the caller has seen the first byte, inside the deadline and under the same
sealed limits; every attempt has an award of its own, and only the answering one is charged. An attempt is handed to
the journal before its call leaves: whatever ends this process, its request ends in a receipt.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from sealbid_oip.errors import OIPError
from sealbid_oip.framing import MessageSplitter

from attestation.binding import Profile
from attestation.errors import Reason, SealbidError
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Method, RequestLimits
from attestation.sealing.request import SealedRequest, seal_request
from gateway.config import Limits as Bounds
from gateway.dispatch.exchange import Exchange, Order, Reply
from gateway.dispatch.pool import WorkerPool
from gateway.errors import DeadlineTooShort, NoCapacity, WorkerFailed
from gateway.market.intent import Intent
from gateway.market.service import Awarded, Market, Refusal
from gateway.quota import Quota, Reservation
from gateway.receipts.desk import Desk
from gateway.receipts.issue import charge_for
from gateway.request import FLUSH_MILLISECONDS, Attempt, Call, Ending, Outcome
from gateway.telemetry import OK, Telemetry
from gateway.tensors import WORKER_REASONS, Catalog, worker_refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request as it reached a front door: whose, which call, the bytes, and how long the caller will wait."""

    tenant: str
    method: Method
    payload: bytes = field(repr=False)
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back: the serialized ModelInferResponse, and what its metadata says about how it came about."""

    data: bytes = field(repr=False)
    request_id: bytes
    worker_id: bytes
    attempts: int
    price_nanos: int
    """Per 1,000 work units."""
    charge_nanos: int


@dataclass(slots=True, kw_only=True)
class _Journey:
    """One request under way; everything `_conclude` turns into an Outcome."""

    call: Call
    intent: Intent
    request: SealedRequest
    reservation: Reservation
    attempts: list[Attempt] = field(default_factory=list)
    excluded: set[bytes] = field(default_factory=set)
    renewed: set[bytes] = field(default_factory=set)
    """Workers whose session was already made anew for this request; a second time they count as failed."""
    released: bool = False
    """True once a byte of the answer has left: no other worker may be tried."""
    half: bytes | None = None
    """The newest half of a worker that refused; a receipt shows it when nobody answers."""


class InferenceFlow:
    """Takes requests through the numbered steps above. One per gateway process; all state is its collaborators'."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        quota: Quota,
        market: Market,
        pool: WorkerPool,
        desk: Desk,
        telemetry: Telemetry,
        policy_sha256: bytes,
        profile: Profile,
        bounds: Bounds,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._catalog = catalog
        self._quota = quota
        self._market = market
        self._pool = pool
        self._desk = desk
        self._telemetry = telemetry
        self._policy_sha256 = policy_sha256
        self._profile = profile
        self._bounds = bounds
        self._clock = clock
        self._monotonic = monotonic
        self._entropy = entropy
        self._abandoned: set[asyncio.Task[None]] = set()

    async def unary(self, arrival: Arrival) -> Answer:
        """One ModelInfer. Raises `GatewayError` (see gateway/errors.py); then nothing was charged."""
        with self._admit(arrival) as journey:
            while True:
                with self._award(journey) as awarded:
                    exchange: Exchange | None = None
                    try:
                        exchange = self._send(journey, awarded)
                        reply = await exchange.answer()
                        self._check(journey, reply)
                        return self._answered(journey, awarded, reply)
                    except WorkerFailed as failure:
                        self._failed(journey, awarded, failure)
                    except asyncio.CancelledError:
                        self._abandon(journey, exchange)
                        raise

    async def stream(self, arrival: Arrival) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """One request of a ModelStreamInfer: (request id, message) as they come. Raises as `unary` does."""
        with self._admit(arrival) as journey:
            while True:
                with self._award(journey) as awarded:
                    exchange: Exchange | None = None
                    try:
                        exchange = self._send(journey, awarded)
                        async for message in self._messages(exchange):
                            journey.released = True
                            yield journey.request.request_id, message
                        reply = await exchange.answer()
                        self._check(journey, reply)
                    except WorkerFailed as failure:
                        self._failed(journey, awarded, failure)
                    except (asyncio.CancelledError, GeneratorExit):
                        self._abandon(journey, exchange)
                        raise
                    else:
                        self._answered(journey, awarded, reply)
                        return

    async def drain(self) -> None:
        """Waits for the halves of cancelled requests; called when the process stops."""
        if self._abandoned:
            await asyncio.gather(*self._abandoned, return_exceptions=True)

    # 1 and 2: admit, intent

    @contextmanager
    def _admit(self, arrival: Arrival) -> Iterator[_Journey]:
        model, journey = "", None
        self._telemetry.started()
        try:
            with self._quota.admit(arrival.tenant) as reservation:
                call = self._call(arrival)
                model = call.model
                reservation.reserve(call.limits.max_total_nanos)
                intent = self._intent(call)
                request = seal_request(self._sealed_limits(call, intent), call.payload, entropy=self._entropy)
                journey = _Journey(call=call, intent=intent, request=request, reservation=reservation)
                yield journey
        except SealbidError as error:
            if journey is None or not journey.attempts:  # otherwise `_conclude` has counted it
                self._telemetry.refused(model, error.reason)
            raise
        finally:
            self._telemetry.ended()

    def _call(self, arrival: Arrival) -> Call:
        if self._desk.overloaded:
            raise NoCapacity(Reason.STORE_UNAVAILABLE, "receipt journal is behind, want it within its bound")
        bounds, now = self._bounds, self._clock()
        wanted = bounds.default_deadline_seconds if arrival.seconds_left is None else arrival.seconds_left
        seconds = min(wanted, bounds.max_deadline_seconds)
        if seconds * 1000 < bounds.min_deadline_milliseconds:
            got, want = f"{seconds * 1000:.1f} ms", f"at least {bounds.min_deadline_milliseconds} ms"
            detail = {"field": "deadline", "got": got, "want": want}
            raise DeadlineTooShort(Reason.DEADLINE_TOO_SHORT, f"deadline is {got}, want {want}", detail)
        asked = self._catalog.admit(arrival.payload, arrival.method)
        return Call(
            tenant=arrival.tenant,
            method=arrival.method,
            model=asked.model,
            payload=arrival.payload,
            limits=asked.limits,
            context=asked.context,
            wu_cap=asked.wu_cap,
            deadline=self._monotonic() + seconds,
            expires=int(now.timestamp() + seconds) + 1,
            started=now,
        )

    def _intent(self, call: Call) -> Intent:
        return Intent(
            model=call.model,
            tier=call.limits.tier,
            max_price_nanos=call.limits.max_price_nanos,
            regions=call.limits.regions,
            policy_sha256=self._policy_sha256,
            wu_cap=call.wu_cap,
            max_total_nanos=call.limits.max_total_nanos,
            deadline_ms=self._milliseconds_left(call),
            context=call.context,
        )

    def _sealed_limits(self, call: Call, intent: Intent) -> RequestLimits:
        """What every worker is held to; the request is sealed under it once, however many workers are tried."""
        return RequestLimits(
            method=call.method,
            model=call.model,
            intent_sha256=intent.sha256,
            policy_sha256=self._policy_sha256,
            max_price_nanos=call.limits.max_price_nanos,
            expires=call.expires,
            flush_ms=FLUSH_MILLISECONDS[call.limits.tier] if call.method is Method.STREAM else 0,
        )

    # 3: auction

    @contextmanager
    def _award(self, journey: _Journey) -> Iterator[Awarded]:
        """Clears the market for one attempt and holds the winner's slot while it runs."""
        found = self._market.award(
            journey.intent, now=self._clock(), attempt=len(journey.attempts) + 1, exclude=journey.excluded
        )
        if isinstance(found, Refusal):
            self._conclude(journey, Ending.FAILED, found.reason)
            counts = {gate.name: str(count) for gate, count in found.counts.items()}
            raise NoCapacity(found.reason, found.message, counts)
        try:
            yield found
        finally:
            self._market.release(found.award)

    # 4: send

    def _send(self, journey: _Journey, awarded: Awarded) -> Exchange:
        call, award = journey.call, awarded.award
        order = Order(
            keyset_id=award.keyset_id,
            request=journey.request,
            attempt=award.attempt,
            award=award.encoded,
            award_sha256=award.sha256,
            transcript=awarded.transcript,
            offer_id=award.offer_id,
            price_nanos=award.price_nanos,
            deadline=call.deadline,
            memo=lambda attempt: self._desk.begin(self._outcome(journey, Ending.FAILED, (*journey.attempts, attempt))),
        )
        exchange = self._pool.begin(order, self._clock())
        journey.attempts.append(exchange.attempt)
        return exchange

    def _check(self, journey: _Journey, reply: Reply) -> None:
        """Passes an answer; raises for a worker that opened the request and did not run it to its end."""
        if reply.status is WorkerStatus.OK:
            return
        journey.half = reply.half
        reason, message = reply.error or (Reason.WORKER_FAILED.value, f"worker ended with {reply.status.name}")
        refusal = worker_refusal(reason, message) if reply.status is WorkerStatus.INVALID else None
        if refusal is not None:
            self._conclude(journey, Ending.REFUSED, refusal.reason)
            raise refusal
        raise WorkerFailed(WORKER_REASONS[reply.status], message, before_first_byte=not journey.released)

    def _failed(self, journey: _Journey, awarded: Awarded, failure: WorkerFailed) -> None:
        """Notes a failed attempt and lets the next one begin; raises when there can be none."""
        worker_id = awarded.award.worker_id
        if not failure.retry_same or worker_id in journey.renewed:
            journey.excluded.add(worker_id)
        journey.renewed.add(worker_id)
        if journey.attempts and journey.attempts[-1].award_sha256 == awarded.award.sha256:
            journey.attempts[-1] = replace(journey.attempts[-1], reason=failure.reason.value)
        if failure.reason is Reason.DEADLINE_EXCEEDED or not self._milliseconds_left(journey.call):
            self._conclude(journey, Ending.FAILED, Reason.DEADLINE_EXCEEDED)
            raise DeadlineTooShort(Reason.DEADLINE_EXCEEDED, "deadline is over, want an answer within it") from failure
        spent = len(journey.attempts) >= self._bounds.max_attempts
        if spent or journey.released or not failure.before_first_byte:
            self._conclude(journey, Ending.FAILED, failure.reason)
            raise failure

    # 5: answer

    async def _messages(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """The stream's messages, whole. A worker that sends anything else failed, and is not paid for it."""
        splitter = MessageSplitter(max_bytes=self._bounds.max_response_bytes)
        try:
            async for chunk in exchange.chunks():
                for message in splitter.feed(chunk):
                    yield message
            splitter.finish()
        except OIPError as error:
            exchange.cancel()
            raise WorkerFailed(Reason.WORKER_FAILED, f"worker's {error}") from None

    def _answered(self, journey: _Journey, awarded: Awarded, reply: Reply) -> Answer:
        journey.half = reply.half
        outcome = self._conclude(journey, Ending.ANSWERED, OK)
        return Answer(
            data=reply.data,
            request_id=outcome.request_id,
            worker_id=awarded.award.worker_id,
            attempts=len(outcome.attempts),
            price_nanos=awarded.award.price_nanos,
            charge_nanos=outcome.charge_nanos,
        )

    # 6 and 7: receipt, settlement

    def _conclude(self, journey: _Journey, ending: Ending, reason: str, *, by_caller: bool = False) -> Outcome:
        """Hands the outcome on. The journal is off this path; a request no worker was tried for leaves nothing."""
        outcome = self._outcome(journey, ending, tuple(journey.attempts), by_caller=by_caller)
        if outcome.attempts:
            journey.reservation.charge(outcome.charge_nanos)
            self._desk.record(outcome)
            self._telemetry.concluded(outcome, reason)
        return outcome

    def _abandon(self, journey: _Journey, exchange: Exchange | None) -> None:
        """The caller went away: the worker is told, and its half, when it comes, says what was done by then."""
        if exchange is None or not journey.attempts:
            return
        exchange.cancel()
        journey.reservation.hold()
        task = asyncio.get_running_loop().create_task(self._conclude_abandoned(journey, exchange))
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _conclude_abandoned(self, journey: _Journey, exchange: Exchange) -> None:
        try:
            journey.half = (await exchange.answer()).half
        except WorkerFailed as failure:
            journey.attempts[-1] = replace(journey.attempts[-1], reason=failure.reason.value)
        try:
            self._conclude(journey, Ending.FAILED, "CANCELLED", by_caller=True)
        finally:
            journey.reservation.release()

    def _outcome(
        self, journey: _Journey, ending: Ending, attempts: tuple[Attempt, ...], *, by_caller: bool = False
    ) -> Outcome:
        call = journey.call
        return Outcome(
            request_id=journey.request.request_id,
            tenant=call.tenant,
            model=call.model,
            method=call.method,
            attempts=attempts,
            half=journey.half,
            ending=ending,
            charge_nanos=self._charge(journey, ending, by_caller=by_caller),
            wu_cap=call.wu_cap,
            max_total_nanos=call.limits.max_total_nanos,
            started=call.started,
            ended=self._clock(),
            profile=self._profile,
        )

    def _charge(self, journey: _Journey, ending: Ending, *, by_caller: bool) -> int:
        """Only the answering worker is paid, or one whose caller went away while it worked."""
        if journey.half is None or not (ending is Ending.ANSWERED or by_caller):
            return 0
        half, attempt = WorkerHalf.decode(journey.half), journey.attempts[-1]
        if half.dispatch_sha256 != attempt.dispatch_sha256:
            return 0  # of an earlier attempt, whose failure was its own, whatever its half says
        return charge_for(
            half,
            attempt=attempt,
            wu_cap=journey.call.wu_cap,
            max_total_nanos=journey.call.limits.max_total_nanos,
            by_caller=by_caller,
        )

    def _milliseconds_left(self, call: Call) -> int:
        return max(0, int((call.deadline - self._monotonic()) * 1000))
