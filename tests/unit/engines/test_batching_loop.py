# SPDX-License-Identifier: Apache-2.0
"""The batching loop: equal answers, separate fates, bounded queues, callers that leave."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from sealbid_oip.codec import Array, Arrays
from sealbid_oip.spec import ModelSpec

from attestation.errors import Reason
from enclave.batching.loop import BatchAnswer, BatchingLoop, NotRun, QueueLimits
from enclave.batching.planner import BatchLimits
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import Cancellation, Engine, EngineError
from enclave.models import magika
from tests.support.models import engine, spec_of, tensor

FAR = 1e9


Answering = Callable[[Arrays], dict[str, Array]]


class Gated:
    """An engine that adds one, waits at a gate, refuses rows that hold -1, and remembers what it ran."""

    def __init__(
        self, *, spec: ModelSpec | None = None, broken: Callable[[Arrays], dict[str, Array]] | None = None
    ) -> None:
        self.digest = bytes(32)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.ran: list[Array] = []
        self.stopped: list[bool] = []
        self._spec = spec or spec_of(tensor("x", "FP32", -1), max_batch_size=8)
        self._broken = broken

    def load(self, model: bytes, expected_sha256: bytes) -> None:
        """Nothing to load."""

    def describe(self) -> ModelSpec:
        return self._spec

    def run(self, batch: Arrays, *, cancellation: Cancellation | None = None) -> dict[str, Array]:
        assert cancellation is not None
        cancellation.on_cancel(self.gate.set)
        self.ran.append(batch["x"].copy())
        self.entered.release()
        self.gate.wait()
        self.stopped.append(cancellation.cancelled)
        cancellation.check()
        if (batch["x"] == -1).any():
            raise EngineError(Reason.ENGINE_FAILED, "row is refused, want another")
        return self._broken(batch) if self._broken else {"x": batch["x"] + 1}

    def stream(self, inputs, sampling, *, cancellation=None):  # type: ignore[no-untyped-def]
        raise EngineError(Reason.UNSUPPORTED, "method is ModelStreamInfer, want ModelInfer")

    def close(self) -> None:
        """Nothing to free."""


def row(*values: float) -> dict[str, Array]:
    return {"x": np.array([values], np.float32)}


@asynccontextmanager
async def serving(
    served: Engine,
    *,
    batch: BatchLimits | None = None,
    queue: QueueLimits | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[BatchingLoop]:
    """A running loop in front of an engine."""
    with EngineThreads(2) as threads:
        loop = BatchingLoop(
            engine=served,
            batch_limits=batch or BatchLimits(max_rows=8),
            queue_limits=queue or QueueLimits(max_requests=100, max_bytes=10**7),
            clock=clock,
            threads=threads,
        )
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            loop.drain()
            if isinstance(served, Gated):
                served.gate.set()
            await task


async def entered(served: Gated) -> None:
    """Wait until the engine has been called once more."""
    await asyncio.get_running_loop().run_in_executor(None, served.entered.acquire)


async def waiting(loop: BatchingLoop, *requests: Arrays, tenant: str = "t") -> list["asyncio.Task[BatchAnswer]"]:
    """Requests that have entered the queue."""
    tasks = [asyncio.create_task(loop.infer(inputs, tenant=tenant, deadline=FAR)) for inputs in requests]
    await asyncio.sleep(0)
    return tasks


async def test_requests_that_meet_run_together_and_equal_the_same_batch_run_alone() -> None:
    """Real model: answers of a batch are the bits of the engine run on exactly the rows that the plan names."""
    real = engine("magika")
    rows = {n: magika.features(text)[np.newaxis] for n, text in enumerate((b"#!/bin/sh\n", b"{}", b"<html>", b"a,b\n"))}
    async with serving(real) as loop:
        tasks = await waiting(loop, *({"bytes": rows[n]} for n in rows))
        answers = [await task for task in tasks]
    assert {len(answer.plan.tickets) for answer in answers} == {4}
    order = [answer.plan.span(answer.number)[0] for answer in answers]
    stacked = np.concatenate([rows[n] for n in sorted(rows, key=lambda n: order[n])])
    direct = real.run({"bytes": stacked})[magika.OUTPUT]
    for answer in answers:
        start, stop = answer.plan.span(answer.number)
        assert answer.outputs[magika.OUTPUT].tobytes() == direct[start:stop].tobytes()


async def test_requests_wait_while_the_engine_is_busy_and_leave_together() -> None:
    """A batch forms by itself behind a running one; requests of another shape go separately."""
    served = Gated()
    async with serving(served) as loop:
        first = await waiting(loop, row(1))
        await entered(served)
        more = await waiting(loop, row(2), row(3), row(4, 4), {"x": np.array([[5], [6]], np.float32)})
        served.gate.set()
        answers = [await task for task in first + more]
    assert [answer.outputs["x"].tolist() for answer in answers] == [[[2]], [[3]], [[4]], [[5, 5]], [[6], [7]]]
    assert [ran.shape for ran in served.ran] == [(1, 1), (4, 1), (1, 2)]


async def test_a_bad_request_fails_alone() -> None:
    """When a batch fails, each member runs again by itself and only the guilty one fails."""
    served = Gated()
    async with serving(served) as loop:
        first = await waiting(loop, row(0))
        await entered(served)
        tasks = await waiting(loop, row(1), row(-1), row(3))
        served.gate.set()
        results = await asyncio.gather(*first, *tasks, return_exceptions=True)
    assert isinstance(results[2], EngineError)
    assert [r.outputs["x"].tolist() for r in results if isinstance(r, BatchAnswer)] == [[[1]], [[2]], [[4]]]
    assert [len(r.plan.tickets) for r in results if isinstance(r, BatchAnswer)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda batch: {"x": batch["x"][:0]}, Reason.ENGINE_FAILED),
        (lambda batch: {"x": np.float32(1)}, Reason.ENGINE_FAILED),
        (lambda batch: 1 / 0, Reason.INTERNAL),
    ],
)
async def test_an_engine_that_breaks_its_word_leaves_nobody_waiting(broken, reason: Reason) -> None:  # type: ignore[no-untyped-def]
    """Wrong row counts and unforeseen exceptions reach the caller by name, and the loop goes on."""
    served = Gated(broken=broken)
    served.gate.set()
    async with serving(served) as loop:
        for _ in range(2):
            with pytest.raises(EngineError) as caught:
                await loop.infer(row(1), tenant="t", deadline=FAR)
            assert caught.value.reason is reason


async def test_a_full_queue_refuses_at_once() -> None:
    """Requests and bytes have a limit each; a place is free again when its request has left."""
    served = Gated()
    async with serving(served, queue=QueueLimits(max_requests=2, max_bytes=12)) as loop:
        running = await waiting(loop, row(0))
        await entered(served)
        held = await waiting(loop, row(1))
        with pytest.raises(NotRun, match="bytes") as by_bytes:
            await loop.infer(row(1, 2, 3), tenant="t", deadline=FAR)
        held += await waiting(loop, row(2))
        with pytest.raises(NotRun, match="requests") as by_count:
            await loop.infer(row(3), tenant="t", deadline=FAR)
        assert by_bytes.value.reason is by_count.value.reason is Reason.WORKER_OVERLOADED
        held[0].cancel()
        await asyncio.wait(held[:1])
        held += await waiting(loop, row(4))
        served.gate.set()
        assert [(await task).outputs["x"].tolist() for task in (*running, *held[1:])] == [[[1]], [[3]], [[5]]]


async def test_a_request_past_its_deadline_never_runs() -> None:
    """A deadline that passes while waiting is told by name, and the engine sees nothing of the request."""
    served, now = Gated(), [0.0]
    async with serving(served, clock=lambda: now[0]) as loop:
        running = await waiting(loop, row(0))
        await entered(served)
        late = asyncio.create_task(loop.infer(row(1), tenant="t", deadline=5.0))
        await asyncio.sleep(0)
        now[0] = 5.0
        served.gate.set()
        await running[0]
        with pytest.raises(NotRun) as caught:
            await late
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert len(served.ran) == 1


async def test_a_run_nobody_waits_for_is_stopped() -> None:
    """The engine is told to stop when the last caller of its batch has gone, not before."""
    served = Gated()
    async with serving(served, batch=BatchLimits(max_rows=2)) as loop:
        first, second = await waiting(loop, row(0), row(1))
        await entered(served)
        first.cancel()
        await asyncio.wait([first])
        assert not served.gate.is_set()
        second.cancel()
        await asyncio.wait([second])
        served.gate.clear()
        again = await waiting(loop, row(2))
        await entered(served)
        served.gate.set()
        assert (await again[0]).outputs["x"].tolist() == [[3]]
    assert served.stopped[0]


async def test_a_batch_waits_for_company_no_longer_than_told() -> None:
    """With a delay, a lone request leaves when the delay is over; a full batch leaves at once."""
    served = Gated()
    served.gate.set()
    loop_clock = asyncio.get_running_loop().time
    async with serving(served, batch=BatchLimits(max_rows=2, max_delay_seconds=0.05), clock=loop_clock) as loop:
        begun = loop_clock()
        await loop.infer(row(1), tenant="t", deadline=begun + 100)
        assert loop_clock() - begun >= 0.05
    async with serving(served, batch=BatchLimits(max_rows=2, max_delay_seconds=1e6)) as loop:
        answers = await asyncio.gather(*(loop.infer(row(n), tenant="t", deadline=FAR) for n in (1, 2)))
    assert [len(answer.plan.tickets) for answer in answers] == [2, 2]


async def test_draining_answers_what_waits_and_refuses_what_comes() -> None:
    """A worker that stops finishes its queue and takes nothing more."""
    served = Gated()
    async with serving(served) as loop:
        tasks = await waiting(loop, row(1))
        await entered(served)
        tasks += await waiting(loop, row(2))
        loop.drain()
        with pytest.raises(NotRun) as caught:
            await loop.infer(row(3), tenant="t", deadline=FAR)
        assert caught.value.reason is Reason.DRAINING
        served.gate.set()
        assert [(await task).outputs["x"].tolist() for task in tasks] == [[[2]], [[3]]]


async def test_a_loop_that_is_cancelled_leaves_nobody_waiting() -> None:
    """Running and waiting requests are refused by name when the loop's task ends early."""
    served = Gated()
    with EngineThreads(1) as threads:
        loop = BatchingLoop(
            engine=served,
            batch_limits=BatchLimits(max_rows=1),
            queue_limits=QueueLimits(max_requests=10, max_bytes=1000),
            clock=lambda: 0.0,
            threads=threads,
        )
        task = asyncio.create_task(loop.run())
        tasks = await waiting(loop, row(1), row(2))
        await entered(served)
        task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r.reason for r in results if isinstance(r, NotRun)] == [Reason.DRAINING, Reason.DRAINING]
    assert served.stopped == [True]


