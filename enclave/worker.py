# SPDX-License-Identifier: Apache-2.0
"""The worker: what every link shares, and the one place where a call is admitted (docs/spec.md, 11.3).

    1 refuse early    draining, no lease in force, too many calls, no room for another half
    2 open            `KeyCustody.open`: grant, dispatch, limits, replay, the offer named and a slot of it free, wrap,
                      first frame; marks only when all held
    3 take a slot     of that offer: the one found free
    4 run             `Call`, which ends with a half

What fails in 1 to 3 has executed nothing and says so, signed where senders may act on it (`errors_signed.SIGNABLE`).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from attestation.errors import Reason, SealingError
from attestation.sealing.errors_signed import SIGNABLE, SignedError
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.incoming import IncomingCall
from enclave.calls import Call, Desk, Ending, Line
from enclave.halves import Half, HalfBook
from enclave.keys import KeyCustody
from enclave.metrics import Metrics
from enclave.offerbook import Lot, OwnOffers
from enclave.served import ServedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Bounds on what gateways may take of a worker's memory."""

    max_calls: int
    """Calls under way, over all links."""
    max_request_bytes: int
    max_unconfirmed: int
    """Halves one gateway may leave unconfirmed."""


class Courier(Protocol):
    """A link as the worker sees it."""

    def deliver(self, halves: Sequence[Half], *, with_memo: bool) -> None:
        """Sends signed halves of one batch."""
        ...

    def announce_draining(self) -> None:
        """Says that no new calls are taken."""
        ...


class Worker:
    """Everything one worker process serves with. Used from one event loop."""

    def __init__(
        self,
        *,
        custody: KeyCustody,
        models: Mapping[str, ServedModel],
        offers: OwnOffers,
        limits: WorkerLimits,
        metrics: Metrics,
        clock: Callable[[], datetime],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.custody: Final = custody
        self.models: Final = models
        self.metrics: Final = metrics
        self.draining = False
        self._offers = offers
        self._limits = limits
        self._clock = clock
        self._loop = loop
        self._links: dict[bytes, list[Courier]] = {}
        self._running = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._confirmation = asyncio.Event()
        self._book = HalfBook(
            sign=self._sign, deliver=self._deliver, later=loop.call_later, capacity=limits.max_unconfirmed
        )
        metrics.gauge("running", "Calls under way.", lambda: self._running)
        metrics.gauge("unconfirmed_halves", "Halves no gateway has confirmed.", lambda: self._book.unconfirmed)
        metrics.gauge("links", "Links open now.", lambda: sum(map(len, self._links.values())))
        metrics.gauge("lease_in_force", "1 while the worker may serve.", lambda: custody.current(clock()) is not None)

    def begin(self, call: IncomingCall, *, transport: GrantedTransport, memo: bytes, line: Line, link: Courier) -> Call:
        """Admits one call and starts it, or refuses it with nothing executed.

        Raises:
            SealingError: the refusal by its reason.
        """
        now, gateway_id = self._clock(), transport.gateway_id
        self._refuse_early(now)
        self._book.reserve(gateway_id)
        try:
            opened, tenure = self.custody.open(
                call,
                transport=transport,
                offers=self._offers,
                now=now,
                max_bytes=self._limits.max_request_bytes,
            )
            lot = self._offers.take(opened)
        except BaseException:
            self._book.release(gateway_id)
            raise
        self._running += 1
        self._quiet.clear()
        desk = Desk(
            clock=self._clock,
            write_half=lambda make: self._book.add(gateway_id, make, memo=memo, origin=link),
            ended=lambda ending: self._ended(ending, lot, gateway_id),
        )
        model = self.models[lot.model]
        return Call(opened=opened, tenure=tenure, model=model, line=line, desk=desk, loop=self._loop)

    def refusal(self, reason: Reason, *, session_id: bytes, header_sha256: bytes) -> bytes:
        """The refusal signed, where it is one that senders act upon; else no bytes."""
        self.metrics.refused.add(reason.value)
        tenure = self.custody.current(self._clock())
        if reason not in SIGNABLE or tenure is None or len(session_id) != 32:
            return b""
        error = SignedError(
            reason=reason,
            session_id=session_id,
            header_sha256=header_sha256,
            keyset_id=tenure.keyset.keyset_id,
        )
        return self.custody.sign_refusal(error)

    def attach(self, gateway_id: bytes, link: Courier) -> Iterator[list[Half]]:
        """Counts a greeted link in; gives the halves to deliver again on it."""
        self._links.setdefault(gateway_id, []).append(link)
        return self._book.unconfirmed_of(gateway_id)

    def detach(self, gateway_id: bytes, link: Courier) -> None:
        """Counts a link out; its unconfirmed halves go to a younger one, or wait for the next.

        A gateway that died unnoticed greets anew before its old link is known to be gone: what was delivered on that
        one meanwhile reached nobody.
        """
        links = self._links.get(gateway_id, [])
        if link in links:
            links.remove(link)
        if not links:
            self._links.pop(gateway_id, None)
            return
        for halves in self._book.unconfirmed_of(gateway_id, origin=link):
            links[-1].deliver(halves, with_memo=True)

    def confirm(self, gateway_id: bytes, digests: Sequence[bytes]) -> None:
        """Forgets halves the gateway has on disk."""
        self._book.confirm(gateway_id, digests)
        self._confirmation.set()

    @property
    def unconfirmed(self) -> int:
        """Halves no gateway has confirmed."""
        return self._book.unconfirmed

    def drain(self) -> None:
        """Takes no new calls; those under way go on."""
        self.draining = True
        for links in self._links.values():
            for link in links:
                link.announce_draining()

    async def drained(self) -> None:
        """Returns when no call is under way and every half is signed and sent."""
        await self._quiet.wait()
        self._book.flush()

    async def confirmed(self) -> None:
        """Returns when gateways have confirmed every half."""
        while self._book.unconfirmed:
            self._confirmation.clear()
            await self._confirmation.wait()

    def _refuse_early(self, now: datetime) -> None:
        if self.draining:
            raise SealingError(Reason.DRAINING, "worker is draining, want another worker")
        if self.custody.current(now) is None:
            raise SealingError(Reason.LEASE_EXPIRED, "worker holds no lease in force, want another worker")
        if self._running >= self._limits.max_calls:
            message = f"calls under way are {self._running}, want under {self._limits.max_calls}"
            raise SealingError(Reason.WORKER_OVERLOADED, message)

    def _ended(self, ending: Ending, lot: Lot, gateway_id: bytes) -> None:
        self._running -= 1
        self._offers.release(lot)
        if ending.status is None:
            self._book.release(gateway_id)
        self.metrics.calls.add(lot.model, "UNFINISHED" if ending.status is None else ending.status.name)
        self.metrics.units.add(lot.model, amount=ending.units)
        self.metrics.seconds.add(lot.model, amount=ending.seconds)
        if not self._running:
            self._quiet.set()

    def _sign(self, leaves: Sequence[bytes]) -> bytes:
        self.metrics.batches.add()
        return self.custody.sign_halves(leaves)

    def _deliver(self, gateway_id: bytes, halves: Sequence[Half]) -> None:
        """By the link the calls came by; by a younger one of the same gateway, which may have restarted, with memos."""
        links = self._links.get(gateway_id, [])
        origin = next((link for link in links if link is halves[0].origin), None)
        if origin is not None:
            origin.deliver(halves, with_memo=False)
        elif links:
            links[-1].deliver(halves, with_memo=True)
