# SPDX-License-Identifier: Apache-2.0
"""Attested workers, their links and sessions: where one attempt of a request begins (docs/spec.md, 11).

    admitted (evidence verified here) + linked (pinned both ways, greeted) = reachable

A keyset that leaves the table is unreachable from that moment; one that was revoked also loses its session and the
calls under way on it. `begin` is synchronous: it wraps, dispatches and queues, with symmetric keys only, and asks the
guard through the session. Every failure is a `WorkerFailed`, so that the flow may try another worker.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from attestation.attested import AttestedWorker
from attestation.errors import NotGenuine, Reason, SealbidError
from attestation.sealing.dispatch import SignedDispatch
from attestation.sealing.errors_signed import open_error
from attestation.sealing.session import WrappedCall
from gateway.dispatch.catalog import ServedModel, ServedModels
from gateway.dispatch.exchange import Exchange, Order
from gateway.dispatch.interface import DispatchEvent, DispatchMetrics, Faults, HalfSink, LinkSink
from gateway.dispatch.link import Link
from gateway.dispatch.sessions import ControlSession, Sessions
from gateway.errors import WorkerFailed
from gateway.receipts.arrival import HalfArrival
from gateway.request import Attempt

_LOG = logging.getLogger("sealbid.gateway.dispatch")
_RENEWABLE: Final = frozenset({Reason.UNKNOWN_SESSION, Reason.SESSION_CLOSED})


class WorkerPool:
    """One per gateway process, used from its event loop."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], datetime],
        halves: HalfSink,
        linked: LinkSink,
        faults: Faults,
        metrics: DispatchMetrics,
        max_response_bytes: int,
    ) -> None:
        """`halves` takes what workers sign, `linked` hears of it first; `faults` hears of answers that do not hold."""
        self.models: Final = ServedModels()
        self._sessions = sessions
        self._loop = loop
        self._clock = clock
        self._halves = halves
        self._linked = linked
        self._faults = faults
        self._metrics = metrics
        self._max_response_bytes = max_response_bytes
        self._workers: dict[bytes, AttestedWorker] = {}
        self._links: dict[bytes, Link] = {}
        self._retired: set[bytes] = set()

    # Who is there

    def admit(self, worker: AttestedWorker) -> None:
        """Takes an attested worker in, or its renewal; prepares the session where the worker is linked."""
        self._workers[worker.keyset_id] = worker
        link = self._links.get(worker.worker_id)
        if link is not None and link.ready:
            self._prepare(worker)
            self.models.attest(worker.worker_id, self._engines(worker.worker_id))
        self._count()

    def leave(self, keyset_id: bytes, reason: Reason) -> None:
        """Takes a keyset out. A revoked one loses the calls under way; the last keyset of a worker ends its link."""
        worker = self._workers.pop(keyset_id, None)
        self._retired.discard(keyset_id)
        self._sessions.drop(keyset_id)
        if worker is None:
            return
        link = self._links.get(worker.worker_id)
        if link is not None and reason is Reason.REVOKED:
            for exchange in link.exchanges():
                if exchange.attempt.keyset_id == keyset_id:
                    link.cancel(exchange.call_id)
                    exchange.fail(WorkerFailed(reason, "keyset was revoked while the call was under way"))
        if link is not None and not self._keysets(worker.worker_id):
            self.detach(link)
            link.close()
        self._count()

    def admitted(self, worker_id: bytes) -> AttestedWorker | None:
        """The newest admission of this worker, whose certificate and receipt key all its keysets share."""
        return max(self._keysets(worker_id), key=lambda worker: worker.expires, default=None)

    def by_certificate(self, spki_sha256: bytes) -> AttestedWorker | None:
        """The admitted worker whose keyset names this TLS key."""
        named = (worker for worker in self._workers.values() if worker.keyset.tls_spki_sha256 == spki_sha256)
        return max(named, key=lambda worker: worker.expires, default=None)

    def certificates(self) -> list[bytes]:
        """The certificates admitted workers may show, DER. Safe to call from any thread."""
        return list({worker.certificate_der for worker in tuple(self._workers.values())})

    def reachable(self, keyset_id: bytes) -> bool:
        """Whether an attempt on this keyset can begin now."""
        worker = self._workers.get(keyset_id)
        if worker is None or keyset_id in self._retired:
            return False
        link = self._links.get(worker.worker_id)
        return link is not None and link.ready

    def linked(self, worker_id: bytes) -> bool:
        """Whether this worker has a link that works, whoever opened it."""
        return worker_id in self._links

    def detach(self, link: Link) -> None:
        """Lets go of a link that ended."""
        if self._links.get(link.worker_id) is link:
            del self._links[link.worker_id]
            self.models.remove(link.worker_id)
            self._metrics.dispatch(DispatchEvent.LINK_DOWN)
            _LOG.info("worker unlinked", extra={"worker_id": link.worker_id.hex()})
            self._count()

    def halves_kept(self, kept: Mapping[bytes, Sequence[bytes]]) -> None:
        """Tells workers which of their halves are durable; one that is not linked sends them again later."""
        for worker_id, digests in kept.items():
            link = self._links.get(worker_id)
            if link is not None:
                link.keep(digests)

    def close(self) -> None:
        """Ends every link and session."""
        for link in list(self._links.values()):
            link.close()
        for keyset_id in list(self._workers):
            self._sessions.drop(keyset_id)

    # One attempt

    def begin(self, order: Order, now: datetime) -> Exchange:
        """Seals the request to the order's keyset and sends it.

        Raises:
            WorkerFailed: not reachable, refused by the guard, too late, or overloaded; nothing was sent.
        """
        worker = self._workers.get(order.keyset_id)
        link = self._links.get(worker.worker_id) if worker is not None else None
        if worker is None or link is None or not self.reachable(order.keyset_id):
            raise WorkerFailed(Reason.WORKER_FAILED, "worker is not linked, want one that is")
        link.check_room()
        milliseconds = int((order.deadline - self._loop.time()) * 1000)
        if milliseconds <= 0:
            raise WorkerFailed(Reason.DEADLINE_EXCEEDED, "deadline is past, want time for an attempt")
        try:
            session, wrapped = self._sessions.wrap(
                worker, order.request, now=now, max_response_bytes=self._max_response_bytes
            )
        except SealbidError as error:
            raise WorkerFailed(error.reason, error.message) from None
        signed = session.dispatch(order, wrapped, gateway_id=self._sessions.gateway_id, deadline_ms=milliseconds)
        return self._send(order, worker, link, session, wrapped, signed)

    def _send(
        self,
        order: Order,
        worker: AttestedWorker,
        link: Link,
        session: ControlSession,
        wrapped: WrappedCall,
        signed: SignedDispatch,
    ) -> Exchange:
        attempt = _attempt(order, worker, signed)
        memo = order.memo(attempt)
        exchange = Exchange(
            attempt=attempt,
            method=order.request.header.limits.method,
            opener=wrapped.opener,
            engines=worker.engines,
            session_id=session.session_id,
            header_sha256=order.request.header_sha256,
            wire=link,
            observer=_Observer(self, worker, link),
            loop=self._loop,
            deadline=order.deadline,
        )
        link.start(
            exchange,
            header=order.request.header_bytes,
            frames=order.request.frames,
            session=session,
            counter=wrapped.ref.counter,
            wrap=wrapped.wrap,
            tag=signed.tag,
            memo=memo,
        )
        # Hashing what was sent waits until it is on its way, and is done before the half that must repeat it is back.
        self._loop.call_soon(order.request.sealer.transcript)
        return exchange

    # What links and exchanges report

    def greeted(self, link: Link, models: Sequence[ServedModel]) -> None:
        """See `LinkOwner`: the sessions of a worker are made before its first request.

        Raises:
            NotGenuine: the worker left the table while it said hello.
        """
        keysets = self._keysets(link.worker_id)
        if not keysets:
            raise NotGenuine(Reason.UNAUTHENTICATED, "hello is of a worker that is not admitted, want one that is")
        self._attach(link)
        self.models.replace(link.worker_id, models, engines=self._engines(link.worker_id))
        for worker in keysets:
            self._prepare(worker)
        self._count()

    def drained(self, _link: Link) -> None:
        """See `LinkOwner`."""
        self._count()

    def halves(self, _link: Link, arrival: HalfArrival) -> None:
        """See `LinkOwner`."""
        self._halves(arrival)

    def held(self, keyset_id: bytes, session_id: bytes) -> ControlSession | None:
        """The keyset's session, if it is still this one."""
        return self._sessions.held(keyset_id, session_id)

    def count(self, event: DispatchEvent) -> None:
        """Counts what an exchange met."""
        self._metrics.dispatch(event)

    def disbelieve(self, worker_id: bytes, reason: Reason) -> None:
        """An attested worker sent what does not hold."""
        self._metrics.dispatch(DispatchEvent.ANSWER_REFUSED)
        _LOG.warning("answer refused", extra={"worker_id": worker_id.hex(), "reason": reason.value})
        self._faults(worker_id, reason)

    def refused(self, keyset_id: bytes, session_id: bytes, reason: Reason) -> bool:
        """Acts on a signed refusal; True when the same worker would serve on a session made anew (ruling 9)."""
        self._metrics.dispatch(DispatchEvent.CALL_REFUSED)
        session = self._sessions.held(keyset_id, session_id)
        if reason is Reason.KEY_RETIRED:
            self._retired.add(keyset_id)
            self._sessions.drop(keyset_id)
        elif reason in _RENEWABLE:
            # Until its first answer every call carried the session's establishment: not knowing it is no accident.
            renewable = session is None or session.used
            if session is not None:
                self._sessions.drop(keyset_id)
            return renewable
        return False

    def _attach(self, link: Link) -> None:
        """Takes a link that works; an older one of the same worker ends, for the worker greeted us anew."""
        older = self._links.get(link.worker_id)
        if older is link:
            return
        self._links[link.worker_id] = link
        self._linked(link.worker_id)
        if older is not None:
            older.close()
        self._metrics.dispatch(DispatchEvent.LINK_UP)
        _LOG.info("worker linked", extra={"worker_id": link.worker_id.hex()})

    def _prepare(self, worker: AttestedWorker) -> None:
        try:
            self._sessions.ensure(worker, now=self._clock())
        except SealbidError as error:
            extra = {"worker_id": worker.worker_id.hex(), "reason": error.reason.value}
            _LOG.warning("session not made", extra=extra)

    def _keysets(self, worker_id: bytes) -> list[AttestedWorker]:
        return [worker for worker in self._workers.values() if worker.worker_id == worker_id]

    def _engines(self, worker_id: bytes) -> Collection[bytes]:
        return {engine for worker in self._keysets(worker_id) for engine in worker.engines}

    def _count(self) -> None:
        self._metrics.workers(sum(link.ready for link in self._links.values()))


