# SPDX-License-Identifier: Apache-2.0
"""Runs what the planner decides: one batch at a time in a thread, the answers cut apart again for their callers.

Promises, in the order they matter:

* A request's answer never depends on its neighbours' fate: when a batch fails, each member runs again alone.
* Every answer says which requests ran with it, in which order, so that the same batch can be run again and compared.
* Memory is bounded by `QueueLimits`; a request beyond them is refused at once with WORKER_OVERLOADED.
* A caller that goes away takes its waiting request with it, and stops the run once nobody waits for any of its answers.
* Stacked tensors are overwritten with zeros after the run. A single request runs on views of its caller's own bytes,
  which Python cannot overwrite.

It does not check shapes against the model: requests come here validated.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sealbid_oip.codec import Array, Arrays

from attestation.errors import Reason, SealbidError
from enclave.batching.planner import BatchLimits, BatchPlan, FairClock, Ticket, plan
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import Cancellation, Engine, EngineError


class NotRun(SealbidError):
    """A request that no engine saw: the queue was full, its deadline passed, or the worker is stopping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may wait at a time."""

    max_requests: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """One request's outputs, and the batch it ran in; `number` finds its rows there (`plan.span(number)`)."""

    outputs: dict[str, Array]
    plan: BatchPlan
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    ticket: Ticket
    inputs: Arrays
    size: int
    future: "asyncio.Future[BatchAnswer]"


