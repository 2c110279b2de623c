# SPDX-License-Identifier: Apache-2.0
"""LogService over gRPC: the public evidence log, read by anyone. Nothing here can change it."""

from sealbid_wire.log.v1 import log_pb2, log_pb2_grpc
from typing_extensions import override

from attestation.server.answering import Answering, CallContext
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.policy import WitnessPolicy
from attestation.tlog.served import PAGE


class LogService(log_pb2_grpc.LogServiceServicer):
    """Reads of one log. Entries beyond the newest checkpoint are not yet in the log, and are not shown."""

    def __init__(self, *, log: EvidenceLog, answering: Answering, witnesses: WitnessPolicy) -> None:
        self._log = log
        self._answering = answering
        self._witnesses = witnesses

    @override
    async def GetCheckpoint(
        self, request: log_pb2.GetCheckpointRequest, context: CallContext
    ) -> log_pb2.GetCheckpointResponse:
        note = await self._answering.work(context, "GetCheckpoint", self._log.checkpoint)
        return log_pb2.GetCheckpointResponse(checkpoint=note, witnesses=self._witnesses.display)

    @override
    async def ListEntries(
        self, request: log_pb2.ListEntriesRequest, context: CallContext
    ) -> log_pb2.ListEntriesResponse:
        return await self._answering.work(context, "ListEntries", lambda: self._list(request))

    @override
    async def GetProof(self, request: log_pb2.GetProofRequest, context: CallContext) -> log_pb2.GetProofResponse:
        proof = await self._answering.work(context, "GetProof", lambda: self._log.proof(request.index))
        return log_pb2.GetProofResponse(proof=proof)

    def _list(self, request: log_pb2.ListEntriesRequest) -> log_pb2.ListEntriesResponse:
        size = self._log.size()
        found = self._log.entries(min(request.start, size), request.page_size or PAGE)
        return log_pb2.ListEntriesResponse(entries=[entry.data for entry in found], size=size)
