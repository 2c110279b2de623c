# SPDX-License-Identifier: Apache-2.0
"""RegistryService over gRPC: who may call what, conversions, and the watch stream. Decides nothing itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from sealbid_wire.registry.v1 import registry_pb2, registry_pb2_grpc
from typing_extensions import override

from attestation.errors import Malformed
from attestation.registry.registry import Registry
from attestation.registry.values import Admitted
from attestation.rpc.auth import Credential, Role
from attestation.server.answering import Answering, CallContext
from attestation.server.telemetry import Telemetry
from attestation.wire.convert import (
    activation_message,
    admission_message,
    gateway_message,
    read_attestation_key,
    read_registration,
    verdict_message,
)

_WATCHERS: Final = (Role.GATEWAY, Role.OPERATOR, Role.AUDITOR)
_READERS: Final = (Role.PROVIDER, Role.GATEWAY, Role.OPERATOR, Role.AUDITOR)
T = TypeVar("T")


class Changes:
    """Wakes every watch stream of this process when something changed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.closed = False

    @property
    def next(self) -> asyncio.Event:
        """Set at the next change; take it before reading, so that no change falls in between."""
        return self._event

    def notify(self) -> None:
        """Something changed."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def close(self) -> None:
        """Nothing more is to come: every stream ends."""
        self.closed = True
        self.notify()


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """The service of one registry."""

    def __init__(
        self,
        *,
        registry: Registry,
        answering: Answering,
        telemetry: Telemetry,
        changes: Changes,
        heartbeat_seconds: float,
    ) -> None:
        self._registry = registry
        self._answering = answering
        self._telemetry = telemetry
        self._changes = changes
        self._heartbeat_seconds = heartbeat_seconds

    @override
    async def IssueChallenge(
        self, request: registry_pb2.IssueChallengeRequest, context: CallContext
    ) -> registry_pb2.IssueChallengeResponse:
        caller = await self._answering.allow(context, "IssueChallenge", (Role.PROVIDER,))
        return await self._work(context, "IssueChallenge", lambda: self._issue(request, caller))

    @override
    async def Register(
        self, request: registry_pb2.RegisterRequest, context: CallContext
    ) -> registry_pb2.RegisterResponse:
        caller = await self._answering.allow(context, "Register", (Role.PROVIDER,))
        verdict = await self._answering.judge(
            context, "Register", lambda: self._registry.register(caller.name, read_registration(request))
        )
        self._telemetry.judged(caller.name, verdict)
        self._changes.notify()
        return verdict_message(verdict)

    @override
    async def Revoke(self, request: registry_pb2.RevokeRequest, context: CallContext) -> registry_pb2.RevokeResponse:
        caller = await self._answering.allow(context, "Revoke", (Role.OPERATOR,))
        index = await self._work(context, "Revoke", lambda: self._revoke(request, caller))
        self._telemetry.revoked(request.keyset_id, by=caller.name, index=index)
        self._changes.notify()
        return registry_pb2.RevokeResponse(entry_index=index)

    @override
    async def EnrolGateway(
        self, request: registry_pb2.EnrolGatewayRequest, context: CallContext
    ) -> registry_pb2.EnrolGatewayResponse:
        caller = await self._answering.allow(context, "EnrolGateway", (Role.GATEWAY, Role.OPERATOR))
        gateway = await self._work(
            context,
            "EnrolGateway",
            lambda: self._registry.enrol_gateway(
                signing_key=request.signing_key,
                certificate_der=request.certificate_der,
                enrolment=request.enrolment,
                by=caller.name,
            ),
        )
        self._changes.notify()
        return registry_pb2.EnrolGatewayResponse(gateway=gateway_message(gateway))

    @override
    async def ListGateways(
        self, request: registry_pb2.ListGatewaysRequest, context: CallContext
    ) -> registry_pb2.ListGatewaysResponse:
        await self._answering.allow(context, "ListGateways", _READERS)
        gateways = await self._work(context, "ListGateways", self._registry.gateways)
        return registry_pb2.ListGatewaysResponse(gateways=[gateway_message(gateway) for gateway in gateways])

    @override
    async def Watch(
        self, request: registry_pb2.WatchRequest, context: CallContext
    ) -> AsyncIterator[registry_pb2.WatchResponse]:
        caller = await self._answering.allow(context, "Watch", _WATCHERS)
        if not caller.roles & {Role.GATEWAY}:
            # Admissions hold raw evidence, and with it hardware identities: whoever reads them is named in the log.
            await self._work(
                context,
                "Watch",
                lambda: self._registry.record_access(by=caller.name, action="watch", target="admissions"),
            )
        self._telemetry.watching(1)
        try:
            async for event in self._events(context):
                yield event
        finally:
            self._telemetry.watching(-1)

    async def _events(self, context: CallContext) -> AsyncIterator[registry_pb2.WatchResponse]:
        version = 0
        while not self._changes.closed:
            changed = self._changes.next
            version, admitted, heartbeat = await self._work(context, "Watch", self._news(version))
            # Read in the other order, sent in this one: the heartbeat dates the checkpoints of the proofs after it.
            yield registry_pb2.WatchResponse(heartbeat=heartbeat)
            for worker in admitted:
                yield registry_pb2.WatchResponse(admission=admission_message(worker))
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    await changed.wait()
            except TimeoutError:
                continue

    def _news(self, after: int) -> Callable[[], tuple[int, tuple[Admitted, ...], bytes]]:
        def read() -> tuple[int, tuple[Admitted, ...], bytes]:
            version, admitted = self._registry.changes(after)
            return version, tuple(admitted), self._registry.heartbeat()

        return read

    def _issue(
        self, request: registry_pb2.IssueChallengeRequest, caller: Credential
    ) -> registry_pb2.IssueChallengeResponse:
        key = read_attestation_key(request)
        if key is None:
            return registry_pb2.IssueChallengeResponse(challenge=self._registry.issue_challenge(caller.name))
        return activation_message(self._registry.issue_activation(caller.name, key))

    def _revoke(self, request: registry_pb2.RevokeRequest, caller: Credential) -> int:
        if len(request.keyset_id) != 32 or not 0 < len(request.reason) <= 256:
            raise Malformed("revocation is without a keyset_id of 32 bytes and a reason of 1..256 characters")
        return self._registry.revoke(request.keyset_id, reason=request.reason, by=caller.name)

    async def _work(self, context: CallContext, method: str, work: Callable[[], T]) -> T:
        return await self._answering.work(context, method, work)