class BatchingLoop:
    """The queue in front of one engine. `run` is its only task; any number of tasks may call `infer` beside it."""

    def __init__(
        self,
        *,
        engine: Engine,
        batch_limits: BatchLimits,
        queue_limits: QueueLimits,
        clock: Callable[[], float],
        threads: EngineThreads,
    ) -> None:
        self._engine = engine
        self._batch_limits = batch_limits
        self._queue_limits = queue_limits
        self._clock = clock
        self._threads = threads
        self._batched = bool(engine.describe().max_batch_size)
        self._fair = FairClock()
        self._waiting: dict[int, _Pending] = {}
        self._bytes = 0
        self._numbers = 0
        self._wake = asyncio.Event()
        self._draining = False

    async def infer(self, inputs: Arrays, *, tenant: Hashable, deadline: float) -> BatchAnswer:
        """Run one request and wait for its answer; `deadline` is a time of the loop's clock.

        Raises:
            NotRun: WORKER_OVERLOADED, DEADLINE_EXCEEDED or DRAINING.
            EngineError: the engine failed on this request alone.
        """
        pending = self._admit(inputs, tenant, deadline)
        try:
            return await pending.future
        finally:
            self._remove(pending)

    async def run(self) -> None:
        """Run batches until `drain` is called and nothing waits; cancelled, it refuses what still waits."""
        try:
            while not (self._draining and not self._waiting):
                await self._turn()
        finally:
            self._draining = True
            for pending in list(self._waiting.values()):
                self._settle(self._take(pending.ticket), _stopping())

    async def _turn(self) -> None:
        decision = plan([p.ticket for p in self._waiting.values()], self._batch_limits, self._clock())
        for ticket in decision.expired:
            self._settle(self._take(ticket), NotRun(Reason.DEADLINE_EXCEEDED, "deadline is past, want time to run"))
        if decision.batch is not None:
            self._fair.started(decision.batch)
            await self._run_batch(decision.batch)
        elif not decision.expired:
            await self._sleep(decision.wake_at)

    def drain(self) -> None:
        """Take no more requests; `run` ends when those waiting are answered."""
        self._draining = True
        self._wake.set()

    def _admit(self, inputs: Arrays, tenant: Hashable, deadline: float) -> _Pending:
        size = sum(array.nbytes for array in inputs.values())
        if self._draining:
            raise _stopping()
        if len(self._waiting) >= self._queue_limits.max_requests:
            raise NotRun(Reason.WORKER_OVERLOADED, f"queue is {len(self._waiting)} requests, want fewer")
        if self._bytes + size > self._queue_limits.max_bytes:
            raise NotRun(Reason.WORKER_OVERLOADED, f"queue is {self._bytes} bytes, want fewer")
        self._numbers += 1
        rows = next(iter(inputs.values())).shape[0] if self._batched else 1
        ticket = Ticket(
            number=self._numbers,
            tenant=tenant,
            key=_key(inputs) if self._batched else self._numbers,
            rows=rows,
            tag=self._fair.tag(tenant, rows),
            arrived=self._clock(),
            deadline=deadline,
        )
        future: asyncio.Future[BatchAnswer] = asyncio.get_running_loop().create_future()
        pending = _Pending(ticket=ticket, inputs=inputs, size=size, future=future)
        self._waiting[ticket.number] = pending
        self._bytes += size
        self._wake.set()
        return pending

    def _take(self, ticket: Ticket) -> _Pending:
        pending = self._waiting[ticket.number]
        self._remove(pending)
        return pending

    def _remove(self, pending: _Pending) -> None:
        if self._waiting.pop(pending.ticket.number, None) is not None:
            self._bytes -= pending.size

    async def _sleep(self, wake_at: float | None) -> None:
        """Until something arrives or the planner wants to be asked again."""
        self._wake.clear()
        if wake_at is None:
            await self._wake.wait()
            return
        seconds = max(0.0, wake_at - self._clock())
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _run_batch(self, batch: BatchPlan) -> None:
        members = [self._take(ticket) for ticket in batch.tickets]
        error = await self._attempt(batch, members)
        if error is None:
            return
        if len(members) == 1:
            self._settle(members[0], error)
            return
        for member in members:
            if not member.future.done():
                alone = BatchPlan(tickets=(member.ticket,))
                failure = await self._attempt(alone, [member])
                if failure is not None:
                    self._settle(member, failure)

    async def _attempt(self, batch: BatchPlan, members: Sequence[_Pending]) -> SealbidError | None:
        """Run one batch and answer its members; an error is returned, and then nobody has been answered."""
        cancellation = Cancellation()
        left = _cancel_when_alone(members, cancellation)
        stacked = _stack([member.inputs for member in members])
        run = partial(self._engine.run, stacked, cancellation=cancellation)
        try:
            outputs = await self._threads.run(run)
            answers = [self._cut(outputs, batch, member.ticket.number) for member in members]
        except SealbidError as error:
            return error
        except asyncio.CancelledError:
            cancellation.cancel()
            for member in members:
                self._settle(member, _stopping())
            raise
        # A task root: a fault in an engine must not leave every caller waiting.
        except Exception as error:  # noqa: BLE001
            return EngineError(Reason.INTERNAL, f"engine raised {type(error).__name__}, want an answer or EngineError")
        finally:
            for member, callback in zip(members, left, strict=True):
                member.future.remove_done_callback(callback)
            if len(members) > 1:
                _wipe(stacked)
        if len(members) > 1:
            _wipe(outputs)
        for member, answer in zip(members, answers, strict=True):
            self._settle(member, BatchAnswer(outputs=answer, plan=batch, number=member.ticket.number))
        return None

    def _cut(self, outputs: Arrays, batch: BatchPlan, number: int) -> dict[str, Array]:
        """One request's rows of every output; copies, so that no answer holds its neighbours' memory."""
        if not self._batched:
            return dict(outputs)
        for name, array in outputs.items():
            if not array.shape or array.shape[0] != batch.rows:
                got = array.shape[0] if array.shape else 0
                raise EngineError(Reason.ENGINE_FAILED, f"output {name} is {got} rows, want {batch.rows}")
        if len(batch.tickets) == 1:
            return dict(outputs)
        start, stop = batch.span(number)
        return {name: array[start:stop].copy() for name, array in outputs.items()}

    @staticmethod
    def _settle(member: _Pending, outcome: BatchAnswer | SealbidError) -> None:
        if member.future.done():
            return
        if isinstance(outcome, BatchAnswer):
            member.future.set_result(outcome)
        else:
            member.future.set_exception(outcome)


def _stopping() -> NotRun:
    return NotRun(Reason.DRAINING, "worker is stopping, want another worker")


Callback = Callable[["asyncio.Future[BatchAnswer]"], None]


def _cancel_when_alone(members: Sequence[_Pending], cancellation: Cancellation) -> list[Callback]:
    """Turn the switch once every member's caller has gone; returns the callbacks placed on their futures."""

    def gone(_: "asyncio.Future[BatchAnswer]") -> None:
        if all(member.future.done() for member in members):
            cancellation.cancel()

    for member in members:
        member.future.add_done_callback(gone)
    return [gone] * len(members)


def _key(inputs: Arrays) -> Hashable:
    """Equal for requests whose rows can be stacked."""
    return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


def _stack(inputs: Sequence[Arrays]) -> Arrays:
    if len(inputs) == 1:
        return inputs[0]
    return {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}


def _wipe(arrays: Arrays) -> None:
    for array in arrays.values():
        if array.flags.writeable:
            array.fill(b"" if array.dtype == np.object_ else 0)
