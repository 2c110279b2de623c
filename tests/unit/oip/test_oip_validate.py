# SPDX-License-Identifier: Apache-2.0
"""Requests that break the protocol or the model's interface are refused by name."""

from collections.abc import Callable

import numpy as np
import pytest
from sealbid_oip.codec import encode_request
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import ModelInferRequest
from sealbid_oip.validate import parse_request, validate_request

from attestation.errors import Reason
from tests.support.models import spec_of, tensor

SPEC = spec_of(
    tensor("x", "FP32", -1, 3),
    tensor("flag", "BOOL", 1, optional=True),
    tensor("text", "BYTES", -1, optional=True),
    tensor("small", "INT8", 2, optional=True),
    tensor("half", "FP16", 1, optional=True),
    max_batch_size=4,
)


def good(rows: int = 2) -> ModelInferRequest:
    """A request the specification accepts."""
    return encode_request("m", {"x": np.zeros((rows, 5, 3), np.float32)})


def typed() -> ModelInferRequest:
    """An acceptable request with typed contents."""
    request = ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 3]).contents.fp32_contents.extend([1, 2, 3])
    return request


def with_input(name: str, datatype: str, shape: list[int], raw: bytes) -> ModelInferRequest:
    """An acceptable request with one more raw input."""
    request = good(1)
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)
    return request


def changed(
    change: Callable[[ModelInferRequest], object], request: ModelInferRequest | None = None
) -> ModelInferRequest:
    """A request after one change."""
    request = request or good()
    change(request)
    return request


def shaped(*shape: int) -> ModelInferRequest:
    request = good()
    request.inputs[0].shape[:] = shape
    return request


