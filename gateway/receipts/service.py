# SPDX-License-Identifier: Apache-2.0
"""ReceiptService: hands callers the receipts of their own requests, operators and auditors any (docs/spec.md, 9.5).

A receipt asked for right after its answer is waited for briefly: it is written in groups and the worker's signature
follows the answer. A receipt of another tenant and one that never was get the same refusal.
"""

import asyncio
from typing import Any, Final

import grpc
from sealbid_wire.receipt.v1 import receipt_pb2, receipt_pb2_grpc
from typing_extensions import override

from attestation.errors import Reason, SealbidError
from attestation.rpc.auth import Credential, Role
from attestation.rpc.status import abort
from gateway.auth import Authenticator
from gateway.errors import GatewayError, InvalidRequest
from gateway.receipts.journal import Journal
from gateway.receipts.reader import JournalReader, StoredReceipt

WAIT_SECONDS: Final = 2.0
"""How long an incomplete receipt is waited for, within the call's own deadline."""

_READERS: Final = (Role.OPERATOR, Role.AUDITOR)
_ID_BYTES: Final = 16

Context = grpc.aio.ServicerContext[Any, Any]


class ReceiptService(receipt_pb2_grpc.ReceiptServiceServicer):
    """Serves receipts out of the journal."""

    def __init__(self, *, authenticator: Authenticator, journal: Journal, reader: JournalReader) -> None:
        self._authenticator = authenticator
        self._journal = journal
        self._reader = reader

    @override
    async def GetReceipt(
        self, request: receipt_pb2.GetReceiptRequest, context: Context
    ) -> receipt_pb2.GetReceiptResponse:
        try:
            credential = self._authenticator.require(context, Role.CALLER, *_READERS)
            stored = await self._find(request.receipt_id, credential, context.time_remaining())
        except SealbidError as error:
            await abort(context, error)
        assert stored.file is not None
        return receipt_pb2.GetReceiptResponse(receipt=stored.file.encode(), transcript=stored.transcript)

    @override
    async def GetAccount(
        self, request: receipt_pb2.GetAccountRequest, context: Context
    ) -> receipt_pb2.GetAccountResponse:
        try:
            credential = self._authenticator.require(context, Role.CALLER, *_READERS)
        except SealbidError as error:
            await abort(context, error)
        total = await asyncio.to_thread(self._reader.total, credential.name)
        return receipt_pb2.GetAccountResponse(charged_nanos=total.charged_nanos, charges=total.charges)

    async def _find(self, receipt_id: bytes, credential: Credential, seconds_left: float | None) -> StoredReceipt:
        if len(receipt_id) != _ID_BYTES:
            raise InvalidRequest(
                Reason.PARAMETER_INVALID, "receipt_id", f"{len(receipt_id)} bytes", f"{_ID_BYTES} bytes"
            )
        loop = asyncio.get_running_loop()
        until = loop.time() + min(WAIT_SECONDS, WAIT_SECONDS if seconds_left is None else seconds_left / 2)
        while True:
            # Taken before the read, so that a commit right after it is not missed.
            commit = self._journal.next_commit()
            stored = await asyncio.to_thread(self._reader.receipt, receipt_id)
            if stored is not None and not _may_read(stored, credential):
                stored = None
                break
            if stored is not None and stored.file is not None:
                return stored
            done, _ = await asyncio.wait([commit], timeout=max(0.0, until - loop.time()))
            if not done:
                break
        if stored is None:
            raise InvalidRequest(Reason.NOT_FOUND, "receipt", "unknown", "a receipt of this caller")
        raise GatewayError(Reason.STORE_UNAVAILABLE, f"receipt waits for {stored.pending}, want it joined")


def _may_read(stored: StoredReceipt, credential: Credential) -> bool:
    return stored.tenant == credential.name or not credential.roles.isdisjoint(_READERS)
