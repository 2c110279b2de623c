# SPDX-License-Identifier: Apache-2.0
"""What a model takes and gives, as a value, and its two forms on the wire: model metadata and model configuration.

`ModelSpec` is what engines describe, gateways check requests against and clients read. Metadata shows shapes with the
batch dimension (-1), as Triton does; the configuration shows them without it and holds every field, so
`spec_from_config` is the inverse of `model_config`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from sealbid_oip.datatypes import BY_CONFIG, DATATYPES
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import DataType, ModelConfig, ModelInput, ModelMetadataResponse, ModelOutput

MAX_TENSORS = 64
MAX_RANK = 8
MAX_NAME = 256
MAX_DIMENSION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output; the shape excludes the batch dimension, and -1 leaves a dimension to the request."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model's interface; `max_batch_size` 0 means that it has no batch dimension, `decoupled` that it streams."""

    name: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0
    decoupled: bool = False
    versions: tuple[str, ...] = ("1",)
    labels: tuple[str, ...] = ()

    def full_shape(self, tensor: TensorSpec) -> tuple[int, ...]:
        """The tensor's shape as requests spell it: with the batch dimension where there is one."""
        return (-1, *tensor.shape) if self.max_batch_size else tensor.shape


def model_metadata(spec: ModelSpec) -> ModelMetadataResponse:
    """The answer to ModelMetadata."""
    response = ModelMetadataResponse(name=spec.name, versions=spec.versions, platform=spec.platform)
    for tensors, target in ((spec.inputs, response.inputs), (spec.outputs, response.outputs)):
        for tensor in tensors:
            target.add(name=tensor.name, datatype=tensor.datatype, shape=spec.full_shape(tensor))
    return response


def model_config(spec: ModelSpec) -> ModelConfig:
    """The answer to ModelConfig."""
    config = ModelConfig(name=spec.name, platform=spec.platform, backend=spec.platform.partition("_")[0])
    config.max_batch_size = spec.max_batch_size
    config.version_policy.specific.versions.extend(int(version) for version in spec.versions)
    config.model_transaction_policy.decoupled = spec.decoupled
    config.response_cache.enable = False
    config.instance_group.add(name="worker", count=1)
    if spec.max_batch_size:
        config.dynamic_batching.SetInParent()
    for tensor in spec.inputs:
        config.input.add(
            name=tensor.name,
            data_type=_config_type(tensor),
            dims=tensor.shape,
            optional=tensor.optional,
        )
    for tensor in spec.outputs:
        config.output.add(name=tensor.name, data_type=_config_type(tensor), dims=tensor.shape)
    if spec.labels:
        config.parameters["labels"].string_value = "\n".join(spec.labels)
    return config


def _config_type(tensor: TensorSpec) -> "DataType.ValueType":
    return cast("DataType.ValueType", DATATYPES[tensor.datatype].config)


def spec_from_config(config: ModelConfig) -> ModelSpec:
    """Read a model configuration made by `model_config`.

    Raises:
        OIPError: MALFORMED, when a name, type, shape or count is outside what a model of ours can have.
    """
    versions = tuple(str(version) for version in config.version_policy.specific.versions)
    _check(0 < len(config.name) <= MAX_NAME, "config.name", f"{len(config.name)} characters", f"1 to {MAX_NAME}")
    _check(config.max_batch_size >= 0, "config.max_batch_size", str(config.max_batch_size), "at least 0")
    _check(bool(versions), "config.version_policy", "empty", "at least one version")
    labels = config.parameters["labels"].string_value if "labels" in config.parameters else ""
    return ModelSpec(
        name=config.name,
        platform=config.platform,
        inputs=_tensors("config.input", config.input),
        outputs=_tensors("config.output", config.output),
        max_batch_size=config.max_batch_size,
        decoupled=config.model_transaction_policy.decoupled,
        versions=versions,
        labels=tuple(labels.split("\n")) if labels else (),
    )


def _tensors(field: str, tensors: Iterable[ModelInput | ModelOutput]) -> tuple[TensorSpec, ...]:
    specs: dict[str, TensorSpec] = {}
    for index, tensor in enumerate(tensors):
        where = f"{field}[{index}]"
        _check(index < MAX_TENSORS, field, f"more than {MAX_TENSORS}", f"at most {MAX_TENSORS}")
        _check(0 < len(tensor.name) <= MAX_NAME, f"{where}.name", f"{len(tensor.name)} characters", f"1 to {MAX_NAME}")
        _check(tensor.name not in specs, f"{where}.name", "given twice", "unique names")
        _check(tensor.data_type in BY_CONFIG, f"{where}.data_type", str(tensor.data_type), "a known element type")
        _check(len(tensor.dims) <= MAX_RANK, f"{where}.dims", f"{len(tensor.dims)} dimensions", f"at most {MAX_RANK}")
        _check(all(-1 <= dim <= MAX_DIMENSION for dim in tensor.dims), f"{where}.dims", "out of range", "-1 or a size")
        specs[tensor.name] = TensorSpec(
            name=tensor.name,
            datatype=BY_CONFIG[tensor.data_type].name,
            shape=tuple(tensor.dims),
            optional=isinstance(tensor, ModelInput) and tensor.optional,
        )
    return tuple(specs.values())


def _check(holds: bool, field: str, got: str, want: str) -> None:
    if not holds:
        raise OIPError(OIPReason.MALFORMED, field=field, got=got, want=want)