REFUSED: dict[str, tuple[Callable[[], ModelInferRequest], str, str]] = {
    "another model": (lambda: changed(lambda r: setattr(r, "model_name", "n")), "MODEL_UNKNOWN", "model_name"),
    "another version": (lambda: changed(lambda r: setattr(r, "model_version", "9")), "MODEL_UNKNOWN", "model_version"),
    "long id": (lambda: changed(lambda r: setattr(r, "id", "i" * 257)), "PARAMETER_INVALID", "id"),
    "empty parameter": (
        lambda: changed(lambda r: r.parameters["k"].SetInParent()),
        "PARAMETER_INVALID",
        "parameters",
    ),
    "sequence": (
        lambda: changed(lambda r: setattr(r.parameters["sequence_id"], "int64_param", 1)),
        "PARAMETER_INVALID",
        "parameters.sequence_id",
    ),
    "long parameter": (
        lambda: changed(lambda r: setattr(r.parameters["k"], "string_param", "v" * 4097)),
        "PARAMETER_INVALID",
        "parameters",
    ),
    "long key": (
        lambda: changed(lambda r: setattr(r.parameters["k" * 129], "bool_param", True)),
        "PARAMETER_INVALID",
        "parameters",
    ),
    "many parameters": (
        lambda: encode_request("m", {}, parameters={str(number): True for number in range(65)}),
        "PARAMETER_INVALID",
        "parameters",
    ),
    "shared memory": (
        lambda: changed(lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "s")),
        "PARAMETER_INVALID",
        "input x parameters.shared_memory_region",
    ),
    "classification": (
        lambda: changed(lambda r: setattr(r.outputs.add(name="x").parameters["classification"], "int64_param", 1)),
        "PARAMETER_INVALID",
        "output x parameters.classification",
    ),
    "unknown output": (lambda: changed(lambda r: r.outputs.add(name="y")), "TENSOR_UNKNOWN", "outputs[0].name"),
    "output twice": (
        lambda: changed(lambda r: r.outputs.extend([r.outputs.add(name="x")])),
        "TENSOR_UNKNOWN",
        "output x",
    ),
    "no input": (lambda: ModelInferRequest(model_name="m"), "TENSOR_MISSING", "input x"),
    "unknown input": (lambda: with_input("y", "FP32", [1], b""), "TENSOR_UNKNOWN", "inputs[1].name"),
    "input twice": (lambda: with_input("x", "FP32", [1, 1, 3], bytes(12)), "TENSOR_UNKNOWN", "input x"),
    "datatype": (
        lambda: changed(lambda r: setattr(r.inputs[0], "datatype", "FP64")),
        "TENSOR_DATATYPE",
        "input x datatype",
    ),
    "invented datatype": (
        lambda: changed(lambda r: setattr(r.inputs[0], "datatype", "SECRET")),
        "TENSOR_DATATYPE",
        "input x datatype",
    ),
    "rank": (lambda: shaped(2, 15), "TENSOR_SHAPE", "input x shape"),
    "fixed dimension": (lambda: shaped(2, 3, 5), "TENSOR_SHAPE", "input x shape"),
    "negative dimension": (lambda: shaped(2, -1, 3), "TENSOR_SHAPE", "input x shape"),
    "huge dimension": (lambda: shaped(2, 2**40, 3), "TENSOR_SHAPE", "input x shape"),
    "no rows": (lambda: shaped(0, 5, 3), "TENSOR_SHAPE", "input x shape"),
    "too many rows": (lambda: good(5), "TENSOR_SHAPE", "input x shape"),
    "rows that differ": (lambda: with_input("flag", "BOOL", [2, 1], b"\x01\x00"), "TENSOR_SHAPE", "input flag shape"),
    "short raw": (
        lambda: changed(lambda r: r.raw_input_contents.__setitem__(0, b"\0")),
        "TENSOR_SIZE",
        "input x",
    ),
    "raw for no input": (
        lambda: changed(lambda r: r.raw_input_contents.append(b"")),
        "TENSOR_SIZE",
        "raw_input_contents",
    ),
    "raw and typed": (
        lambda: changed(lambda r: r.inputs[0].contents.fp32_contents.append(1)),
        "TENSOR_SIZE",
        "input x",
    ),
    "typed too few": (
        lambda: changed(lambda r: r.inputs[0].contents.fp32_contents.pop(), typed()),
        "TENSOR_SIZE",
        "input x",
    ),
    "typed in another list": (
        lambda: changed(lambda r: r.inputs[0].contents.int_contents.append(1), typed()),
        "TENSOR_DATATYPE",
        "input x contents",
    ),
    "typed half": (
        lambda: changed(lambda r: r.inputs.add(name="half", datatype="FP16", shape=[1, 1]), typed()),
        "TENSOR_SIZE",
        "input half",
    ),
    "typed out of range": (
        lambda: changed(
            lambda r: r.inputs.add(name="small", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([0, 128]),
            typed(),
        ),
        "TENSOR_DATATYPE",
        "input small",
    ),
    "bool of two": (lambda: with_input("flag", "BOOL", [1, 1], b"\x02"), "TENSOR_DATATYPE", "input flag"),
    "text cut short": (lambda: with_input("text", "BYTES", [1, 1], b"\5\0\0\0abc"), "TENSOR_SIZE", "input text"),
    "text left over": (lambda: with_input("text", "BYTES", [1, 1], b"\1\0\0\0ab"), "TENSOR_SIZE", "input text"),
    "text too few": (lambda: with_input("text", "BYTES", [1, 2], b"\1\0\0\0a"), "TENSOR_SIZE", "input text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_request_is_refused_by_name(case: str) -> None:
    """Each fault has its reason and names the field, what it got and what it wants."""
    make, reason, field = REFUSED[case]
    with pytest.raises(OIPError) as caught:
        validate_request(make(), SPEC)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert str(caught.value) == f"{field} is {caught.value.got}, want {caught.value.want}"


@pytest.mark.parametrize("request_", [good(), typed(), with_input("text", "BYTES", [1, 2], b"\0\0\0\0\1\0\0\0a")])
def test_a_whole_request_is_accepted(request_: ModelInferRequest) -> None:
    """Raw contents, typed contents and left-out optional inputs pass, and the batch rows come back."""
    assert validate_request(request_, SPEC) == request_.inputs[0].shape[0]


def test_a_model_without_batches_counts_one_row() -> None:
    """Where there is no batch dimension, a request is one row whatever its shapes."""
    request = encode_request("m", {"x": np.zeros((7,), np.float32)})
    assert validate_request(request, spec_of(tensor())) == 1


def test_a_request_over_the_limit_is_refused_before_parsing() -> None:
    """The size limit holds for bytes and for messages; at the limit a request passes."""
    data = good().SerializeToString()
    assert parse_request(data, max_bytes=len(data)) == good()
    for refused in (
        lambda: parse_request(data, max_bytes=len(data) - 1),
        lambda: validate_request(good(), SPEC, max_bytes=len(data) - 1),
    ):
        with pytest.raises(OIPError, match="request is") as caught:
            refused()
        assert caught.value.reason is OIPReason.REQUEST_TOO_LARGE


def test_bytes_that_are_not_protobuf_are_malformed() -> None:
    """What does not parse is refused as malformed."""
    with pytest.raises(OIPError) as caught:
        parse_request(b"\xff\xff\xff")
    assert caught.value.reason is OIPReason.MALFORMED


def test_no_error_repeats_what_the_caller_made_up() -> None:
    """A name, type, key or value that the model does not have never appears in a text."""
    secret = "s3cr3t"
    requests = [
        with_input(secret, "FP32", [1], b""),
        changed(lambda r: setattr(r.inputs[0], "datatype", secret)),
        changed(lambda r: r.outputs.add(name=secret)),
        changed(lambda r: setattr(r, "model_name", secret)),
        changed(lambda r: setattr(r, "model_version", secret)),
        changed(lambda r: r.parameters[secret].SetInParent()),
        with_input("text", "BYTES", [1, 1], secret.encode()),
    ]
    for request in requests:
        with pytest.raises(OIPError) as caught:
            validate_request(request, SPEC)
        assert secret not in str(caught.value)


def test_every_reason_is_one_of_the_products() -> None:
    """Codes of this package are members of the one list of stable reasons."""
    assert {reason.value for reason in OIPReason} <= {reason.value for reason in Reason}