async def test_a_model_without_batches_runs_one_request_at_a_time() -> None:
    """Without a batch dimension nothing is stacked, whatever the shapes."""
    served = Gated(spec=spec_of(tensor("x", "FP32", -1, -1)))
    served.gate.set()
    async with serving(served) as loop:
        answers = await asyncio.gather(*(loop.infer(row(n), tenant="t", deadline=FAR) for n in (1, 2, 3)))
    assert [answer.outputs["x"].tolist() for answer in answers] == [[[2]], [[3]], [[4]]]
    assert len(served.ran) == 3


async def test_stacked_tensors_are_overwritten_after_the_run() -> None:
    """What was put together for a batch, and what came out whole, holds zeros once the answers are cut."""
    kept: list[Array] = []

    def keep(batch: Arrays) -> dict[str, Array]:
        outputs = {"x": batch["x"] + 1}
        kept.extend((batch["x"], outputs["x"]))
        return outputs

    served = Gated(broken=keep)
    async with serving(served) as loop:
        first = await waiting(loop, row(7))
        await entered(served)
        tasks = await waiting(loop, row(1), row(2))
        served.gate.set()
        assert [(await task).outputs["x"].tolist() for task in first + tasks] == [[[8]], [[2]], [[3]]]
    assert [array.any() for array in kept[2:]] == [False, False]