class _Observer:
    """What one exchange tells the pool."""

    __slots__ = ("_link", "_pool", "_worker")

    def __init__(self, pool: WorkerPool, worker: AttestedWorker, link: Link) -> None:
        self._pool = pool
        self._worker = worker
        self._link = link

    def answered(self, exchange: Exchange) -> None:
        session = self._pool.held(self._worker.keyset_id, exchange.session_id)
        if session is not None:
            session.answered_on(self._link.serial)

    def disbelieved(self, _exchange: Exchange, reason: Reason) -> None:
        self._pool.disbelieve(self._worker.worker_id, reason)

    def late(self, _exchange: Exchange) -> None:
        self._pool.count(DispatchEvent.CALL_LATE)

    def refused(self, exchange: Exchange, signed_error: bytes, reason: str) -> WorkerFailed:
        """Only a signature makes a refusal more than a transport failure."""
        try:
            error = open_error(
                signed_error,
                receipt_key=self._worker.keyset.receipt_key,
                session_id=exchange.session_id,
                header_sha256=exchange.header_sha256,
            )
        except SealbidError:
            self._pool.count(DispatchEvent.CALL_LOST)
            known = reason if reason in Reason.__members__ else Reason.WORKER_FAILED.value
            return WorkerFailed(Reason.WORKER_FAILED, f"call failed with the unsigned reason {known}")
        again = self._pool.refused(self._worker.keyset_id, exchange.session_id, error.reason)
        return WorkerFailed(error.reason, "worker refused the call and signed why", retry_same=again)


def _attempt(order: Order, worker: AttestedWorker, signed: SignedDispatch) -> Attempt:
    return Attempt(
        number=order.attempt,
        worker_id=worker.worker_id,
        keyset_id=worker.keyset_id,
        binding_digest=worker.binding_digest,
        offer_id=order.offer_id,
        price_nanos=order.price_nanos,
        award=order.award,
        award_sha256=order.award_sha256,
        dispatch=signed.dispatch,
        dispatch_sha256=signed.digest,
        transcript=order.transcript,
    )
