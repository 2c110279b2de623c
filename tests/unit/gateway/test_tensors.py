# SPDX-License-Identifier: Apache-2.0
"""Admission reads the model, the limits and the ceiling from a request, and names the field that is wrong."""

import numpy as np
import pytest
from sealbid_oip.codec import encode_request
from sealbid_oip.generation import INPUTS, OUTPUTS
from sealbid_oip.messages import ModelInferRequest
from sealbid_oip.parameters import ParameterValue
from sealbid_oip.spec import ModelSpec, TensorSpec

from attestation.errors import Reason
from attestation.offer import Tier
from attestation.sealing.header import Method
from gateway.config import Model
from gateway.errors import InvalidRequest, NoCapacity
from gateway.tensors import Catalog, worker_refusal

ENGINE = bytes(range(32))
ROWS = ModelSpec(
    name="rows",
    platform="onnxruntime_onnx",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(4,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(4,)),),
    max_batch_size=8,
)
TEXT = ModelSpec(name="text", platform="onnxruntime_onnx", inputs=INPUTS, outputs=OUTPUTS, decoupled=True)


def _catalog(spec: ModelSpec | None = ROWS, *, max_request_bytes: int = 4096) -> Catalog:
    name = "rows" if spec is None else spec.name
    models = {name: Model(engines=(ENGINE.hex(),), reference_price_nanos=100)}
    return Catalog(models=models, spec_of={ENGINE: spec}.get, max_request_bytes=max_request_bytes)


def _rows(rows: int = 2, **parameters: ParameterValue) -> bytes:
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    return encode_request("rows", {"x": np.zeros((rows, 4), np.float32)}, parameters=named).SerializeToString()


def test_a_tensor_request_costs_a_thousand_units_a_row() -> None:
    """Rows and ceiling follow from the batch; without a word from the caller the reserve is the price cap."""
    asked = _catalog().admit(_rows(3), Method.INFER)
    assert (asked.model, asked.context, asked.wu_cap) == ("rows", 3, 3000)
    assert asked.limits.max_price_nanos == 200
    assert asked.limits.max_total_nanos == 600
    assert asked.limits.tier is Tier.STANDARD


def test_the_callers_limits_are_read_and_never_widened() -> None:
    """Price, total, tier and regions come from parameters; a total above price times ceiling is cut to that."""
    payload = _rows(
        sealbid_max_price_nanos=50, sealbid_max_total_nanos=10**9, sealbid_tier="batch", sealbid_regions="eu-west, ap-1"
    )
    limits = _catalog().admit(payload, Method.INFER).limits
    assert limits.max_price_nanos == 50
    assert limits.max_total_nanos == 100
    assert limits.tier is Tier.BATCH
    assert limits.regions == ("ap-1", "eu-west")


def test_a_generation_is_bounded_by_its_prompt_and_its_tokens() -> None:
    """A prompt counts at most its bytes, a generated token four units."""
    request = encode_request("text", {"prompt": np.array([b"hello"], np.object_)}, parameters={"max_tokens": 10})
    asked = _catalog(TEXT).admit(request.SerializeToString(), Method.STREAM)
    assert (asked.context, asked.wu_cap) == (5 + 10, 5 + 4 * 10)


def test_a_streaming_model_refuses_the_unary_call() -> None:
    """ModelInfer on a model that streams names the call to use."""
    request = encode_request("text", {"prompt": np.array([b"hello"], np.object_)})
    with pytest.raises(InvalidRequest) as refused:
        _catalog(TEXT).admit(request.SerializeToString(), Method.INFER)
    assert refused.value.reason is Reason.PARAMETER_INVALID
    assert "ModelStreamInfer" in refused.value.message


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"sealbid_tier": "fastest"}, "parameters.sealbid-tier"),
        ({"sealbid_max_price_nanos": -1}, "parameters.sealbid-max-price-nanos"),
        ({"sealbid_max_price_nanos": "cheap"}, "parameters.sealbid-max-price-nanos"),
        ({"sealbid_max_total_nanos": 1.5}, "parameters.sealbid-max-total-nanos"),
    ],
)
def test_a_bad_limit_names_its_parameter(parameters: dict[str, ParameterValue], field: str) -> None:
    """Each limit out of its range or type is refused under its own name."""
    with pytest.raises(InvalidRequest) as refused:
        _catalog().admit(_rows(1, **parameters), Method.INFER)
    assert refused.value.reason is Reason.PARAMETER_INVALID
    assert refused.value.detail["field"] == field


def test_unknown_model_and_unserved_model_are_told_apart() -> None:
    """A name nobody configured is the caller's fault; a configured one without a worker is a matter of time."""
    request = ModelInferRequest(model_name="other").SerializeToString()
    with pytest.raises(InvalidRequest) as unknown:
        _catalog().admit(request, Method.INFER)
    assert unknown.value.reason is Reason.MODEL_UNKNOWN
    with pytest.raises(NoCapacity) as unserved:
        _catalog(None).admit(_rows(), Method.INFER)
    assert unserved.value.reason is Reason.NO_ELIGIBLE_OFFER


def test_bytes_that_are_no_request_and_too_many_bytes_are_refused() -> None:
    """Neither is parsed any further."""
    with pytest.raises(InvalidRequest) as malformed:
        _catalog().admit(b"\xff\xff", Method.INFER)
    assert malformed.value.reason is Reason.MALFORMED
    with pytest.raises(InvalidRequest) as large:
        _catalog(max_request_bytes=10).admit(_rows(), Method.INFER)
    assert large.value.reason is Reason.REQUEST_TOO_LARGE


def test_a_workers_refusal_keeps_its_reason() -> None:
    """Words of an attested worker become the same error the gateway itself would have raised."""
    error = worker_refusal("TENSOR_SHAPE", "input x shape is [1, 2], want [-1, 4]")
    assert isinstance(error, InvalidRequest)
    assert (error.reason, error.detail["got"]) == (Reason.TENSOR_SHAPE, "[1, 2]")
    assert worker_refusal("MADE_UP", "input x shape is [1, 2], want [-1, 4]") is None
    assert worker_refusal("TENSOR_SHAPE", "no") is None
