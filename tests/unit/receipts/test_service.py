# SPDX-License-Identifier: Apache-2.0
"""ReceiptService over a real socket: callers get their own receipts and nobody else's; an early question is held."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from sealbid_wire.receipt.v1 import receipt_pb2, receipt_pb2_grpc

from attestation.errors import Reason
from attestation.receipt_file import ReceiptFile
from attestation.rpc.auth import APIKeys, bearer
from attestation.rpc.status import from_rpc_error
from gateway.auth import Authenticator, new_key
from gateway.receipts import service as module
from gateway.receipts.service import ReceiptService
from gateway.request import Outcome
from tests.support.journal import GatewayProcess, SigningWorker, outcome

pytestmark = pytest.mark.net

WORKER = SigningWorker("one")


class Served:
    """The service with three credentials."""

    def __init__(self, process: GatewayProcess) -> None:
        self.process = process
        pairs = [new_key(*who, entropy=os.urandom) for who in (("tenant-a", ["caller"]), ("tenant-b", ["caller"]))]
        pairs.append(new_key("operator", ["operator"], entropy=os.urandom))
        self.a, self.b, self.operator = (secret for secret, _ in pairs)
        keys = APIKeys.from_toml("\n".join(table for _, table in pairs).encode())
        self.service = ReceiptService(
            authenticator=Authenticator(keys=keys, tenants={}), journal=process.journal, reader=process.reader
        )
        self.stub: receipt_pb2_grpc.ReceiptServiceAsyncStub | None = None

    async def receipt(self, request_id: bytes, key: str) -> receipt_pb2.GetReceiptResponse:
        """Asks for a receipt."""
        assert self.stub is not None
        request = receipt_pb2.GetReceiptRequest(receipt_id=request_id)
        return await self.stub.GetReceipt(request, metadata=bearer(key))

    async def refusal(self, request_id: bytes, key: str) -> Reason:
        """The reason for which a receipt is not given."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.receipt(request_id, key)
        return from_rpc_error(caught.value).reason


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """The service on loopback."""
    async with GatewayProcess(tmp_path / "journal.db") as process:
        served = Served(process)
        server = grpc.aio.server()
        receipt_pb2_grpc.add_ReceiptServiceServicer_to_server(served.service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            served.stub = receipt_pb2_grpc.ReceiptServiceStub(channel)
            yield served
        await server.stop(None)


def answered() -> tuple[Outcome, bytes]:
    """A request of tenant-a with its half."""
    attempt = WORKER.attempt()
    half = WORKER.half(attempt)
    return outcome([attempt], half), half


async def test_an_early_question_is_answered_when_the_receipt_is_whole(served: Served) -> None:
    """Asked before anything is on disk, the service answers once outcome and signature have joined."""
    done, half = answered()
    asking = asyncio.ensure_future(served.receipt(done.request_id, served.a))
    await asyncio.sleep(0)
    served.process.journal.admit(WORKER.attested)
    served.process.desk.record(done)
    await served.process.settled()
    served.process.journal.halves(WORKER.arrival([half]))
    response = await asking
    file = ReceiptFile.decode(response.receipt)
    assert file.award == done.attempts[0].award
    assert file.simulated
    assert response.transcript == b"transcript"


async def test_a_receipt_is_for_its_tenant_operators_and_auditors(served: Served) -> None:
    """Another tenant gets the refusal of a receipt that never was; an operator gets the receipt."""
    done, half = answered()
    served.process.journal.admit(WORKER.attested)
    served.process.desk.record(done)
    served.process.journal.halves(WORKER.arrival([half]))
    await served.process.settled()
    assert await served.refusal(done.request_id, served.b) is Reason.NOT_FOUND
    assert (await served.receipt(done.request_id, served.operator)).receipt
    assert await served.refusal(done.request_id, "sbk_unknown") is Reason.UNAUTHENTICATED
    assert await served.refusal(b"short", served.a) is Reason.PARAMETER_INVALID


async def test_what_does_not_come_is_said_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown receipt is not found; one whose signature never came is unavailable, not half given."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    done, _ = answered()
    assert await served.refusal(done.request_id, served.a) is Reason.NOT_FOUND
    served.process.desk.record(done)
    await served.process.settled()
    assert await served.refusal(done.request_id, served.a) is Reason.STORE_UNAVAILABLE


async def test_an_account_is_the_sum_of_its_charges(served: Served) -> None:
    """Each tenant sees its own total."""
    for _ in range(3):
        served.process.desk.record(answered()[0])
    await served.process.settled()
    assert served.stub is not None
    mine = await served.stub.GetAccount(receipt_pb2.GetAccountRequest(), metadata=bearer(served.a))
    assert (mine.charged_nanos, mine.charges) == (3000, 3)
    other = await served.stub.GetAccount(receipt_pb2.GetAccountRequest(), metadata=bearer(served.b))
    assert (other.charged_nanos, other.charges) == (0, 0)
