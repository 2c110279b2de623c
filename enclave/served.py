# SPDX-License-Identifier: Apache-2.0
"""One model as the worker serves it: a loaded engine behind its batches or its streams."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from sealbid_oip.codec import Array, Arrays
from sealbid_oip.generation import Sampling
from sealbid_oip.spec import ModelSpec

from attestation.errors import Reason
from enclave.batching.loop import BatchingLoop, QueueLimits
from enclave.batching.planner import BatchLimits
from enclave.batching.streams import RunningStream, StreamRunner
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import Engine, EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """What one model may take at a time."""

    max_batch_rows: int
    max_delay_seconds: float
    max_waiting: int
    max_waiting_bytes: int
    max_streams: int
    max_response_bytes: int


class ServedModel:
    """A model with its queue. `run` must be running for `infer` to be answered."""

    def __init__(
        self, *, engine: Engine, limits: ServingLimits, clock: Callable[[], float], threads: EngineThreads
    ) -> None:
        """`clock` is the event loop's, `threads` run the engine."""
        self.spec: ModelSpec = engine.describe()
        self.engine_sha256 = engine.digest
        self.max_response_bytes = limits.max_response_bytes
        self._engine = engine
        self._batches = BatchingLoop(
            engine=engine,
            batch_limits=BatchLimits(max_rows=limits.max_batch_rows, max_delay_seconds=limits.max_delay_seconds),
            queue_limits=QueueLimits(max_requests=limits.max_waiting, max_bytes=limits.max_waiting_bytes),
            clock=clock,
            threads=threads,
        )
        self._streams = StreamRunner(engine=engine, max_streams=limits.max_streams, clock=clock, threads=threads)

    @property
    def name(self) -> str:
        """The name by which callers know it."""
        return self.spec.name

    async def infer(self, inputs: Arrays, *, tenant: Hashable, deadline: float) -> dict[str, Array]:
        """The outputs of one validated request. Raises `NotRun` or `EngineError`."""
        if self.spec.decoupled:
            raise EngineError(Reason.UNSUPPORTED, "method is ModelInfer, want ModelStreamInfer for this model")
        return (await self._batches.infer(inputs, tenant=tenant, deadline=deadline)).outputs

    def start(self, inputs: Arrays, sampling: Sampling, *, deadline: float) -> RunningStream:
        """Starts one generation. Raises `NotRun` or `EngineError`."""
        return self._streams.start(inputs, sampling, deadline=deadline)

    async def run(self) -> None:
        """Runs batches until drained."""
        await self._batches.run()

    def drain(self) -> None:
        """Takes no more requests; `run` ends when those waiting are answered."""
        self._batches.drain()

    async def close(self) -> None:
        """Frees the model."""
        await asyncio.get_running_loop().run_in_executor(None, self._engine.close)
