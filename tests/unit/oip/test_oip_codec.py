# SPDX-License-Identifier: Apache-2.0
"""Tensors survive the wire bit for bit, both ways and in both forms."""

import numpy as np
import pytest
from sealbid_oip.codec import (
    NUMPY,
    append_response_parameters,
    append_stream_parameters,
    datatype_of,
    decode_inputs,
    decode_outputs,
    encode_request,
    encode_response,
    parse_response,
    stream_error,
    wrap_stream_response,
)
from sealbid_oip.datatypes import DATATYPES
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse

from tests.support.models import array_of, everything, spec_of, tensor


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit."""
    if left.dtype == np.object_:
        return left.shape == right.shape and left.ravel().tolist() == right.ravel().tolist()
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


@pytest.mark.parametrize("datatype", DATATYPES)
def test_raw_tensors_survive_the_wire(datatype: str) -> None:
    """Request and response carry every element type unchanged; BF16 travels as bit patterns."""
    spec = spec_of(tensor("x", datatype, -1, 2))
    array = array_of(datatype, 6).reshape(3, 2)
    request = encode_request("m", {"x": array})
    request.inputs[0].datatype = datatype
    assert same(decode_inputs(ModelInferRequest.FromString(request.SerializeToString()), spec)["x"], array)
    response = parse_response(encode_response(request, spec, {"x": array}))
    assert response.outputs[0].datatype == datatype
    assert same(decode_outputs(response)["x"], array)


@pytest.mark.parametrize("datatype", [name for name, facts in DATATYPES.items() if facts.contents])
def test_typed_contents_mean_the_same_as_raw(datatype: str) -> None:
    """A tensor given as typed contents decodes to the array its raw form gives."""
    array = array_of(datatype, 5) if not datatype.startswith("FP") else np.arange(5, dtype=NUMPY[datatype])
    request = ModelInferRequest(model_name="m")
    target = request.inputs.add(name="x", datatype=datatype, shape=[5])
    getattr(target.contents, str(DATATYPES[datatype].contents)).extend(array.tolist())
    assert same(decode_inputs(request, spec_of(tensor("x", datatype)))["x"], array)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_tensors_without_elements_survive(datatype: str) -> None:
    """A dimension of zero is a tensor, not a fault, raw or typed."""
    spec = spec_of(tensor("x", datatype, -1, 2))
    request = encode_request("m", {"x": array_of(datatype, 0).reshape(0, 2)})
    request.inputs[0].datatype = datatype
    assert decode_inputs(request, spec)["x"].shape == (0, 2)
    del request.raw_input_contents[:]
    assert decode_inputs(request, spec)["x"].shape == (0, 2)


def test_one_request_carries_every_type_at_once() -> None:
    """Inputs are matched to raw contents by place, whatever the order of the model's own list."""
    spec = everything()
    arrays = {tensor.name: array_of(tensor.datatype, 3) for tensor in reversed(spec.inputs)}
    request = encode_request("m", arrays)
    for given in request.inputs:
        given.datatype = given.name.upper()
    decoded = decode_inputs(request, spec)
    assert list(decoded) == list(arrays)
    assert all(same(decoded[name], arrays[name]) for name in arrays)


def test_big_endian_arrays_are_sent_little_endian() -> None:
    """The wire's byte order does not depend on the array's."""
    request = encode_request("m", {"x": np.array([1, 2], ">i4")})
    assert request.raw_input_contents[0] == bytes([1, 0, 0, 0, 2, 0, 0, 0])


def test_text_arrays_are_bytes_tensors() -> None:
    """numpy's own text and bytes arrays are sent as BYTES, text in UTF-8."""
    for array in (np.array(["é", "b"]), np.array(["é".encode(), b"b"]), np.array(["é", "b"], np.object_)):
        assert datatype_of(array) == "BYTES"
        request = encode_request("m", {"x": array})
        assert decode_inputs(request, spec_of(tensor("x", "BYTES")))["x"].tolist() == ["é".encode(), b"b"]


def test_arrays_the_protocol_lacks_are_refused() -> None:
    """Complex numbers, dates and objects that are no text have no element type."""
    for array in (np.zeros(1, np.complex64), np.zeros(1, "datetime64[s]"), np.array([object()], np.object_)):
        with pytest.raises(OIPError) as caught:
            encode_request("m", {"x": array})
        assert caught.value.reason is OIPReason.TENSOR_DATATYPE


