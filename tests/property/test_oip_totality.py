# SPDX-License-Identifier: Apache-2.0
"""Every parser of the protocol is total, and encoding and decoding are inverse."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sealbid_oip.codec import (
    append_response_parameters,
    decode_inputs,
    decode_outputs,
    encode_request,
    encode_response,
    parse_response,
)
from sealbid_oip.datatypes import DATATYPES
from sealbid_oip.errors import OIPError
from sealbid_oip.framing import MessageSplitter, prefix_message
from sealbid_oip.generation import read_sampling
from sealbid_oip.messages import ModelConfig, ModelInferRequest
from sealbid_oip.spec import model_config, spec_from_config
from sealbid_oip.validate import parse_request, validate_request

from tests.support.models import array_of, everything, spec_of, tensor

SPEC = everything()
WHOLE = encode_request("m", {t.name: array_of(t.datatype, 2) for t in SPEC.inputs}).SerializeToString()
ANSWER = encode_response(encode_request("m", {}), SPEC, {t.name: array_of(t.datatype, 2) for t in SPEC.outputs})


def mutations(whole: bytes) -> st.SearchStrategy[bytes]:
    """A message with a slice of its bytes replaced."""
    places = st.tuples(st.integers(0, len(whole)), st.integers(0, 8), st.binary(max_size=8))
    return st.one_of(st.binary(max_size=200), places.map(lambda p: whole[: p[0]] + p[2] + whole[p[0] + p[1] :]))


@settings(max_examples=400, deadline=None)
@given(mutations(WHOLE))
def test_any_bytes_are_a_checked_request_or_refused_by_name(data: bytes) -> None:
    """Parsing, validating, decoding and reading parameters raise nothing but OIPError."""
    try:
        request = parse_request(data)
        read_sampling(request.parameters)
        rows = validate_request(request, SPEC)
        arrays = decode_inputs(request, SPEC)
    except OIPError:
        return
    assert rows == 1
    assert set(arrays) == {tensor.name for tensor in SPEC.inputs}


@settings(max_examples=400, deadline=None)
@given(mutations(ANSWER))
def test_any_bytes_are_arrays_or_refused_by_name(data: bytes) -> None:
    """A hostile response gives arrays no larger than its bytes allow, or OIPError."""
    try:
        arrays = decode_outputs(parse_response(data))
    except OIPError:
        return
    assert sum(array.nbytes for array in arrays.values() if array.dtype != np.object_) <= 8 * len(data)


@settings(max_examples=300, deadline=None)
@given(mutations(model_config(SPEC).SerializeToString()))
def test_any_configuration_is_a_specification_or_refused(data: bytes) -> None:
    """Reading a model configuration is total, and what it accepts it can write again."""
    try:
        config = ModelConfig.FromString(data)
    except Exception:  # noqa: BLE001  # protobuf's own refusal; ours is what is tested
        return
    try:
        spec = spec_from_config(config)
    except OIPError:
        return
    assert spec_from_config(model_config(spec)) == spec


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(DATATYPES)),
    st.lists(st.integers(0, 4), max_size=4).map(tuple),
    st.integers(0, 2**32 - 1),
)
def test_encoding_and_decoding_are_inverse(datatype: str, shape: tuple[int, ...], seed: int) -> None:
    """Any array of any type and shape comes back bit for bit."""
    array = array_of(datatype, int(np.prod(shape)), seed).reshape(shape)
    spec = spec_of(tensor("x", datatype, *shape) if shape else tensor("x", datatype), max_batch_size=0)
    if not shape:
        array = array.reshape(1)
    request = encode_request("m", {"x": array})
    request.inputs[0].datatype = datatype
    decoded = decode_inputs(ModelInferRequest.FromString(request.SerializeToString()), spec)["x"]
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist() if datatype == "BYTES" else decoded.tobytes() == array.tobytes()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=20), st.floats(allow_nan=False)),
        max_size=4,
    )
)
def test_appended_parameters_are_what_a_reader_sees(parameters: dict[str, bool | int | float | str]) -> None:
    """Any parameters can be appended to any response, and the last value of a key wins."""
    response = parse_response(append_response_parameters(append_response_parameters(ANSWER, {"": 1}), parameters))
    for key, value in {"": 1, **parameters}.items():
        read = response.parameters[key]
        assert getattr(read, str(read.WhichOneof("parameter_choice"))) == value


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6), st.lists(st.integers(0, 60), max_size=12))
def test_a_stream_is_cut_into_its_messages_wherever_its_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    """Splitting gives the messages back in order for any pieces, and knows whether the end is whole."""
    stream, splitter, found = b"".join(map(prefix_message, messages)), MessageSplitter(), []
    for size in [*cuts, len(stream)]:
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    assert found == messages
    splitter.finish()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_stream_is_messages_or_refused(data: bytes) -> None:
    """Hostile lengths are refused at once; nothing is held beyond the limit."""
    splitter = MessageSplitter(max_bytes=100)
    try:
        found = splitter.feed(data)
        splitter.finish()
    except OIPError:
        return
    assert b"".join(map(prefix_message, found)) == data
