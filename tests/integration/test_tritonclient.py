# SPDX-License-Identifier: Apache-2.0
"""A client nobody here wrote: tritonclient, synchronous and aio, from an environment of its own, through the gateway.

Answers are compared bit for bit with the engine run in the test's own process, on the batch the worker ran.
"""

import hashlib
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sealbid_oip.codec import Array
from sealbid_oip.generation import Sampling, TokenStep

from enclave.engines.interface import Engine
from enclave.models import magika
from enclave.models.catalog import find_model, open_engine
from enclave.models.onnxfile import FLOAT, Graph, Node, Value, serialize
from sealbid.demo.deployment import ModelPlan, Plan, WorkerPlan
from tests.support.e2e import POLICY, model_plans, prompt, started
from tests.support.foreign import (
    OURS,
    ForeignClient,
    TunedDeployment,
    array_of_output,
    foreign_python,
    foreign_request,
    steps,
    text_of_output,
)
from tests.support.tree import ROOT

pytestmark = pytest.mark.net

MODELS = ("add-one", "magika", "tiny")
RUNNING_SUM = "running-sum"
BATCH_ROWS = 8
ROWS_EACH = 2
FILES = ("README.md", "LICENSE", "pyproject.toml", "gateway/flow.py", "proto/sealbid/market/v1/market.proto")
PROMPT = b"a client nobody here wrote"
NOWHERE = "nothing-of-the-kind"


def running_sum_model() -> bytes:
    """Each row is the sum of all rows of the batch up to it, so an answer tells which batch it came from."""
    node = Node(operator="CumSum", inputs=("x", "axis"), outputs=("y",))
    shape = ("rows", "n")
    x, y = (Value(name=name, element_type=FLOAT, shape=shape) for name in ("x", "y"))
    weights = (("axis", np.array(0, np.int64)),)
    return serialize(Graph(name=RUNNING_SUM, nodes=(node,), inputs=(x,), outputs=(y,), weights=weights))


@pytest.fixture(scope="module")
def running_sum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model whose answers depend on their batch."""
    path = tmp_path_factory.mktemp("model") / f"{RUNNING_SUM}.onnx"
    path.write_bytes(running_sum_model())
    return path


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, running_sum: Path) -> Iterator[TunedDeployment]:
    """One worker serving every model of this file; the running sum waits a second for company."""
    foreign_python()
    digest = hashlib.sha256(running_sum.read_bytes()).hexdigest()
    models = model_plans(*MODELS) | {RUNNING_SUM: ModelPlan(source=f"onnx:{running_sum}", engine_sha256=digest)}
    worker = WorkerPlan(name="alder", ask_nanos=500, slots=64, models=tuple(models))
    deployment = TunedDeployment(
        tmp_path_factory.mktemp("triton"), Plan(models=models, workers=[worker], policy=POLICY), launcher="sealbid"
    )
    deployment.model_settings = {RUNNING_SUM: f"max_batch_size = {BATCH_ROWS}, max_delay_milliseconds = 1000"}
    with started(deployment):
        yield deployment


@pytest.fixture(scope="module", params=["sync", "aio"])
def client(request: pytest.FixtureRequest, deployment: TunedDeployment) -> ForeignClient:
    """tritonclient in both of its forms."""
    return ForeignClient(gateway=deployment.gateway, key=deployment.key("acme"), client=request.param)


@pytest.fixture(scope="module")
def engines(running_sum: Path) -> Iterator[dict[str, Engine]]:
    """The same models, run right here."""
    references = {name: name for name in MODELS} | {RUNNING_SUM: f"onnx:{running_sum}"}
    opened = {
        name: open_engine(
            find_model(reference, name=name, max_batch_size=BATCH_ROWS if name == RUNNING_SUM else None),
            threads=1,
            entropy=bytes,
        )
        for name, reference in references.items()
    }
    yield opened
    for engine in opened.values():
        engine.close()


def rows(seed: int, count: int = 1, columns: int = 33) -> Array:
    """Numbers of every size and sign, none of them round."""
    numbers = np.random.default_rng(seed)
    return (numbers.standard_normal((count, columns)) * 10.0 ** numbers.integers(-6, 7, (count, columns))).astype(
        np.float32
    )


def same(got: Array, want: Array) -> bool:
    """Equal in shape, type and every bit."""
    return got.shape == want.shape and got.dtype == want.dtype and got.tobytes() == want.tobytes()


def test_the_client_holds_nothing_of_ours(client: ForeignClient) -> None:
    """No package of Sealbid can be imported where the client runs."""
    assert client.take({"modules": [*OURS, "tritonclient"]}) == [["tritonclient"]]


def test_the_server_and_its_models_are_ready(client: ForeignClient) -> None:
    """Liveness and readiness as Triton's clients ask for them; an unknown model is not ready, and not an error."""
    ready = client.take(
        {"call": "is_server_live"},
        {"call": "is_server_ready"},
        *({"call": "is_model_ready", "arguments": {"model_name": name}} for name in (*MODELS, RUNNING_SUM)),
        {"call": "is_model_ready", "arguments": {"model_name": "magika", "model_version": "1"}},
    )
    assert ready == [True] * len(ready)
    never = client.take(
        {"call": "is_model_ready", "arguments": {"model_name": NOWHERE}},
        {"call": "is_model_ready", "arguments": {"model_name": "magika", "model_version": "2"}},
    )
    assert never == [False, False]


