# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime engine: digest first, CPU only, silent, and errors without tensors."""

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from attestation.errors import Reason
from enclave.engines.interface import Cancellation, EngineCancelled, EngineError
from enclave.engines.onnxruntime import PROVIDERS, ONNXRuntimeEngine
from enclave.models.onnxfile import FLOAT, INT64, Graph, Node, Value, serialize
from enclave.models.tiny import add_one_model
from tests.support.models import engine
from tests.support.tree import ROOT, tracked

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter without the variable."""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def one_node(operator: str, *inputs: Value, outputs: tuple[Value, ...]) -> bytes:
    """A graph of a single operator."""
    node = Node(operator=operator, inputs=tuple(v.name for v in inputs), outputs=tuple(v.name for v in outputs))
    return serialize(Graph(name="g", nodes=(node,), inputs=inputs, outputs=outputs))


def loaded(model: bytes, *, max_batch_size: int = 0) -> ONNXRuntimeEngine:
    """An engine with a model of any bytes."""
    made = ONNXRuntimeEngine(name="m", max_batch_size=max_batch_size)
    made.load(model, hashlib.sha256(model).digest())
    return made


def test_telemetry_is_off_before_the_library_is_loaded() -> None:
    """Importing the engine puts the variable in place first, whatever the environment says."""
    program = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import enclave.engines.onnxruntime\n"
    )
    done = python(program)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_a_process_with_telemetry_on_is_refused() -> None:
    """Where something else has loaded the library without the variable, the engine does not start."""
    done = python(
        "import sys, types\nsys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
        "import enclave.engines.onnxruntime\n"
    )
    assert done.returncode == 1
    assert "onnxruntime is loaded with its telemetry on" in done.stderr


def test_only_the_engine_loads_the_library() -> None:
    """No other module of the product imports onnxruntime, or magika, which imports it."""
    importers = [
        str(path)
        for path in tracked("attestation/*.py", "enclave/*.py", "gateway/*.py", "sealbid/*.py", "proto/*.py")
        for line in (ROOT / path).read_text().splitlines()
        if line.strip().startswith(("import onnxruntime", "from onnxruntime", "import magika", "from magika"))
    ]
    assert set(importers) == {"enclave/engines/onnxruntime.py"}


def test_the_digest_is_checked_before_the_model_is_parsed() -> None:
    """Bytes of another digest are refused even when they are no model at all, and nothing is loaded."""
    made = ONNXRuntimeEngine(name="m")
    for model in (b"not a model", add_one_model()):
        with pytest.raises(EngineError, match="model digest is sha256:") as caught:
            made.load(model, bytes(32))
        assert caught.value.reason is Reason.ENGINE_REFUSED
    with pytest.raises(EngineError, match="engine is closed"):
        made.describe()


def test_bytes_that_are_no_model_are_refused() -> None:
    """Garbage with the right digest is the model owner's fault, by name."""
    with pytest.raises(EngineError) as caught:
        loaded(b"garbage")
    assert caught.value.reason is Reason.ENGINE_REFUSED


def test_only_the_cpu_is_used() -> None:
    """The wheel's other provider speaks to a cloud; it is never in the list."""
    assert PROVIDERS == ("CPUExecutionProvider",)
    made = loaded(add_one_model())
    assert made._session is not None
    assert made._session.get_providers() == ["CPUExecutionProvider"]


