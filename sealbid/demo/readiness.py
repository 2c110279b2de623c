# SPDX-License-Identifier: Apache-2.0
"""Waits until a local deployment can serve: the registry listens, the gateway listens, offers stand in its book."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc

from attestation.errors import Reason, SealbidError
from attestation.rpc.auth import bearer
from sealbid.demo.deployment import Deployment

_PAUSE_SECONDS: Final = 0.1
_LIMIT_SECONDS: Final = 90.0


async def until_serving(deployment: Deployment, name: str, address: str) -> None:
    """Waits for the health service of a process of the deployment."""

    async def serving() -> bool:
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=2)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await _until(deployment, name, serving)


async def until_ready(deployment: Deployment, *, workers: int) -> None:
    """Waits until offers of `workers` workers stand in the gateway's book."""

    async def standing() -> bool:
        return len({offer.keyset_id for offer in await offers(deployment)}) >= workers

    await _until(deployment, "gateway", standing)


async def offers(deployment: Deployment) -> list[market_pb2.StandingOffer]:
    """Every offer in the gateway's book, as its operator sees it."""
    async with grpc.aio.insecure_channel(deployment.gateway) as channel:
        stub = market_pb2_grpc.MarketServiceStub(channel)
        request = market_pb2.ListOffersRequest()
        answer = await stub.ListOffers(request, metadata=bearer(deployment.key("operator")), timeout=2)
        return list(answer.offers)


async def _until(deployment: Deployment, name: str, condition: Callable[[], Awaitable[bool]]) -> None:
    """Polls, since the processes are other people's: there is nothing to await but their answers."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LIMIT_SECONDS
    while loop.time() < deadline:
        if deployment.processes.exited(name) is not None:
            raise SealbidError(Reason.INTERNAL, f"{name} ended, want it running; see {deployment.processes.log(name)}")
        try:
            if await condition():
                return
        except grpc.aio.AioRpcError:
            pass
        await asyncio.sleep(_PAUSE_SECONDS)
    raise SealbidError(Reason.INTERNAL, f"{name} is not ready; see {deployment.processes.log(name)}")
