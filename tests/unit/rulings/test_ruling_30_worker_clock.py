# SPDX-License-Identifier: Apache-2.0
"""Ruling 30: a worker's deadlines run on its monotonic clock; the wall clock, its host's to set, only enters claims."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
import pytest
from sealbid_oip.codec import Array, Arrays, encode_request
from sealbid_oip.spec import ModelSpec, TensorSpec

from attestation.errors import Reason
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from enclave.calls import Call, Desk, Ending
from enclave.keys import Tenure
from tests.support.sealing import BINDING, ENGINE, NOW, GatewaySide, WorkerSide, receive

SPEC = ModelSpec(
    name="magika",
    platform="test",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(2,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(2,)),),
)


@dataclass
class SlowModel:
    """A model that answers when it is let."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = SPEC.name
    spec: ModelSpec = SPEC
    engine_sha256: bytes = ENGINE
    max_response_bytes: int = 1 << 20

    async def infer(self, inputs: Arrays, **_: object) -> dict[str, Array]:
        """The inputs as they came, once `let` is set."""
        await self.let.wait()
        return {"y": inputs["x"]}


class NotedLoop:
    """The running loop, with every timer's distance noted."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        self.waits: list[float] = []

    def time(self) -> float:
        """A moment that does not pass."""
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """Notes the wait and keeps the timer."""
        self.waits.append(when - self.now)
        return self._loop.call_at(when, callback, *args)

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """As the loop does."""
        return self._loop.create_task(work)


@dataclass
class Line:
    """Keeps what a call sends."""

    frames: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    congested: bool = False

    def answer(self, frames: Sequence[bytes], *, final: bool) -> None:
        """Takes frames; the final ones end the call."""
        self.frames += frames
        if final:
            self.ended.set()

    def fail(self, reason: Reason) -> None:
        """Nothing here fails before it runs."""
        raise AssertionError(reason)


async def test_ruling_30_a_call_outlives_any_setting_of_the_wall_clock() -> None:
    """Set past the header's end and back to before its beginning while a call runs, the clock ends nothing."""
    gateway = GatewaySide(WorkerSide())
    payload = encode_request("magika", {"x": np.zeros(2, np.float32)}).SerializeToString()
    sent = gateway.send(gateway.seal(payload), deadline_ms=60_000)
    wall, endings, kept = NOW + timedelta(seconds=59, milliseconds=990), list[Ending](), list[bytes]()

    def write_half(make: Any) -> bytes:
        kept.append(make(1))
        return kept[-1]

    def clock() -> datetime:
        return wall

    line, model, loop = Line(), SlowModel(), NotedLoop()
    call = Call(
        opened=gateway.open(sent),
        tenure=Tenure(keyset=gateway.worker.keyset, binding_digest=BINDING, not_after=1 << 40),
        model=cast("Any", model),
        line=line,
        desk=Desk(clock=clock, write_half=write_half, ended=endings.append),
        loop=cast("asyncio.AbstractEventLoop", loop),
    )
    assert loop.waits == [pytest.approx(60)], "the dispatch's deadline, not what the wall clock leaves of the header's"
    wall += timedelta(days=365)
    await asyncio.sleep(0)
    wall -= timedelta(days=3650)
    assert not call.over
    model.let.set()
    await line.ended.wait()
    assert endings[0].status is WorkerStatus.OK
    assert receive(sent, line.frames)
    half = WorkerHalf.decode(kept[0])
    assert half.ended < half.started, "times in a half are the claims of that clock, and nothing else"
