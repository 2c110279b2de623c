# SPDX-License-Identifier: Apache-2.0
"""Checks of a request against a model's interface, before anything is decoded, priced or sealed.

Total: any bytes give a checked request or an `OIPError`. What it refuses, in order: bytes over the limit or not
protobuf, another model or version, parameters out of bounds, outputs the model has not, inputs missing, unknown or
given twice, and per input the datatype, rank, dimensions, batch rows, and a number of elements or bytes that does not
fit the shape. Shared memory, classification and sequences are refused rather than ignored: their absence would change
the answer.

It does not look at the elements of fixed-size tensors, except that a BOOL must be 0 or 1 and a small integer must fit.
"""

from collections.abc import Sequence
from math import prod

from google.protobuf.message import DecodeError

from sealbid_oip.datatypes import BYTES, DATATYPES, DataTypeFacts
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import InferTensorContents, ModelInferRequest
from sealbid_oip.parameters import MAX_KEY, MAX_PARAMETERS, MAX_TEXT, Parameters
from sealbid_oip.spec import MAX_DIMENSION, MAX_TENSORS, ModelSpec, TensorSpec

MAX_ID = 256
MAX_REQUEST_BYTES = 64 * 1024 * 1024

# Parameters that ask for another protocol extension than those served.
REFUSED_REQUEST = ("sequence_id", "sequence_start", "sequence_end")
REFUSED_TENSOR = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "classification")

Tensor = ModelInferRequest.InferInputTensor


def parse_request(data: bytes, *, max_bytes: int = MAX_REQUEST_BYTES) -> ModelInferRequest:
    """Parse a serialized request of at most `max_bytes`.

    Raises:
        OIPError: REQUEST_TOO_LARGE or MALFORMED.
    """
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    try:
        return ModelInferRequest.FromString(data)
    except DecodeError:
        raise OIPError(OIPReason.MALFORMED, field="request", got="not protobuf", want="a ModelInferRequest") from None


def validate_request(request: ModelInferRequest, spec: ModelSpec, *, max_bytes: int = MAX_REQUEST_BYTES) -> int:
    """Check a request against the model it names; returns its batch rows, 1 where the model has no batch dimension.

    Raises:
        OIPError: the first thing found wrong.
    """
    size = request.ByteSize()
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    _check_model(request, spec)
    _check_parameters("parameters", request.parameters, REFUSED_REQUEST)
    _check_outputs(request, spec)
    return check_inputs(request, spec)


def check_inputs(request: ModelInferRequest, spec: ModelSpec) -> int:
    """Check the input tensors alone; returns the batch rows."""
    given = _match_inputs(request.inputs, spec)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise _size("raw_input_contents", f"{len(raw)} entries", f"{len(request.inputs)}, one for each input")
    rows: int | None = None
    for index, (tensor, wanted) in enumerate(given):
        elements = _check_shape(tensor, wanted, spec)
        facts = DATATYPES[wanted.datatype]
        if raw:
            _check_raw(tensor, wanted.name, raw[index], facts, elements)
        else:
            _check_contents(tensor.contents, wanted.name, facts, elements)
        if spec.max_batch_size:
            if rows is not None and tensor.shape[0] != rows:
                raise _shape(wanted.name, f"{tensor.shape[0]} rows", f"{rows}, as the other inputs have")
            rows = tensor.shape[0]
    return 1 if rows is None else rows


def _check_model(request: ModelInferRequest, spec: ModelSpec) -> None:
    if request.model_name != spec.name:
        raise OIPError(OIPReason.MODEL_UNKNOWN, field="model_name", got="another model", want=spec.name)
    if request.model_version and request.model_version not in spec.versions:
        want = " or ".join(spec.versions)
        raise OIPError(OIPReason.MODEL_UNKNOWN, field="model_version", got="unknown", want=want)
    if len(request.id) > MAX_ID:
        raise OIPError(
            OIPReason.PARAMETER_INVALID, field="id", got=f"{len(request.id)} characters", want=f"at most {MAX_ID}"
        )


def _check_parameters(field: str, parameters: Parameters, refused: Sequence[str]) -> None:
    if not parameters:
        return
    if len(parameters) > MAX_PARAMETERS:
        raise _parameter(field, f"{len(parameters)} entries", f"at most {MAX_PARAMETERS}")
    for name in refused:
        if name in parameters:
            raise _parameter(f"{field}.{name}", "given", "none, the extension is not served")
    for key, value in parameters.items():
        if not 0 < len(key) <= MAX_KEY:
            raise _parameter(field, f"a key of {len(key)} characters", f"1 to {MAX_KEY}")
        if value.WhichOneof("parameter_choice") is None:
            raise _parameter(field, "a key without a value", "a value for each key")
        if len(value.string_param) > MAX_TEXT:
            raise _parameter(field, f"a text of {len(value.string_param)} characters", f"at most {MAX_TEXT}")