def test_a_batch_needs_a_free_first_dimension() -> None:
    """A model with fixed rows cannot be told to batch."""
    fixed = Value(name="x", element_type=FLOAT, shape=(1, "n")), Value(name="y", element_type=FLOAT, shape=(1, "n"))
    model = one_node("Identity", fixed[0], outputs=(fixed[1],))
    assert loaded(model).describe().inputs[0].shape == (1, -1)
    with pytest.raises(EngineError, match="want a free first dimension") as caught:
        loaded(model, max_batch_size=2)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_an_element_type_the_protocol_lacks_is_refused() -> None:
    """BF16 has no numpy form, so a model that speaks it is not served here."""
    bfloat16 = 16
    values = (Value(name="x", element_type=bfloat16, shape=("n",)), Value(name="y", element_type=FLOAT, shape=("n",)))
    node = Node(operator="Cast", inputs=("x",), outputs=("y",), integers=(("to", FLOAT),))
    model = serialize(Graph(name="g", nodes=(node,), inputs=values[:1], outputs=values[1:]))
    with pytest.raises(EngineError, match="tensor x is ") as caught:
        loaded(model)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_text_goes_in_and_out_as_bytes() -> None:
    """BYTES tensors hold UTF-8 for this engine; other bytes are refused without repeating them."""
    text = 8
    values = (Value(name="x", element_type=text, shape=("n",)), Value(name="y", element_type=text, shape=("n",)))
    made = loaded(one_node("Identity", values[0], outputs=(values[1],)))
    assert made.describe().inputs[0].datatype == "BYTES"
    given = np.array(["é".encode(), b""], np.object_)
    assert made.run({"x": given})["y"].tolist() == given.tolist()
    with pytest.raises(EngineError) as caught:
        made.run({"x": np.array([b"\xff\xfe"], np.object_)})
    assert caught.value.reason is Reason.TENSOR_DATATYPE


def test_a_failed_run_names_its_kind_and_no_element() -> None:
    """The text of a failure holds no tensor and no shape, and the library's own exception is not chained to it."""
    values = (
        Value(name="x", element_type=INT64, shape=("n",)),
        Value(name="i", element_type=INT64, shape=("m",)),
        Value(name="y", element_type=INT64, shape=("m",)),
    )
    made = loaded(one_node("Gather", *values[:2], outputs=values[2:]))
    with pytest.raises(EngineError) as caught:
        made.run({"x": np.array([1], np.int64), "i": np.array([987654321], np.int64)})
    assert caught.value.reason is Reason.ENGINE_FAILED
    assert "987654321" not in caught.value.message
    assert caught.value.__suppress_context__


def test_numbers_that_are_no_numbers_pass_unchanged() -> None:
    """NaN, infinity and negative zero come back bit for bit."""
    rows = np.array([[np.nan, -np.nan, np.inf, -np.inf, -0.0]], np.float32)
    assert engine("identity").run({"x": rows})["y"].tobytes() == rows.tobytes()


def test_a_run_is_stopped_from_another_thread() -> None:
    """Turning the switch ends a run that would go on, and the caller learns that it was stopped."""
    # A chain of products of large matrices: seconds of work on any processor.
    size, steps = 600, 400
    names = ["x", *(f"v{i}" for i in range(steps))]
    nodes = tuple(Node(operator="MatMul", inputs=(names[i], "x"), outputs=(names[i + 1],)) for i in range(steps))
    shape = (size, size)
    graph = Graph(
        name="long",
        nodes=nodes,
        inputs=(Value(name="x", element_type=FLOAT, shape=shape),),
        outputs=(Value(name=names[-1], element_type=FLOAT, shape=shape),),
    )
    made, switch = loaded(serialize(graph)), Cancellation()
    timer = threading.Timer(0.05, switch.cancel)
    timer.start()
    try:
        with pytest.raises(EngineCancelled):
            made.run({"x": np.zeros(shape, np.float32)}, cancellation=switch)
    finally:
        timer.cancel()


def test_a_switch_turned_before_the_run_stops_it() -> None:
    """A caller that has gone already costs no run; telling it twice tells its listeners once."""
    switch, told = Cancellation(), []
    switch.on_cancel(lambda: told.append(1))
    switch.cancel()
    switch.cancel()
    switch.on_cancel(lambda: told.append(2))
    with pytest.raises(EngineCancelled):
        engine("identity").run({"x": np.zeros((1, 1), np.float32)}, cancellation=switch)
    assert told == [1, 2]
