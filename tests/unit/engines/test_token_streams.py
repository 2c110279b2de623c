# SPDX-License-Identifier: Apache-2.0
"""Token streams: places, deadlines, readers that leave."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
from sealbid_oip.generation import Sampling

from attestation.errors import Reason
from enclave.batching.loop import NotRun
from enclave.batching.streams import StreamRunner
from enclave.batching.threads import EngineThreads
from enclave.engines.interface import EngineError
from tests.support.models import engine

PROMPT = {"prompt": np.array([b"Hello"], np.object_)}
ENDLESS = Sampling(max_tokens=4096, stop_token=-1)


@pytest.fixture
async def clock() -> list[float]:
    """A clock that tests set."""
    return [0.0]


@pytest.fixture
async def runner(clock: list[float]) -> AsyncIterator[StreamRunner]:
    """Two places in front of the tiny model."""
    with EngineThreads(2) as threads:
        yield StreamRunner(engine=engine("tiny"), max_streams=2, clock=lambda: clock[0], threads=threads)


async def test_a_stream_gives_the_engines_steps(runner: StreamRunner) -> None:
    """Steps arrive in order, equal to the engine's own, with the prompt's length for metering."""
    stream = runner.start(PROMPT, Sampling(max_tokens=10), deadline=1.0)
    direct = engine("tiny").stream(PROMPT, Sampling(max_tokens=10))
    assert stream.prompt_tokens == direct.prompt_tokens == 5
    assert [step async for step in stream.steps] == list(direct.steps)
    assert runner.running == 0


async def test_a_stream_beyond_the_places_is_refused(runner: StreamRunner) -> None:
    """A third stream is refused while two run, and accepted when one has left."""
    streams = [runner.start(PROMPT, ENDLESS, deadline=1.0) for _ in range(3)]
    for stream in streams[:2]:
        await anext(stream.steps)
    with pytest.raises(NotRun) as at_start:
        runner.start(PROMPT, ENDLESS, deadline=1.0)
    with pytest.raises(NotRun) as at_first_step:
        await anext(streams[2].steps)
    assert at_start.value.reason is at_first_step.value.reason is Reason.WORKER_OVERLOADED
    await streams[0].steps.aclose()
    assert runner.running == 1
    later = runner.start(PROMPT, ENDLESS, deadline=1.0)
    await anext(later.steps)
    await later.steps.aclose()
    await streams[1].steps.aclose()
    assert runner.running == 0


async def test_a_stream_ends_at_its_deadline(runner: StreamRunner, clock: list[float]) -> None:
    """Steps made before the deadline are given; then the stream ends by name."""
    stream = runner.start(PROMPT, ENDLESS, deadline=1.0)
    await anext(stream.steps)
    clock[0] = 1.0
    with pytest.raises(NotRun) as caught:
        await anext(stream.steps)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert runner.running == 0


async def test_inputs_are_refused_before_a_place_is_taken(runner: StreamRunner) -> None:
    """A prompt that cannot be read costs nothing."""
    with pytest.raises(EngineError):
        runner.start({}, ENDLESS, deadline=1.0)
    assert runner.running == 0
