# SPDX-License-Identifier: Apache-2.0
"""The gateway's dispatch against the worker's own code, over real sockets, in both directions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from sealbid_oip.codec import decode_outputs, parse_response
from sealbid_oip.framing import MessageSplitter

from attestation.attested import AttestedWorker
from attestation.sealing.halves import WorkerHalf, WorkerStatus, worker_half_digest
from attestation.sealing.header import Method
from enclave.dialling import Dialler
from enclave.gateways import KnownGateway
from gateway.dispatch.exchange import Order
from gateway.receipts.arrival import verify_arrival
from tests.support.attested import attested_for_tests
from tests.support.dispatch import SECONDS, Gateway
from tests.support.link import add_one_request, prompt_request
from tests.support.worker import Workplace, a_worker

pytestmark = pytest.mark.net


@dataclass
class Linked:
    """A gateway and a real worker."""

    gateway: Gateway
    place: Workplace
    attested: AttestedWorker

    def order(self, plaintext: bytes, model: str, method: Method = Method.INFER) -> Order:
        """One attempt under the worker's own offer."""
        offer_id = self.place.placed[model].offer_id
        return self.gateway.order(self.attested, plaintext, model=model, method=method, offer_id=offer_id)


@pytest.fixture(params=["gateway dials", "worker dials"])
async def linked(request: pytest.FixtureRequest) -> AsyncIterator[Linked]:
    """Both, linked and greeted."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(a_worker())
        gateway = Gateway()
        known = KnownGateway(
            gateway_id=gateway.gateway_id,
            signing_key=gateway.public_key,
            certificate_der=gateway.tls.certificate_der,
            spki_sha256=gateway.tls.spki_sha256,
        )
        place.gateways.replace([known])
        stack.push_async_callback(gateway.close)
        dialled = request.param == "gateway dials"
        attested = attested_for_tests(
            place.attested.keyset,
            engines=place.attested.engines,
            binding=place.attested.binding,
            certificate_der=place.custody.tls.certificate_der,
            endpoint=f"127.0.0.1:{place.port}" if dialled else "",
            expires=place.attested.expires,
        )
        gateway.admit(attested)
        if not dialled:
            dialler = Dialler(
                worker=place.worker,
                gateways=place.gateways,
                limits=place.limits,
                clock=place.clock,
                address=f"127.0.0.1:{await gateway.listen()}",
                gateway_id=gateway.gateway_id,
            )
            task = asyncio.ensure_future(dialler.run())
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        await gateway.reach(attested)
        yield Linked(gateway, place, attested)


async def test_a_model_answers_through_the_link(linked: Linked) -> None:
    """A real engine's answer comes back, and the half names its engine and its work."""
    order = linked.order(add_one_request(rows=2), "add-one")
    reply = await linked.gateway.pool.begin(order, linked.gateway.now).answer()
    assert reply.status is WorkerStatus.OK
    spec = linked.gateway.pool.models.spec_of(linked.place.worker.models["add-one"].engine_sha256)
    assert spec is not None
    outputs = decode_outputs(parse_response(reply.data, max_bytes=1 << 20))
    assert np.array_equal(outputs["y"], np.arange(6, dtype=np.float32).reshape(2, 3) + 1)
    assert WorkerHalf.decode(reply.half).units == 2000


async def test_a_generation_streams_through_the_link(linked: Linked) -> None:
    """Output bytes of a stream are whole messages, one for each token."""
    order = linked.order(prompt_request(max_tokens=5), "tiny", Method.STREAM)
    exchange = linked.gateway.pool.begin(order, linked.gateway.now)
    splitter = MessageSplitter(max_bytes=1 << 20)
    messages = [message async for chunk in exchange.chunks() for message in splitter.feed(chunk)]
    splitter.finish()
    assert len(messages) == 5
    assert exchange.reply is not None
    assert exchange.reply.status is WorkerStatus.OK


async def test_halves_are_signed_returned_until_kept_and_then_forgotten(linked: Linked) -> None:
    """What the answers carried comes signed; confirmed, the worker forgets it."""
    replies = [
        await linked.gateway.pool.begin(linked.order(add_one_request(), "add-one"), linked.gateway.now).answer()
        for _ in range(3)
    ]
    wanted = {worker_half_digest(reply.half) for reply in replies}
    seen: set[bytes] = set()
    async with asyncio.timeout(SECONDS):
        while seen != wanted:
            verified = verify_arrival(await linked.gateway.arrivals.get())
            seen |= {half.half_sha256 for half in verified.halves}
    assert linked.place.worker.unconfirmed == 3
    linked.gateway.pool.halves_kept({linked.attested.worker_id: sorted(wanted)})
    await linked.gateway.pool.begin(linked.order(add_one_request(), "add-one"), linked.gateway.now).answer()
    assert linked.place.worker.unconfirmed == 1


async def test_a_wrong_request_is_refused_inside_the_seal(linked: Linked) -> None:
    """The worker's own check of the request reaches the flow as INVALID with the field named."""
    order = linked.order(b"not a request", "add-one")
    reply = await linked.gateway.pool.begin(order, linked.gateway.now).answer()
    assert reply.status is WorkerStatus.INVALID
    assert reply.error is not None
