# SPDX-License-Identifier: Apache-2.0
"""What linked workers serve, as far as they were attested with it."""

import dataclasses

import pytest
from sealbid_oip.messages import ModelConfigResponse
from sealbid_oip.spec import ModelSpec, TensorSpec, model_config

from attestation.errors import Malformed
from gateway.dispatch.catalog import MAX_DESCRIPTION_BYTES, ServedModel, ServedModels, read_model

ENGINE, OTHER = bytes(31) + b"\x01", bytes(31) + b"\x02"
SPEC = ModelSpec(
    name="add-one",
    platform="onnxruntime_onnx",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)),),
    max_batch_size=16,
    decoupled=False,
    versions=("1",),
    labels=(),
)
CONFIG = ModelConfigResponse(config=model_config(SPEC)).SerializeToString()


def served(engine: bytes = ENGINE, spec: ModelSpec = SPEC) -> ServedModel:
    """One model of a worker."""
    return ServedModel(name=spec.name, engine_sha256=engine, spec=spec, streams=spec.decoupled)


def test_a_description_is_read_back() -> None:
    """What a worker's hello says of a model becomes the interface requests are checked against."""
    assert read_model(name="add-one", engine_sha256=ENGINE, config=CONFIG, streams=False) == served()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"streams": True},
        {"engine_sha256": b"short"},
        {"config": b"\xff"},
        {"config": b""},
        {"config": bytes(MAX_DESCRIPTION_BYTES + 1)},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    """Name, kind and digest must fit the configuration, which must parse."""
    given: dict[str, object] = {"name": "add-one", "engine_sha256": ENGINE, "config": CONFIG, "streams": False}
    with pytest.raises(Malformed):
        read_model(**(given | change))  # type: ignore[arg-type]


def test_only_attested_engines_are_described() -> None:
    """A worker's word about an engine it was not attested with is left out."""
    models = ServedModels()
    models.replace(b"one", [served(ENGINE), served(OTHER)], engines={ENGINE})
    assert models.spec_of(ENGINE) == SPEC
    assert models.spec_of(OTHER) is None
    assert [model.engine_sha256 for model in models.of(b"one")] == [ENGINE]


def test_the_first_word_holds_while_its_worker_is_linked() -> None:
    """A later worker cannot change the interface of an engine others serve; when the first leaves, it counts."""
    wider = dataclasses.replace(SPEC, max_batch_size=64)
    models = ServedModels()
    models.replace(b"one", [served()], engines={ENGINE})
    models.replace(b"two", [served(spec=wider)], engines={ENGINE})
    assert models.spec_of(ENGINE) == SPEC
    models.remove(b"one")
    assert models.spec_of(ENGINE) == wider
    models.remove(b"two")
    assert models.spec_of(ENGINE) is None


def test_a_description_may_come_before_the_binding_that_names_its_engine() -> None:
    """Once the worker is attested with the engine, what it said before counts."""
    models = ServedModels()
    models.replace(b"one", [served(OTHER)], engines={ENGINE})
    assert models.spec_of(OTHER) is None
    models.attest(b"one", {ENGINE, OTHER})
    assert models.spec_of(OTHER) == SPEC