def test_metadata_of_the_server_says_simulated(client: ForeignClient) -> None:
    """The server names itself, its profile and the extensions it serves."""
    found = client.call("get_server_metadata", as_json=True)
    assert found["name"] == "sealbid (SIMULATED)"
    assert {"statistics", "model_repository"} <= {name.partition("(")[0] for name in found["extensions"]}


def test_metadata_and_configuration_of_a_model(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """Names, types, shapes, batch size and labels are those of the engine."""
    spec = engines["magika"].describe()
    metadata, configured = client.take(
        {"call": "get_model_metadata", "arguments": {"model_name": "magika", "as_json": True}},
        {"call": "get_model_config", "arguments": {"model_name": "magika", "as_json": True}},
    )
    assert (metadata["name"], metadata["versions"]) == ("magika", ["1"])
    assert metadata["inputs"] == [{"name": "bytes", "datatype": "INT32", "shape": ["-1", "2048"]}]
    assert [output["name"] for output in metadata["outputs"]] == [tensor.name for tensor in spec.outputs]
    config = configured["config"]
    assert config["max_batch_size"] == spec.max_batch_size
    assert config["input"][0]["dims"] == ["2048"]
    assert tuple(config["parameters"]["labels"]["string_value"].split("\n")) == spec.labels
    tiny = client.call("get_model_config", model_name="tiny", as_json=True)["config"]
    assert tiny["model_transaction_policy"] == {"decoupled": True}


def test_the_repository_lists_every_model(client: ForeignClient) -> None:
    """The index has every configured model and that it is ready."""
    found = client.call("get_model_repository_index", as_json=True)
    states = {model["name"]: model["state"] for model in found["models"]}
    assert states == dict.fromkeys((*MODELS, RUNNING_SUM), "READY")


def test_statistics_count_what_was_answered(client: ForeignClient) -> None:
    """Two answers more are two inferences more, in Triton's own statistics."""
    ask = {"call": "get_inference_statistics", "arguments": {"model_name": "add-one", "as_json": True}}
    request = {"infer": foreign_request("add-one", {"x": rows(1)})}
    before, *_, after = client.take(ask, request, request, ask)
    counts = [int(found["model_stats"][0].get("inference_count", 0)) for found in (before, after)]
    assert counts[1] - counts[0] == 2


def test_add_one_answers_are_the_engines(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """Single rows, many rows and large rows come back with every bit as the engine computes it."""
    inputs = [rows(2), rows(3, count=16), rows(4, columns=300_000)]
    answers = client.take(*steps("infer", [foreign_request("add-one", {"x": x}, id=f"n{len(x)}") for x in inputs]))
    for x, answer in zip(inputs, answers, strict=True):
        assert same(array_of_output(answer, "y"), engines["add-one"].run({"x": x})["y"])
        assert (answer["model"], answer["id"]) == ("add-one", f"n{len(x)}")


def test_magika_answers_on_real_files_are_the_engines(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """Files of this checkout, alone and as one batch of several rows, get the engine's own bits and a receipt each."""
    features = [magika.features((ROOT / name).read_bytes())[np.newaxis] for name in FILES]
    inputs = [*features, np.concatenate(features)]
    answers = client.take(*steps("infer", [foreign_request("magika", {magika.INPUT: x}) for x in inputs]))
    for x, answer in zip(inputs, answers, strict=True):
        want = engines["magika"].run({magika.INPUT: x})[magika.OUTPUT]
        assert same(array_of_output(answer, magika.OUTPUT), want)
        assert answer["parameters"]["sealbid-profile"] == "SIMULATED"
    labels = engines["magika"].describe().labels
    alone = [array_of_output(answer, magika.OUTPUT)[0] for answer in answers[: len(FILES)]]
    found = [magika.best_label(row, labels)[0] for row in alone]
    assert found == ["markdown", "txt", "toml", "python", "proto"]
    assert len({answer["parameters"]["sealbid-receipt"] for answer in answers}) == len(answers)


def test_a_single_named_output_is_given(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """A client that names the output it wants gets that one."""
    x = rows(5)
    (answer,) = client.take({"infer": foreign_request("add-one", {"x": x}, outputs=["y"])})
    assert list(answer["outputs"]) == ["y"]
    assert same(array_of_output(answer, "y"), engines["add-one"].run({"x": x})["y"])


def test_requests_the_worker_batched_are_the_engine_run_on_that_batch(
    client: ForeignClient, engines: dict[str, Engine]
) -> None:
    """Requests sent together fill one batch; their answers are the rows of one engine run on exactly these rows.

    The model adds each row to those before it in the batch, so an answer that was computed alone, or in a batch of
    others, has other bits: exactly one order of the requests can explain all answers.
    """
    inputs = [rows(10 + index, count=ROWS_EACH) for index in range(BATCH_ROWS // ROWS_EACH)]
    (answers,) = client.take({"together": [foreign_request(RUNNING_SUM, {"x": x}) for x in inputs]})
    got = [array_of_output(answer, "y") for answer in answers]
    explaining = []
    for order in permutations(range(len(inputs))):
        batch = engines[RUNNING_SUM].run({"x": np.concatenate([inputs[index] for index in order])})["y"]
        parts = np.split(batch, len(inputs))
        if all(same(got[index], part) for index, part in zip(order, parts, strict=True)):
            explaining.append(order)
    assert len(explaining) == 1


def test_many_requests_at_once_get_their_own_answers(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """However they are batched, each of many concurrent requests gets its own rows back."""
    inputs = [rows(100 + index, count=1 + index % 3) for index in range(24)]
    (answers,) = client.take({"together": [foreign_request("add-one", {"x": x}) for x in inputs]})
    for x, answer in zip(inputs, answers, strict=True):
        assert same(array_of_output(answer, "y"), engines["add-one"].run({"x": x})["y"])


def test_errors_are_statuses_a_client_can_act_on(client: ForeignClient) -> None:
    """Unknown model, unknown version, missing tensor and wrong shape are named, with the field."""
    x = rows(6)
    results = client.take(
        {"infer": foreign_request(NOWHERE, {"x": x})},
        {"infer": foreign_request("add-one", {"x": x}, version="7")},
        {"infer": foreign_request("add-one", {"z": x})},
        {"infer": foreign_request("add-one", {"x": x[0]})},
        {"call": "get_model_metadata", "arguments": {"model_name": NOWHERE}},
    )
    assert [result["status"].rpartition(".")[2] for result in results] == [
        "NOT_FOUND",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
    ]
    fields = ("model_name is ", "model_version is ", "inputs[0].name is ", "input x shape is ", "model_name is ")
    for result, field in zip(results, fields, strict=True):
        assert result["error"].startswith(field)
        assert NOWHERE not in result["error"]


def test_a_wrong_key_is_unauthenticated(deployment: TunedDeployment, client: ForeignClient) -> None:
    """A client with a key of nobody is told so, and its key is not repeated."""
    stranger = ForeignClient(gateway=deployment.gateway, key="sbk_" + "x" * 43, client=client.client)
    (result,) = stranger.take({"infer": foreign_request("add-one", {"x": rows(7)})})
    assert result["status"].endswith("UNAUTHENTICATED")
    assert "xxx" not in result["error"]


def generation(text: bytes, **parameters: object) -> dict[str, Any]:
    """A request to generate."""
    return foreign_request("tiny", {"prompt": prompt(text)}, parameters=parameters, id=text.hex()[:16])


def made_by(engine: Engine, text: bytes, **sampling: Any) -> list[TokenStep]:
    """The steps the engine makes here."""
    return list(engine.stream({"prompt": prompt(text)}, Sampling(**sampling)).steps)


def check_steps(answers: list[dict[str, Any]], want: list[TokenStep]) -> None:
    """Token, text, log-probability, offset and end of each step are the engine's."""
    assert len(answers) == len(want)
    for answer, step in zip(answers, want, strict=True):
        assert "error" not in answer
        assert same(array_of_output(answer, "token_id"), np.array([step.token], np.int32))
        assert same(array_of_output(answer, "logprob"), np.array([step.logprob], np.float32))
        assert same(array_of_output(answer, "token_offset"), np.array([step.offset], np.int32))
        assert text_of_output(answer, "text") == step.text
        assert answer["parameters"]["triton_final_response"] is step.final
        assert answer["parameters"].get("finish_reason", "") == step.finish_reason
    assert [answer["parameters"]["triton_final_response"] for answer in answers][-1] is True
    assert len({answer["parameters"]["sealbid-receipt"] for answer in answers}) == 1


@pytest.mark.parametrize(
    "sampling",
    [
        {"max_tokens": 48, "stop_token": -1},
        {"max_tokens": 4096, "temperature": 1.0, "seed": 1},
        {"max_tokens": 48, "temperature": 0.9, "seed": 7, "stop_token": -1},
        {"max_tokens": 48, "temperature": 1.5, "top_k": 5, "seed": 2**62 + 1},
    ],
    ids=["greedy", "seeded to its own end", "seeded", "seeded among five"],
)
def test_a_stream_is_the_engines_own(
    client: ForeignClient, engines: dict[str, Engine], sampling: dict[str, Any]
) -> None:
    """Tokens, log-probabilities and text of greedy and seeded generations are those of the engine, to the last bit."""
    (answers,) = client.take({"stream": [generation(PROMPT, **sampling)]})
    check_steps(answers, made_by(engines["tiny"], PROMPT, **sampling))


def test_two_requests_share_a_stream_and_a_bad_one_does_not_end_it(
    client: ForeignClient, engines: dict[str, Engine]
) -> None:
    """The answers come in order; the request between them is refused in its place, by name."""
    sampling = {"max_tokens": 12, "stop_token": -1}
    bad = foreign_request("tiny", {"prompt": prompt(b"bad")}, parameters={"max_tokens": 0})
    (answers,) = client.take({"stream": [generation(b"one", **sampling), bad, generation(b"two", **sampling)]})
    check_steps(answers[:12], made_by(engines["tiny"], b"one", **sampling))
    check_steps(answers[13:], made_by(engines["tiny"], b"two", **sampling))
    assert answers[12]["error"].startswith("PARAMETER_INVALID: parameters.max_tokens is ")


def test_a_bad_request_of_a_stream_carries_its_reason(client: ForeignClient, engines: dict[str, Engine]) -> None:
    """In the messages themselves a refusal has the id of its request and the parameter sealbid-reason."""
    sampling = {"max_tokens": 6, "stop_token": -1}
    bad = foreign_request(NOWHERE, {"prompt": prompt(b"bad")}, id="the bad one")
    (answers,) = client.take({"raw_stream": [generation(b"one", **sampling), bad, generation(b"two", **sampling)]})
    refused = answers.pop(6)
    assert refused["error"].startswith("MODEL_UNKNOWN: model_name is unknown")
    assert refused["parameters"]["sealbid-reason"] == "MODEL_UNKNOWN"
    assert refused["id"] == "the bad one"
    for answer in answers:
        assert answer.pop("error") == ""
    check_steps(answers[:6], made_by(engines["tiny"], b"one", **sampling))
    check_steps(answers[6:], made_by(engines["tiny"], b"two", **sampling))
