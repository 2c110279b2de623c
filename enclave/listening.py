# SPDX-License-Identifier: Apache-2.0
"""WorkerService: the link when the gateway dials. Mutual TLS, pinned both ways (docs/spec.md, 11.1).

Only known gateways complete the handshake; the certificate shown then says which one it is. A gateway that breaks the
protocol is told the reason code and nothing else.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any, Final

import grpc
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import NotGenuine, SealbidError, SettingsError
from attestation.rpc.pinning import peer_spki, server_credentials, server_options
from enclave.gateways import Gateways
from enclave.link import MAX_MESSAGE_BYTES, Link, LinkLimits, pump
from enclave.worker import Worker

_LOG = logging.getLogger("enclave.listening")
SERVICE: Final = "sealbid.worker.v1.WorkerService"
METHOD: Final = "Link"
STOP_SECONDS: Final = 1.0
MESSAGE_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

Context = grpc.aio.ServicerContext[pb.LinkRequest, bytes]


class LinkService:
    """One `Link` for each stream. Messages arrive parsed and leave as bytes: a link serializes its own, once."""

    def __init__(
        self, *, worker: Worker, gateways: Gateways, limits: LinkLimits, clock: Callable[[], datetime]
    ) -> None:
        self._worker = worker
        self._gateways = gateways
        self._limits = limits
        self._clock = clock

    def handler(self) -> grpc.GenericRpcHandler:
        """The service's one method."""
        method: Any = grpc.stream_stream_rpc_method_handler(self._link, request_deserializer=pb.LinkRequest.FromString)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})

    async def _link(self, _requests: AsyncIterator[pb.LinkRequest], context: Context) -> None:
        """Serves one gateway until either side ends the link."""
        try:
            gateway = self._gateways.by_certificate(peer_spki(context))
        except NotGenuine as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.reason.value)
        self._worker.metrics.links.add("gateway")
        link = Link(gateway=gateway, worker=self._worker, limits=self._limits, clock=self._clock, dialled=False)

        async def read() -> Iterable[pb.GatewayFrame] | None:
            request: object = await context.read()
            return request.frames if isinstance(request, pb.LinkRequest) else None

        try:
            await pump(link, read=read, write=context.write)
        except SealbidError as error:
            _LOG.warning(
                "link refused",
                extra={"gateway_id": gateway.gateway_id.hex(), "reason": error.reason.value, "text": error.message},
            )
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.reason.value)


class Listener:
    """The server of one `LinkService`."""

    def __init__(self, *, service: LinkService, worker: Worker, gateways: Gateways, address: str) -> None:
        """Binds `address` (`host:port`, port 0 for any); `port` says which. Raises `SettingsError` if it cannot."""
        self._server = grpc.aio.server(options=[*server_options(), *MESSAGE_OPTIONS])
        self._server.add_generic_rpc_handlers((service.handler(),))
        credentials = server_credentials(worker.custody.tls, gateways.certificates)
        try:
            self.port: Final = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            message = f"listen {address} cannot be bound, want a free address of this machine"
            raise SettingsError(message) from None

    async def start(self) -> None:
        """Begins to accept."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends every link; what is under way should have been drained before."""
        await self._server.stop(STOP_SECONDS)
