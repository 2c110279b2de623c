# SPDX-License-Identifier: Apache-2.0
"""Tensors to numpy arrays and back, on both sides of a request.

Elements are little-endian on the wire. A raw input becomes a read-only view of the request's own bytes, without a
copy. BYTES tensors are object arrays of `bytes`. FP16 is numpy's float16. numpy has no BF16: such a tensor is an array
of uint16 bit patterns on both ways, and an engine that cannot take patterns must not describe a BF16 tensor.

Every decoder is total: any message gives arrays or an `OIPError`. NaN and infinity pass unchanged, bit for bit.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from sealbid_oip.datatypes import BYTES, DATATYPES
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.framing import varint
from sealbid_oip.messages import InferTensorContents, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from sealbid_oip.parameters import ParameterValue, to_parameter
from sealbid_oip.spec import MAX_RANK, MAX_TENSORS, ModelSpec, TensorSpec
from sealbid_oip.validate import check_inputs

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024

NUMPY = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    BYTES: np.dtype(np.object_),
}
_NAMES = {dtype: name for name, dtype in NUMPY.items() if name != "BF16"}


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's element type; uint16 is UINT16, never BF16.

    Raises:
        OIPError: TENSOR_DATATYPE, for a type the protocol does not have.
    """
    if array.dtype.kind in "SU":
        return BYTES
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise _datatype("array", str(array.dtype), "an element type of the protocol")
    return name


def decode_inputs(request: ModelInferRequest, spec: ModelSpec) -> dict[str, Array]:
    """The request's inputs by name, checked against the model as `validate_request` does.

    Raises:
        OIPError: TENSOR_*, or PARAMETER_INVALID for a parameter of a tensor.
    """
    check_inputs(request, spec)
    return decode_checked_inputs(request)


def decode_checked_inputs(request: ModelInferRequest) -> dict[str, Array]:
    """The inputs by name of a request that `validate_request` has let pass; anything else may raise anything."""
    raw = request.raw_input_contents
    return {
        tensor.name: (
            _from_raw(tensor.datatype, tuple(tensor.shape), raw[index])
            if raw
            else _from_contents(tensor.datatype, tuple(tensor.shape), tensor.contents)
        )
        for index, tensor in enumerate(request.inputs)
    }


def decode_outputs(response: ModelInferResponse) -> dict[str, Array]:
    """The response's outputs by name; the shapes are the response's own word, bounded by its bytes.

    Raises:
        OIPError: TENSOR_*.
    """
    raw = response.raw_output_contents
    if len(response.outputs) > MAX_TENSORS or (raw and len(raw) != len(response.outputs)):
        raise _size("raw_output_contents", f"{len(raw)} entries", f"{len(response.outputs)}, one for each output")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(response.outputs):
        field = f"outputs[{index}]"
        if tensor.datatype not in DATATYPES:
            raise _datatype(f"{field}.datatype", "unknown", "an element type of the protocol")
        shape = tuple(tensor.shape)
        if len(shape) > MAX_RANK or any(dim < 0 for dim in shape):
            raise OIPError(OIPReason.TENSOR_SHAPE, field=f"{field}.shape", got="impossible", want="sizes")
        if tensor.name in arrays:
            raise OIPError(OIPReason.TENSOR_UNKNOWN, field=f"{field}.name", got="given twice", want="once")
        try:
            if raw:
                arrays[tensor.name] = _from_raw(tensor.datatype, shape, raw[index])
            else:
                arrays[tensor.name] = _from_contents(tensor.datatype, shape, tensor.contents)
        except (ValueError, OverflowError):
            raise _size(field, "elements that do not fit its shape", f"{list(shape)}") from None
    return arrays


