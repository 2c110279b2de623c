# SPDX-License-Identifier: Apache-2.0
"""Runs token streams: each step in a thread when its reader asks for it, so a slow reader slows only its own stream.

At most `max_streams` run at a time; another is refused with WORKER_OVERLOADED. A stream ends at its last step, at its
deadline, at an error of the engine, or when its reader leaves; its place is free again in every case.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from sealbid_oip.codec import Arrays
from sealbid_oip.generation import Sampling, TokenStep

from attestation.errors import Reason
from enclave.batching.loop import NotRun
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import Cancellation, Engine, TokenStream


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStream:
    """A generation under way. Close `steps` (or read it to its end): until then it holds one of the worker's places."""

    prompt_tokens: int
    steps: AsyncGenerator[TokenStep, None]


class StreamRunner:
    """The places in front of one streaming engine."""

    def __init__(self, *, engine: Engine, max_streams: int, clock: Callable[[], float], threads: EngineThreads) -> None:
        self._engine = engine
        self._max_streams = max_streams
        self._clock = clock
        self._threads = threads
        self._running = 0

    @property
    def running(self) -> int:
        """Streams under way."""
        return self._running

    def start(self, inputs: Arrays, sampling: Sampling, *, deadline: float) -> RunningStream:
        """Start one generation; its first step is computed when it is asked for.

        Raises:
            NotRun: WORKER_OVERLOADED.
            EngineError: the inputs are not acceptable.
        """
        self._check_place()
        cancellation = Cancellation()
        stream = self._engine.stream(inputs, sampling, cancellation=cancellation)
        return RunningStream(prompt_tokens=stream.prompt_tokens, steps=self._steps(stream, cancellation, deadline))

    def _check_place(self) -> None:
        if self._running >= self._max_streams:
            raise NotRun(Reason.WORKER_OVERLOADED, f"streams are {self._running}, want fewer than {self._max_streams}")

    async def _steps(
        self, stream: TokenStream, cancellation: Cancellation, deadline: float
    ) -> AsyncGenerator[TokenStep, None]:
        self._check_place()
        self._running += 1
        step = partial(next, stream.steps, None)
        try:
            while self._clock() < deadline:
                made = await self._threads.run(step)
                if made is None:
                    return
                yield made
            raise NotRun(Reason.DEADLINE_EXCEEDED, "deadline is past, want time for every step")
        finally:
            cancellation.cancel()
            self._running -= 1
