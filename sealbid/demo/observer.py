# SPDX-License-Identifier: Apache-2.0
"""What the demo learns from outside, as any operator or caller could: log entries, offers, receipts, accounts."""

import json
from dataclasses import dataclass

import grpc
from sealbid_wire.log.v1 import log_pb2, log_pb2_grpc
from sealbid_wire.receipt.v1 import receipt_pb2, receipt_pb2_grpc

from attestation.rpc.auth import bearer
from sealbid.demo.deployment import Deployment
from sealbid.demo.readiness import offers

_TIMEOUT_SECONDS = 10
TENANT = "acme"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEntry:
    """One verdict of the evidence log."""

    provider: str
    keyset_id: str
    passed: bool
    reasons: tuple[str, ...]


async def verdicts(deployment: Deployment) -> list[VerdictEntry]:
    """Every verdict in the log, in order."""
    found, start = [], 0
    async with grpc.aio.insecure_channel(deployment.registry) as channel:
        stub = log_pb2_grpc.LogServiceStub(channel)
        while True:
            page = await stub.ListEntries(log_pb2.ListEntriesRequest(start=start), timeout=_TIMEOUT_SECONDS)
            found += [_verdict(entry) for raw in page.entries if (entry := json.loads(raw))["kind"] == "attest.verdict"]
            start += len(page.entries)
            if start >= page.size or not page.entries:
                return found


def _verdict(entry: dict[str, object]) -> VerdictEntry:
    reasons = entry["reasons"]
    assert isinstance(reasons, list)
    return VerdictEntry(
        provider=str(entry["provider"]),
        keyset_id=str(entry.get("keyset_id", "")),
        passed=entry["verdict"] == "pass",
        reasons=tuple(map(str, reasons)),
    )


async def offer_owners(deployment: Deployment) -> dict[str, str]:
    """Provider by offer id (hex), of the offers that stand now."""
    by_keyset = {verdict.keyset_id: verdict.provider for verdict in await verdicts(deployment)}
    return {offer.offer_id.hex(): by_keyset.get(offer.keyset_id.hex(), "unknown") for offer in await offers(deployment)}


async def receipt(deployment: Deployment, receipt_id: str) -> receipt_pb2.GetReceiptResponse:
    """A receipt of the demo's tenant, with its auction's transcript."""
    async with grpc.aio.insecure_channel(deployment.gateway) as channel:
        stub = receipt_pb2_grpc.ReceiptServiceStub(channel)
        request = receipt_pb2.GetReceiptRequest(receipt_id=bytes.fromhex(receipt_id))
        return await stub.GetReceipt(request, metadata=bearer(deployment.key(TENANT)), timeout=_TIMEOUT_SECONDS)


async def account(deployment: Deployment) -> receipt_pb2.GetAccountResponse:
    """What the demo's tenant was charged."""
    async with grpc.aio.insecure_channel(deployment.gateway) as channel:
        stub = receipt_pb2_grpc.ReceiptServiceStub(channel)
        request = receipt_pb2.GetAccountRequest()
        return await stub.GetAccount(request, metadata=bearer(deployment.key(TENANT)), timeout=_TIMEOUT_SECONDS)
