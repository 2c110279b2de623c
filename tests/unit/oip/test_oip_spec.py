# SPDX-License-Identifier: Apache-2.0
"""A model's interface and its two forms on the wire."""

import pytest
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import ModelConfig
from sealbid_oip.spec import ModelSpec, model_config, model_metadata, spec_from_config

from tests.support.models import everything, tensor

BATCHED = ModelSpec(
    name="m",
    platform="onnxruntime_onnx",
    inputs=(tensor("x", "FP32", -1, 3), tensor("y", "BYTES", 1, optional=True)),
    outputs=(tensor("z", "INT64", 2),),
    max_batch_size=8,
    versions=("1", "2"),
    labels=("cat", "dog"),
)


def test_metadata_shows_the_batch_dimension() -> None:
    """Metadata spells shapes as requests do, the configuration without the batch."""
    metadata = model_metadata(BATCHED)
    assert [list(tensor.shape) for tensor in metadata.inputs] == [[-1, -1, 3], [-1, 1]]
    assert (metadata.name, metadata.platform, list(metadata.versions)) == ("m", "onnxruntime_onnx", ["1", "2"])
    assert [list(tensor.dims) for tensor in model_config(BATCHED).input] == [[-1, 3], [1]]


def test_configuration_says_what_load_generators_ask() -> None:
    """Batching, decoupling, backend and caching are stated, so that perf_analyzer can choose how to load."""
    config = model_config(BATCHED)
    assert (config.max_batch_size, config.backend, config.response_cache.enable) == (8, "onnxruntime", False)
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert not config.model_transaction_policy.decoupled
    assert config.input[1].optional
    assert model_config(everything()).WhichOneof("scheduling_choice") is None


@pytest.mark.parametrize("spec", [BATCHED, everything()])
def test_configuration_holds_the_whole_interface(spec: ModelSpec) -> None:
    """Reading a configuration gives back the specification it was made from."""
    assert spec_from_config(ModelConfig.FromString(model_config(spec).SerializeToString())) == spec


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "name", ""),
        lambda c: setattr(c, "max_batch_size", -1),
        lambda c: c.ClearField("version_policy"),
        lambda c: setattr(c.input[0], "name", "n" * 257),
        lambda c: setattr(c.input[0], "data_type", 0),
        lambda c: setattr(c.input[0], "data_type", 99),
        lambda c: c.input[0].dims.append(-2),
        lambda c: c.input[0].dims.extend([1] * 8),
        lambda c: c.input.append(c.input[0]),
        lambda c: [c.output.add(name=str(i), data_type=1) for i in range(70)],
    ],
)
def test_a_configuration_no_model_of_ours_can_have_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    """Names, types, shapes and counts out of range are malformed."""
    config = model_config(BATCHED)
    change(config)
    with pytest.raises(OIPError) as caught:
        spec_from_config(config)
    assert caught.value.reason is OIPReason.MALFORMED