def test_a_response_holds_the_outputs_asked_for_in_their_order() -> None:
    """Requested outputs come back in the request's order; none requested means all, in the model's."""
    spec = spec_of(tensor("a"), tensor("b"))
    arrays = {"b": np.ones(1, np.float32), "a": np.zeros(1, np.float32)}
    some = encode_request("m", {}, outputs=["b"], request_id="7", version="1")
    response = parse_response(encode_response(some, spec, arrays))
    assert ([o.name for o in response.outputs], response.id, response.model_version) == (["b"], "7", "1")
    everything_asked = parse_response(encode_response(encode_request("m", {}), spec, arrays))
    assert list(decode_outputs(everything_asked)) == ["a", "b"]


def test_an_engine_that_breaks_its_word_is_refused() -> None:
    """Outputs that are missing or of another type than described do not leave the worker."""
    spec, request = spec_of(tensor("a")), encode_request("m", {})
    for outputs, reason in (
        ({}, OIPReason.TENSOR_MISSING),
        ({"a": np.zeros(1, np.float64)}, OIPReason.TENSOR_DATATYPE),
    ):
        with pytest.raises(OIPError) as caught:
            encode_response(request, spec, outputs)
        assert caught.value.reason is reason


def test_a_response_over_the_limit_is_refused() -> None:
    """The response limit holds when encoding and when parsing."""
    spec, request = spec_of(tensor("a")), encode_request("m", {})
    data = encode_response(request, spec, {"a": np.zeros(100, np.float32)})
    for refused in (
        lambda: encode_response(request, spec, {"a": np.zeros(100, np.float32)}, max_bytes=len(data) - 1),
        lambda: parse_response(data, max_bytes=len(data) - 1),
    ):
        with pytest.raises(OIPError) as caught:
            refused()
        assert caught.value.reason is OIPReason.RESPONSE_TOO_LARGE


def test_parameters_are_appended_without_touching_the_response() -> None:
    """The bytes of the response stay a prefix; new keys are added and old ones replaced."""
    spec, request = spec_of(tensor("a")), encode_request("m", {}, request_id="r")
    data = encode_response(request, spec, {"a": np.ones(3, np.float32)}, parameters={"k": 1, "old": True})
    longer = append_response_parameters(data, {"sealbid-receipt": "ab", "k": 2, "big": 2**63, "f": 0.5})
    assert longer.startswith(data)
    response = parse_response(longer)
    assert response.parameters["sealbid-receipt"].string_param == "ab"
    assert response.parameters["k"].int64_param == 2
    assert response.parameters["big"].uint64_param == 2**63
    assert response.parameters["old"].bool_param
    assert decode_outputs(response)["a"].tolist() == [1, 1, 1]
    with pytest.raises(OverflowError):
        append_response_parameters(data, {"k": 2**64})


def test_parameters_reach_the_response_inside_a_stream_message() -> None:
    """A message of a stream is wrapped and extended without parsing it, at every length of its prefix."""
    for size in (0, 1, 40, 200, 20_000):
        inner = ModelInferResponse(id="i" * size).SerializeToString()
        data = append_stream_parameters(wrap_stream_response(inner), {"k": 1})
        message = ModelStreamInferResponse.FromString(data)
        assert message.infer_response.id == "i" * size
        assert message.infer_response.parameters["k"].int64_param == 1
    assert ModelStreamInferResponse.FromString(stream_error("why")).error_message == "why"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: setattr(r.outputs[0], "datatype", "FP8"), OIPReason.TENSOR_DATATYPE),
        (lambda r: r.outputs[0].shape.__setitem__(0, 4), OIPReason.TENSOR_SIZE),
        (lambda r: r.outputs[0].shape.__setitem__(0, -3), OIPReason.TENSOR_SHAPE),
        (lambda r: r.raw_output_contents.append(b""), OIPReason.TENSOR_SIZE),
        (lambda r: (r.outputs.append(r.outputs[0]), r.raw_output_contents.append(b"")), OIPReason.TENSOR_UNKNOWN),
    ],
)
def test_a_response_that_lies_about_its_tensors_is_refused(change, reason) -> None:  # type: ignore[no-untyped-def]
    """A caller never gets an array that the response's bytes do not hold."""
    spec = spec_of(tensor("a"))
    response = parse_response(encode_response(encode_request("m", {}), spec, {"a": np.ones(3, np.float32)}))
    change(response)
    with pytest.raises(OIPError) as caught:
        decode_outputs(response)
    assert caught.value.reason is reason
