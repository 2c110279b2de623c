# SPDX-License-Identifier: Apache-2.0
"""A flow with a real market, quota and catalog, and a pool whose workers do what the test says."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import numpy as np
from prometheus_client import CollectorRegistry
from sealbid_oip.codec import encode_request
from sealbid_oip.generation import INPUTS, OUTPUTS
from sealbid_oip.parameters import ParameterValue
from sealbid_oip.spec import ModelSpec, TensorSpec

from attestation.binding import Profile
from attestation.errors import Reason
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Method
from gateway.config import Limits as Bounds
from gateway.config import Model, Tenant
from gateway.dispatch.exchange import Exchange, Order, Reply
from gateway.dispatch.pool import WorkerPool
from gateway.errors import WorkerFailed
from gateway.flow import Arrival, InferenceFlow
from gateway.market.service import Market
from gateway.quota import Quota
from gateway.receipts.desk import Desk
from gateway.request import Attempt, Outcome
from gateway.statistics import Statistics
from gateway.telemetry import Telemetry
from gateway.tensors import Catalog
from tests.support import market as markets

TENANT = "acme"
ROWS = ModelSpec(
    name=markets.MODEL,
    platform="onnxruntime_onnx",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(4,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(4,)),),
    max_batch_size=8,
)
TEXT = ModelSpec(name=markets.MODEL, platform="onnxruntime_onnx", inputs=INPUTS, outputs=OUTPUTS, decoupled=True)


@dataclass(frozen=True, kw_only=True)
class Act:
    """What one attempt does: chunks it streams, then a failure or a reply; `hang` never ends."""

    status: WorkerStatus = WorkerStatus.OK
    units: int = 1000
    data: bytes = b"answer"
    chunks: tuple[bytes, ...] = ()
    error: tuple[str, str] | None = None
    failure: WorkerFailed | None = None
    refuse: WorkerFailed | None = None
    """Raised when the attempt begins, before anything is sent."""
    hang: bool = False


class ScriptedExchange:
    """Stands in for an exchange; its half is a real worker half."""

    def __init__(self, act: Act, attempt: Attempt) -> None:
        self.act = act
        self.attempt = attempt
        self.cancelled = asyncio.Event()

    async def answer(self) -> Reply:
        act = self.act
        if act.hang:
            await self.cancelled.wait()
            act = replace(act, status=WorkerStatus.CANCELLED)
        if act.failure is not None:
            raise act.failure
        half = _half(self.attempt, act)
        return Reply(data=act.data, status=act.status, half=half, error=act.error)

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self.act.chunks:
            yield chunk
        if self.act.hang:
            await asyncio.Event().wait()
        if self.act.failure is not None:
            raise self.act.failure

    def cancel(self) -> None:
        self.cancelled.set()


class ScriptedPool:
    """Plays `acts` in order and keeps what it was asked."""

    def __init__(self, acts: Iterable[Act]) -> None:
        self.acts = deque(acts)
        self.orders: list[Order] = []
        self.exchanges: list[ScriptedExchange] = []

    def begin(self, order: Order, now: datetime) -> Exchange:
        act = self.acts.popleft()
        if act.refuse is not None:
            raise act.refuse
        self.orders.append(order)
        attempt = _attempt(order)
        assert order.memo(attempt) == b"memo"
        exchange = ScriptedExchange(act, attempt)
        self.exchanges.append(exchange)
        return cast(Exchange, exchange)


@dataclass
class RecordingDesk:
    """Keeps outcomes."""

    overloaded: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    memos: list[Outcome] = field(default_factory=list)

    def begin(self, so_far: Outcome) -> bytes:
        self.memos.append(so_far)
        return b"memo"

    def record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@dataclass
class Scene:
    """One flow and everything around it."""

    flow: InferenceFlow
    pool: ScriptedPool
    desk: RecordingDesk
    market: Market
    quota: Quota
    metrics: CollectorRegistry

    def free_slots(self) -> dict[bytes, int]:
        """Slots not taken, by offer."""
        return {one.offer_id: one.offer.slots - one.taken for one in self.market.standing()}


def scene(
    *acts: Act,
    asks: tuple[int, ...] = (100, 200, 300),
    spec: ModelSpec = ROWS,
    bounds: Bounds | None = None,
    tenant: Tenant | None = None,
    monotonic: Callable[[], float] | None = None,
) -> Scene:
    """A flow over one offer per ask, each by a worker of another provider."""
    owners = [markets.worker(f"w{i}", provider=f"P{i}") for i in range(len(asks))]
    market = markets.market([(owner, owner.offer(ask)) for owner, ask in zip(owners, asks, strict=True)])
    pool, desk, metrics = ScriptedPool(acts), RecordingDesk(), CollectorRegistry()
    models = {spec.name: Model(engines=(markets.ENGINE.hex(),), reference_price_nanos=1000)}
    quota = Quota(tenants={TENANT: tenant or Tenant()}, default=Tenant(), clock=lambda: 0.0, spent={})
    flow = InferenceFlow(
        catalog=Catalog(models=models, spec_of={markets.ENGINE: spec}.get, max_request_bytes=1 << 20),
        quota=quota,
        market=market,
        pool=cast(WorkerPool, pool),
        desk=cast(Desk, desk),
        telemetry=Telemetry(registry=metrics, profile=Profile.DEVELOPMENT, statistics=Statistics(models)),
        policy_sha256=markets.POLICY,
        profile=Profile.DEVELOPMENT,
        bounds=bounds or Bounds(),
        clock=lambda: markets.CLOCK,
        monotonic=monotonic or asyncio.get_running_loop().time,
        entropy=os.urandom,
    )
    return Scene(flow=flow, pool=pool, desk=desk, market=market, quota=quota, metrics=metrics)


def arrival(*, seconds: float | None = 10.0, **parameters: ParameterValue) -> Arrival:
    """One row for the tensor model; parameters are written with underscores."""
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    request = encode_request(markets.MODEL, {"x": np.zeros((1, 4), np.float32)}, parameters=named)
    payload = request.SerializeToString()
    return Arrival(tenant=TENANT, method=Method.INFER, payload=payload, seconds_left=seconds)


def prompt(*, seconds: float | None = 10.0) -> Arrival:
    """One prompt for the streaming model."""
    request = encode_request(markets.MODEL, {"prompt": np.array([b"hello"], np.object_)})
    return Arrival(tenant=TENANT, method=Method.STREAM, payload=request.SerializeToString(), seconds_left=seconds)


def lost(*, before_first_byte: bool = True, retry_same: bool = False) -> WorkerFailed:
    """A link that went away."""
    return WorkerFailed(
        Reason.WORKER_FAILED, "link was lost", before_first_byte=before_first_byte, retry_same=retry_same
    )


def _attempt(order: Order) -> Attempt:
    dispatch = Dispatch(
        header_sha256=order.request.header_sha256,
        session_id=markets.digest("session"),
        counter=order.attempt,
        attempt=order.attempt,
        award_sha256=order.award_sha256,
        offer_id=order.offer_id,
        price_nanos=order.price_nanos,
        gateway_id=markets.GATEWAY,
        key_id=markets.digest("key"),
        deadline_ms=1,
    )
    return Attempt(
        number=order.attempt,
        worker_id=markets.digest("worker id is the award's"),
        keyset_id=order.keyset_id,
        binding_digest=markets.digest("binding"),
        offer_id=order.offer_id,
        price_nanos=order.price_nanos,
        award=order.award,
        award_sha256=order.award_sha256,
        dispatch=dispatch.encode(),
        dispatch_sha256=dispatch.digest,
        transcript=order.transcript,
    )


def _half(attempt: Attempt, act: Act) -> bytes:
    zeros = bytes(32)
    return WorkerHalf(
        worker_id=attempt.worker_id,
        keyset_id=attempt.keyset_id,
        binding_digest=attempt.binding_digest,
        dispatch_sha256=attempt.dispatch_sha256,
        header_sha256=zeros,
        req_ct=zeros,
        resp_ct=zeros,
        req_commit=zeros,
        resp_commit=zeros,
        engine_sha256=markets.ENGINE,
        units=act.units,
        status=act.status,
        started=markets.NOW,
        ended=markets.NOW,
        seq=1,
    ).encode()
