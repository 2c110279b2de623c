# SPDX-License-Identifier: Apache-2.0
"""GatewayService's other side: the link when this worker dials, for workers nobody can reach (docs/spec.md, 11.1).

The worker dials only a gateway whose keys it found in the log, with that gateway's certificate as the only root. A link
that ends is dialled again after a wait that doubles up to half a minute, with the registry's list read anew meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import grpc
from sealbid_wire.worker.v1 import worker_pb2 as pb

from attestation.errors import SealbidError
from attestation.rpc.pinning import GATEWAY_NAME, channel_credentials, channel_options
from enclave.gateways import Gateways, KnownGateway
from enclave.link import Link, LinkLimits, pump
from enclave.listening import MESSAGE_OPTIONS
from enclave.worker import Worker

_LOG = logging.getLogger("enclave.dialling")
METHOD: Final = "/sealbid.worker.v1.GatewayService/Attach"
FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 30.0


class Dialler:
    """Keeps one link open to one gateway."""

    def __init__(
        self,
        *,
        worker: Worker,
        gateways: Gateways,
        limits: LinkLimits,
        clock: Callable[[], datetime],
        address: str,
        gateway_id: bytes,
    ) -> None:
        self._worker = worker
        self._gateways = gateways
        self._limits = limits
        self._clock = clock
        self._address = address
        self._gateway_id = gateway_id
        self._lost = False
        """An attempt failed and none has succeeded since; only the first failure is logged."""

    async def run(self) -> None:
        """Dials until cancelled."""
        wait = FIRST_WAIT
        while True:
            gateway = self._gateways.by_id(self._gateway_id)
            if gateway is not None and await self._link(gateway):
                wait = FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _link(self, gateway: KnownGateway) -> bool:
        """One link from its opening to its end; True when the gateway spoke on it."""
        credentials = channel_credentials(self._worker.custody.tls, gateway.certificate_der)
        options = [*channel_options(GATEWAY_NAME), *MESSAGE_OPTIONS]
        spoken = False
        async with grpc.aio.secure_channel(self._address, credentials, options=options) as channel:
            attach: Any = channel.stream_stream(METHOD, response_deserializer=pb.AttachResponse.FromString)
            call: grpc.aio.StreamStreamCall[bytes, pb.AttachResponse] = attach()
            link = Link(gateway=gateway, worker=self._worker, limits=self._limits, clock=self._clock, dialled=True)

            async def read() -> Iterable[pb.GatewayFrame] | None:
                nonlocal spoken
                response = await call.read()
                if not isinstance(response, pb.AttachResponse):
                    return None
                spoken = True
                self._lost = False
                return response.frames

            self._worker.metrics.links.add("worker")
            try:
                await pump(link, read=read, write=call.write)
            except (SealbidError, grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
                code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                extra = {"gateway_id": gateway.gateway_id.hex(), "address": self._address, "error": code}
                if spoken or not self._lost:
                    _LOG.warning("link ended" if spoken else "gateway cannot be reached", extra=extra)
                self._lost = True
            finally:
                call.cancel()
        return spoken
