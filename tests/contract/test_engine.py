# SPDX-License-Identifier: Apache-2.0
"""What every engine owes its caller, run against each one."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from sealbid_oip.codec import Arrays, datatype_of
from sealbid_oip.generation import Sampling, TokenStep

from attestation.errors import Reason
from enclave.engines.generative import GenerativeEngine
from enclave.engines.interface import Cancellation, Engine, EngineCancelled, EngineError
from enclave.engines.onnxruntime import ONNXRuntimeEngine
from enclave.models import magika
from enclave.models.catalog import find_model
from enclave.models.tiny import tiny_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One engine: how to make it unloaded, its model, and an acceptable input."""

    make: Callable[[], Engine]
    model: bytes
    inputs: Arrays


def cases() -> dict[str, Case]:
    source = find_model("magika")
    return {
        "onnxruntime": Case(
            make=lambda: ONNXRuntimeEngine(name="magika", max_batch_size=8),
            model=source.model,
            inputs={"bytes": np.stack([magika.features(b"#!/bin/sh\nexit 0\n"), magika.features(b"{}")])},
        ),
        "onnxruntime, many threads": Case(
            make=lambda: ONNXRuntimeEngine(name="magika", threads=2),
            model=source.model,
            inputs={"bytes": magika.features(b"import os\n")[np.newaxis]},
        ),
        "generative": Case(
            make=lambda: GenerativeEngine(graph=ONNXRuntimeEngine(name="tiny"), name="tiny", entropy=bytes),
            model=tiny_model(),
            inputs={"prompt": np.array([b"Hello"], np.object_)},
        ),
    }


CASES = cases()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every engine in turn."""
    return CASES[request.param]


@pytest.fixture
def loaded(case: Case) -> Engine:
    """The engine with its model."""
    engine = case.make()
    engine.load(case.model, hashlib.sha256(case.model).digest())
    return engine


def answer(engine: Engine, inputs: Arrays, cancellation: Cancellation | None = None) -> list[bytes] | list[TokenStep]:
    """Everything an engine answers, by whichever of the two calls it serves."""
    if engine.describe().decoupled:
        return list(engine.stream(inputs, Sampling(max_tokens=20), cancellation=cancellation).steps)
    return [array.tobytes() for array in engine.run(inputs, cancellation=cancellation).values()]


def test_an_engine_refuses_another_digest(case: Case) -> None:
    """The digest is checked first; a flipped bit in either is refused, and nothing can be run after."""
    engine = case.make()
    digest = hashlib.sha256(case.model).digest()
    for model, expected in ((case.model, bytes([digest[0] ^ 1]) + digest[1:]), (case.model[:-1], digest)):
        with pytest.raises(EngineError) as caught:
            engine.load(model, expected)
        assert caught.value.reason is Reason.ENGINE_REFUSED


def test_an_engine_says_what_it_loaded(case: Case, loaded: Engine) -> None:
    """`digest` is the SHA-256 that attestation commits to."""
    assert loaded.digest == hashlib.sha256(case.model).digest()


def test_an_engine_answers_what_it_describes(case: Case, loaded: Engine) -> None:
    """Names and element types of the answer are the described ones; the inputs used are described too."""
    spec = loaded.describe()
    assert set(case.inputs) <= {tensor.name for tensor in spec.inputs}
    if not spec.decoupled:
        outputs = loaded.run(case.inputs)
        assert {name: datatype_of(array) for name, array in outputs.items()} == {
            tensor.name: tensor.datatype for tensor in spec.outputs
        }


def test_an_engine_repeats_itself(case: Case, loaded: Engine) -> None:
    """The same input gives the same bits, in this engine and in another with the same model."""
    other = case.make()
    other.load(case.model, hashlib.sha256(case.model).digest())
    assert answer(loaded, case.inputs) == answer(loaded, case.inputs) == answer(other, case.inputs)


def test_an_engine_serves_several_threads(case: Case, loaded: Engine) -> None:
    """Concurrent calls get the answers they would get alone."""
    alone = answer(loaded, case.inputs)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: answer(loaded, case.inputs), range(8))) == [alone] * 8


def test_an_engine_refuses_the_call_it_does_not_serve(case: Case, loaded: Engine) -> None:
    """`describe().decoupled` says which of run and stream is served; the other is UNSUPPORTED."""
    calls: dict[bool, Callable[[], object]] = {
        True: lambda: loaded.run(case.inputs),
        False: lambda: loaded.stream(case.inputs, Sampling()),
    }
    with pytest.raises(EngineError) as caught:
        calls[loaded.describe().decoupled]()
    assert caught.value.reason is Reason.UNSUPPORTED


def test_an_engine_stops_for_a_caller_that_has_gone(case: Case, loaded: Engine) -> None:
    """A switch turned before the call ends it before anything is computed."""
    switch = Cancellation()
    switch.cancel()
    with pytest.raises(EngineCancelled):
        answer(loaded, case.inputs, switch)


def test_a_failure_is_an_engine_error(loaded: Engine) -> None:
    """Inputs the model cannot take are refused by name, whatever the engine's own exceptions are."""
    with pytest.raises(EngineError):
        answer(loaded, {"nothing of the kind": np.zeros(1, np.float32)})


def test_a_closed_engine_runs_nothing(case: Case, loaded: Engine) -> None:
    """Closing may be repeated, and every call after it is refused."""
    loaded.close()
    loaded.close()
    with pytest.raises(EngineError, match="engine is closed"):
        answer(loaded, case.inputs)