def encode_request(
    model: str,
    inputs: Arrays,
    *,
    version: str = "",
    request_id: str = "",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, ParameterValue] | None = None,
) -> ModelInferRequest:
    """A request with raw contents for the given arrays.

    Raises:
        OIPError: TENSOR_DATATYPE, for an array the protocol cannot carry.
    """
    request = ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for name, array in inputs.items():
        datatype = datatype_of(array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(_to_raw(datatype, array))
    for name in outputs:
        request.outputs.add(name=name)
    for key, value in (parameters or {}).items():
        request.parameters[key].CopyFrom(to_parameter(value))
    return request


def encode_response(
    request: ModelInferRequest,
    spec: ModelSpec,
    outputs: Arrays,
    *,
    parameters: Mapping[str, ParameterValue] | None = None,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> bytes:
    """The serialized response: the outputs the request asked for in its order, or all in the model's order.

    Raises:
        OIPError: TENSOR_MISSING or TENSOR_DATATYPE when the engine's outputs are not what the model describes,
            RESPONSE_TOO_LARGE above `max_bytes`.
    """
    described = {tensor.name: tensor for tensor in spec.outputs}
    names = [output.name for output in request.outputs] or list(described)
    response = ModelInferResponse(
        model_name=spec.name, model_version=request.model_version or spec.versions[-1], id=request.id
    )
    for name in names:
        tensor, array = _output(name, described, outputs)
        response.outputs.add(name=name, datatype=tensor.datatype, shape=array.shape)
        response.raw_output_contents.append(_to_raw(tensor.datatype, array))
    for key, value in (parameters or {}).items():
        response.parameters[key].CopyFrom(to_parameter(value))
    size = response.ByteSize()
    if size > max_bytes:
        raise OIPError(OIPReason.RESPONSE_TOO_LARGE, field="response", got=f"{size} bytes", want=f"at most {max_bytes}")
    return response.SerializeToString(deterministic=True)


def append_response_parameters(response: bytes, parameters: Mapping[str, ParameterValue]) -> bytes:
    """A serialized ModelInferResponse with parameters added, without parsing or copying its tensors into messages.

    Protobuf merges a message that occurs twice in a row, and the last entry of a map key wins. The response must be
    whole: bytes that do not parse give bytes that do not parse.
    """
    fragment = ModelInferResponse()
    for key, value in parameters.items():
        fragment.parameters[key].CopyFrom(to_parameter(value))
    return response + fragment.SerializeToString(deterministic=True)


def append_stream_parameters(response: bytes, parameters: Mapping[str, ParameterValue]) -> bytes:
    """The same for a serialized ModelStreamInferResponse: the parameters reach the response inside it."""
    return response + wrap_stream_response(append_response_parameters(b"", parameters))


def wrap_stream_response(response: bytes) -> bytes:
    """A serialized ModelStreamInferResponse around a serialized ModelInferResponse."""
    return b"\x12" + varint(len(response)) + response


def stream_error(message: str) -> bytes:
    """A serialized ModelStreamInferResponse that tells why a request of the stream failed."""
    return ModelStreamInferResponse(error_message=message).SerializeToString()


def parse_response(data: bytes, *, max_bytes: int = MAX_RESPONSE_BYTES) -> ModelInferResponse:
    """Parse a serialized response.

    Raises:
        OIPError: RESPONSE_TOO_LARGE or MALFORMED.
    """
    if len(data) > max_bytes:
        got = f"{len(data)} bytes"
        raise OIPError(OIPReason.RESPONSE_TOO_LARGE, field="response", got=got, want=f"at most {max_bytes}")
    try:
        return ModelInferResponse.FromString(data)
    except DecodeError:
        raise OIPError(OIPReason.MALFORMED, field="response", got="not protobuf", want="a ModelInferResponse") from None


def _output(name: str, described: Mapping[str, TensorSpec], outputs: Arrays) -> tuple[TensorSpec, Array]:
    tensor, array = described.get(name), outputs.get(name)
    if tensor is None or array is None:
        raise OIPError(OIPReason.TENSOR_MISSING, field="outputs", got="without one asked for", want="every output")
    dtype = NUMPY[tensor.datatype]
    if array.dtype != dtype and not (tensor.datatype == BYTES and array.dtype.kind in "SU"):
        raise _datatype(f"output {name}", str(array.dtype), tensor.datatype)
    return tensor, array


def _from_raw(datatype: str, shape: tuple[int, ...], raw: bytes) -> Array:
    if datatype == BYTES:
        return _objects(_split(raw), shape)
    return np.frombuffer(raw, NUMPY[datatype]).reshape(shape)


def _from_contents(datatype: str, shape: tuple[int, ...], contents: InferTensorContents) -> Array:
    field = DATATYPES[datatype].contents
    if field is None:
        return np.empty(0, NUMPY[datatype]).reshape(shape)
    values = getattr(contents, field)
    if datatype == BYTES:
        return _objects(list(values), shape)
    return np.array(values, NUMPY[datatype]).reshape(shape)


def _objects(elements: list[bytes], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def _split(raw: bytes) -> list[bytes]:
    elements, position = [], 0
    while position < len(raw):
        start = position + 4
        position = start + int.from_bytes(raw[position:start], "little")
        if start > len(raw) or position > len(raw):
            raise ValueError("element is cut short, want its whole length")
        elements.append(raw[start:position])
    return elements


def _to_raw(datatype: str, array: Array) -> bytes:
    if datatype == BYTES:
        return b"".join(_prefixed(element) for element in array.ravel().tolist())
    return np.ascontiguousarray(array, NUMPY[datatype]).tobytes()


def _prefixed(element: object) -> bytes:
    if isinstance(element, str):
        element = element.encode()
    if not isinstance(element, bytes):
        raise _datatype("array", "objects", "bytes or text")
    return len(element).to_bytes(4, "little") + element


def _datatype(field: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_DATATYPE, field=field, got=got, want=want)


def _size(field: str, got: str, want: str) -> OIPError:
    return OIPError(OIPReason.TENSOR_SIZE, field=field, got=got, want=want)
