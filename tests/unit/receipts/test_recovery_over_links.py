# SPDX-License-Identifier: Apache-2.0
"""A gateway dies between answer and journal; its successor gets half and memo from the real worker and finishes."""

import dataclasses
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from attestation.attested import AttestedWorker
from attestation.sealing.halves import WorkerHalf
from attestation.sealing.header import Method
from enclave.gateways import KnownGateway
from gateway.dispatch.exchange import Exchange, Order
from gateway.request import Attempt, Ending, Outcome
from tests.support.attested import attested_for_tests
from tests.support.dispatch import Gateway
from tests.support.journal import GatewayProcess, outcome
from tests.support.link import add_one_request
from tests.support.worker import Workplace, a_worker

pytestmark = pytest.mark.net


class Life:
    """One process of the gateway: dispatch and journal together."""

    def __init__(self, place: Workplace, path: Path, earlier: Gateway | None = None) -> None:
        self.place = place
        self.gateway = Gateway(earlier=earlier)
        self.process = GatewayProcess(path)
        self.attested = _endpoint(place)

    async def enter(self, stack: AsyncExitStack) -> None:
        """Starts, and links to the worker."""
        await stack.enter_async_context(self.process)
        stack.push_async_callback(self.gateway.close)
        known = KnownGateway(
            gateway_id=self.gateway.gateway_id,
            signing_key=self.gateway.public_key,
            certificate_der=self.gateway.tls.certificate_der,
            spki_sha256=self.gateway.tls.spki_sha256,
        )
        self.place.gateways.replace([known])
        self.process.journal.admit(self.attested)
        self.gateway.admit(self.attested)
        await self.gateway.reach(self.attested)

    def order(self) -> Order:
        """One attempt that carries a real memo."""
        offer_id = self.place.placed["add-one"].offer_id
        order = self.gateway.order(
            self.attested, add_one_request(), model="add-one", method=Method.INFER, offer_id=offer_id
        )
        return dataclasses.replace(order, memo=lambda attempt: self.process.desk.memo(self._so_far(order, attempt)))

    def _so_far(self, order: Order, attempt: Attempt) -> Outcome:
        return outcome([attempt], None, charge_nanos=0, ending=Ending.FAILED, request_id=order.request.request_id)

    async def next_batch(self) -> None:
        """Hands the next delivered batch to the journal."""
        self.process.journal.halves(await self.gateway.arrivals.get())


def _endpoint(place: Workplace) -> AttestedWorker:
    return attested_for_tests(
        place.attested.keyset,
        engines=place.attested.engines,
        binding=place.attested.binding,
        certificate_der=place.custody.tls.certificate_der,
        endpoint=f"127.0.0.1:{place.port}",
        expires=place.attested.expires,
        verdict_entry=b"verdict entry",
        verdict_proof=b"verdict proof",
    )


async def test_a_successor_finishes_the_receipt_from_the_worker(tmp_path: Path) -> None:
    """The answer left, nothing was journaled: one receipt and one charge appear after the restart, and no more."""
    async with a_worker() as place:
        first = Life(place, tmp_path / "journal.db")
        async with AsyncExitStack() as stack:
            await first.enter(stack)
            exchange: Exchange = first.gateway.pool.begin(first.order(), first.gateway.now)
            reply = await exchange.answer()
            await first.gateway.arrivals.get()  # it came, and the process dies before the journal has it
            assert place.worker.unconfirmed == 1
        second = Life(place, tmp_path / "journal.db", earlier=first.gateway)
        async with AsyncExitStack() as stack:
            await second.enter(stack)
            await second.next_batch()
            worker_id = second.attested.worker_id
            await second.process.until(lambda: worker_id in second.process.kept and second.process.sequence() == [1])
            units = WorkerHalf.decode(reply.half).units
            booked = second.process.booked()
            assert [(tenant, nanos) for _, tenant, nanos in booked] == [("tenant-a", 500 * units // 1000)]
            stored = second.process.reader.receipt(booked[0][0])
            assert stored is not None
            assert stored.file is not None
            assert stored.file.dispatches == (exchange.dispatch,)
            second.gateway.pool.halves_kept({worker_id: sorted(second.process.kept[worker_id])})
            await second.gateway.pool.begin(second.order(), second.gateway.now).answer()
            assert place.worker.unconfirmed == 1  # only the newest; the recovered one is forgotten
