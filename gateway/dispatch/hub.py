# SPDX-License-Identifier: Apache-2.0
"""GatewayService: the same links for workers that cannot be dialled (docs/spec.md, 11.1).

Only certificates of admitted workers complete the handshake; the one shown then says which worker it is. A worker that
breaks the protocol is told the reason code and nothing else.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from attestation.errors import NotGenuine, SealbidError, SettingsError
from attestation.rpc.pinning import TLSIdentity, peer_spki, server_credentials, server_options
from gateway.dispatch.interface import DispatchEvent, DispatchMetrics
from gateway.dispatch.link import Link, pump
from gateway.dispatch.pool import WorkerPool
from gateway.dispatch.worker_client import MESSAGE_OPTIONS

_LOG = logging.getLogger("sealbid.gateway.dispatch")
SERVICE: Final = "sealbid.worker.v1.GatewayService"
METHOD: Final = "Attach"
STOP_SECONDS: Final = 1.0

Context = grpc.aio.ServicerContext[bytes, bytes]


class Hub:
    """The listener for workers, on a port of its own: its TLS trusts workers only."""

    def __init__(
        self, *, pool: WorkerPool, identity: TLSIdentity, gateway_id: bytes, metrics: DispatchMetrics, address: str
    ) -> None:
        """Binds `address` (`host:port`, port 0 for any); `port` says which. Raises `SettingsError` if it cannot."""
        self._pool = pool
        self._gateway_id = gateway_id
        self._metrics = metrics
        self._server = grpc.aio.server(options=[*server_options(), *MESSAGE_OPTIONS])
        method: Any = grpc.stream_stream_rpc_method_handler(self._attach)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
        try:
            self.port: Final = self._server.add_secure_port(address, server_credentials(identity, pool.certificates))
        except RuntimeError:
            message = f"link_listen {address} cannot be bound, want a free address of this machine"
            raise SettingsError(message) from None

    async def start(self) -> None:
        """Begins to accept."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends every link opened here; what is under way should have been drained before."""
        await self._server.stop(STOP_SECONDS)

    async def _attach(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Serves one worker until either side ends the link."""
        try:
            worker = self._pool.by_certificate(peer_spki(context))
        except NotGenuine:
            worker = None
        if worker is None:
            self._metrics.dispatch(DispatchEvent.LINK_REFUSED)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        link = Link(
            worker_id=worker.worker_id,
            receipt_key=worker.keyset.receipt_key,
            gateway_id=self._gateway_id,
            owner=self._pool,
            dialled=False,
        )

        async def read() -> bytes | None:
            data: object = await context.read()
            return data if isinstance(data, bytes) else None

        try:
            await pump(link, read=read, write=context.write)
        except SealbidError as error:
            self._metrics.dispatch(DispatchEvent.LINK_REFUSED)
            extra = {"worker_id": worker.worker_id.hex(), "reason": error.reason.value}
            _LOG.warning("link refused", extra=extra)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.reason.value)
        finally:
            self._pool.detach(link)