def _check_outputs(request: ModelInferRequest, spec: ModelSpec) -> None:
    known = {tensor.name for tensor in spec.outputs}
    seen: set[str] = set()
    for index, output in enumerate(request.outputs):
        if output.name not in known:
            raise _unknown(f"outputs[{index}].name", spec.outputs)
        if output.name in seen:
            raise _twice(f"output {output.name}")
        seen.add(output.name)
        _check_parameters(f"output {output.name} parameters", output.parameters, REFUSED_TENSOR)


def _match_inputs(inputs: Sequence[Tensor], spec: ModelSpec) -> list[tuple[Tensor, TensorSpec]]:
    if len(inputs) > MAX_TENSORS:
        raise _size("inputs", f"{len(inputs)} tensors", f"at most {MAX_TENSORS}")
    wanted = {tensor.name: tensor for tensor in spec.inputs}
    given: dict[str, tuple[Tensor, TensorSpec]] = {}
    for index, tensor in enumerate(inputs):
        match = wanted.get(tensor.name)
        if match is None:
            raise _unknown(f"inputs[{index}].name", spec.inputs)
        if match.name in given:
            raise _twice(f"input {match.name}")
        if tensor.datatype != match.datatype:
            got = tensor.datatype if tensor.datatype in DATATYPES else "unknown"
            raise _datatype(f"input {match.name} datatype", got, match.datatype)
        _check_parameters(f"input {match.name} parameters", tensor.parameters, REFUSED_TENSOR)
        given[match.name] = (tensor, match)
    for tensor_spec in spec.inputs:
        if tensor_spec.name not in given and not tensor_spec.optional:
            raise OIPError(OIPReason.TENSOR_MISSING, field=f"input {tensor_spec.name}", got="missing", want="given")
    return list(given.values())


def _check_shape(tensor: Tensor, wanted: TensorSpec, spec: ModelSpec) -> int:
    """Compare a shape with its specification; returns the number of elements."""
    shape, full = tuple(tensor.shape), spec.full_shape(wanted)
    fits = len(shape) == len(full) and all(
        0 <= got <= MAX_DIMENSION and want in (got, -1) for got, want in zip(shape, full, strict=True)
    )
    if not fits:
        got = str(list(shape)) if len(shape) <= len(full) else f"{len(shape)} dimensions"
        raise _shape(wanted.name, got, str(list(full)))
    if spec.max_batch_size and not 1 <= shape[0] <= spec.max_batch_size:
        raise _shape(wanted.name, f"{shape[0]} rows", f"1 to {spec.max_batch_size}")
    return prod(shape)


def _check_raw(tensor: Tensor, name: str, raw: bytes, facts: DataTypeFacts, elements: int) -> None:
    if tensor.HasField("contents"):
        raise _size(f"input {name}", "given typed and raw", "raw_input_contents alone")
    if facts.name == BYTES:
        _check_raw_bytes(name, raw, elements)
        return
    if len(raw) != elements * facts.size:
        raise _size(f"input {name}", f"{len(raw)} bytes", f"{elements * facts.size} for its shape")
    if facts.name == "BOOL" and raw.count(0) + raw.count(1) != len(raw):
        raise _datatype(f"input {name}", "holding another byte than 0 and 1", "truth values")


def _check_raw_bytes(name: str, raw: bytes, elements: int) -> None:
    position, found, length = 0, 0, len(raw)
    while position + 4 <= length and found < elements:
        position += 4 + int.from_bytes(raw[position : position + 4], "little")
        found += 1
    if position != length or found != elements:
        raise _size(f"input {name}", "not length-prefixed elements to its last byte", f"{elements} elements")


def _check_contents(contents: InferTensorContents, name: str, facts: DataTypeFacts, elements: int) -> None:
    if facts.contents is None:
        if elements:
            raise _size(f"input {name}", "given typed", f"raw_input_contents, the only form of {facts.name}")
        return
    for field, _ in contents.ListFields():
        if field.name != facts.contents:
            raise _datatype(f"input {name} contents", field.name, facts.contents)
    values = getattr(contents, facts.contents)
    if len(values) != elements:
        raise _size(f"input {name}", f"{len(values)} elements", f"{elements} for its shape")
    if facts.high and elements and not facts.low <= min(values) <= max(values) <= facts.high:
        raise _datatype(f"input {name}", f"holding a value out of {facts.name}", f"{facts.low} to {facts.high}")


def _too_large(got: int, want: int) -> OIPError:
    return OIPError(OIPReason.REQUEST_TOO_LARGE, field="request", got=f"{got} bytes", want=f"at most {want}")


def _unknown(field: str, wanted: Sequence[TensorSpec]) -> OIPError:
    names = ", ".join(tensor.name for tensor in wanted)
    return OIPError(OIPReason.TENSOR_UNKNOWN, field=field, got="unknown", want=f"one of {names}")


def _twice(field: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_UNKNOWN, field=field, got="given twice", want="once")


def _parameter(field: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.PARAMETER_INVALID, field=field, got=got, want=want)


def _datatype(field: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_DATATYPE, field=field, got=got, want=want)


def _shape(name: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_SHAPE, field=f"input {name} shape", got=got, want=want)


def _size(field: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_SIZE, field=field, got=got, want=want)
