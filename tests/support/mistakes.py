# SPDX-License-Identifier: Apache-2.0
"""What a caller can send wrong in one request, and how each is refused; a secret is planted wherever bytes are free."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
from sealbid_oip.messages import ModelInferRequest

from attestation.errors import Reason
from tests.support.e2e import a_request, numbers, prompt
from tests.support.marker import Marker

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MAX_REQUEST: Final = 1 << 20
"""The gateway's limit in bytes."""

SECRET = Marker(os.urandom(64))
ROW = numbers(SECRET.secret)


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """What goes on the wire in the place of a request."""

    data: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name protobuf gives it
        """These bytes."""
        return self.data


def good(**changes: Any) -> ModelInferRequest:
    """A request in order, but for the parameters given."""
    return a_request("identity", {"x": ROW}, **changes)


def _with_raw(data: bytes) -> ModelInferRequest:
    """A request whose tensor has other bytes than its shape says."""
    request = good()
    request.raw_input_contents[0] = data
    return request


def _with_rows(count: int) -> ModelInferRequest:
    """A request of so many rows."""
    return a_request("identity", {"x": np.repeat(ROW, count, axis=0)})


def _twice() -> ModelInferRequest:
    """A request that gives its tensor twice."""
    request = good()
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(SECRET.secret)
    return request


def _of_version(version: str) -> ModelInferRequest:
    """A request for a version of the model."""
    request = good()
    request.model_version = version
    return request


_SECRET_NAME = SECRET.secret.hex()[:60]
MISTAKES: Final[Mapping[str, tuple[Any, grpc.StatusCode, Reason, str]]] = {
    "one dimension too few": (a_request("identity", {"x": ROW[0]}), INVALID, Reason.TENSOR_SHAPE, "input x shape"),
    "one dimension too many": (
        a_request("identity", {"x": ROW[np.newaxis]}),
        INVALID,
        Reason.TENSOR_SHAPE,
        "input x shape",
    ),
    "no rows": (a_request("identity", {"x": ROW[:0]}), INVALID, Reason.TENSOR_SHAPE, "input x shape"),
    "more rows than a batch": (_with_rows(17), INVALID, Reason.TENSOR_SHAPE, "input x shape"),
    "another datatype": (
        a_request("identity", {"x": ROW.view(np.int32)}),
        INVALID,
        Reason.TENSOR_DATATYPE,
        "input x datatype",
    ),
    "a datatype nobody has": (
        a_request("identity", {"x": ROW}, datatypes={"x": _SECRET_NAME}),
        INVALID,
        Reason.TENSOR_DATATYPE,
        "input x datatype",
    ),
    "no tensor": (a_request("identity", {}), INVALID, Reason.TENSOR_MISSING, "input x"),
    "an unknown tensor": (
        a_request("identity", {"x": ROW, _SECRET_NAME: ROW}),
        INVALID,
        Reason.TENSOR_UNKNOWN,
        "inputs[1].name",
    ),
    "a tensor twice": (_twice(), INVALID, Reason.TENSOR_UNKNOWN, "input x"),
    "fewer bytes than the shape": (_with_raw(SECRET.secret[:-4]), INVALID, Reason.TENSOR_SIZE, "input x"),
    "more bytes than the shape": (_with_raw(SECRET.secret * 2), INVALID, Reason.TENSOR_SIZE, "input x"),
    "an oversized tensor": (
        a_request("identity", {"x": numbers(SECRET.secret * (MAX_REQUEST // 64 + 1))}),
        INVALID,
        Reason.REQUEST_TOO_LARGE,
        "request",
    ),
    "an unknown model": (
        a_request(_SECRET_NAME, {"x": ROW}),
        grpc.StatusCode.NOT_FOUND,
        Reason.MODEL_UNKNOWN,
        "model_name",
    ),
    "an unknown version": (
        _of_version(_SECRET_NAME),
        grpc.StatusCode.NOT_FOUND,
        Reason.MODEL_UNKNOWN,
        "model_version",
    ),
    "a parameter of another type": (
        good(sealbid_max_price_nanos=_SECRET_NAME),
        INVALID,
        Reason.PARAMETER_INVALID,
        "parameters.sealbid-max-price-nanos",
    ),
    "an unknown tier": (
        good(sealbid_tier=_SECRET_NAME[:32]),
        INVALID,
        Reason.PARAMETER_INVALID,
        "parameters.sealbid-tier",
    ),
    "an extension not served": (
        good(sequence_id=5),
        INVALID,
        Reason.PARAMETER_INVALID,
        "parameters.sequence_id",
    ),
    "the wrong method for the model": (
        a_request("tiny", {"prompt": prompt(SECRET.secret)}),
        INVALID,
        Reason.PARAMETER_INVALID,
        "method",
    ),
    "not protobuf": (Bytes(data=b"\xff" + SECRET.secret), INVALID, Reason.MALFORMED, "request"),
}
"""Each by its name: what is sent, status, reason and the field that the refusal names."""
