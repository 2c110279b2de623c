# SPDX-License-Identifier: Apache-2.0
"""The one error of this package: a message that breaks the Open Inference Protocol or a model's metadata."""

from enum import StrEnum


class OIPReason(StrEnum):
    """Stable codes. Each equals the member of the same name in `attestation.errors.Reason`, which may import us."""

    MALFORMED = "MALFORMED"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    TENSOR_MISSING = "TENSOR_MISSING"
    TENSOR_UNKNOWN = "TENSOR_UNKNOWN"
    TENSOR_SHAPE = "TENSOR_SHAPE"
    TENSOR_DATATYPE = "TENSOR_DATATYPE"
    TENSOR_SIZE = "TENSOR_SIZE"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    RESPONSE_TOO_LARGE = "RESPONSE_TOO_LARGE"


class OIPError(Exception):
    """Field, got and want, fit for any screen: never an element of a tensor, and a name only if the model has it.

    A tensor or parameter the model does not know is cited by its place (`inputs[2].name is unknown`), because a name
    made up by the caller may hold what the caller wants kept.
    """

    def __init__(self, reason: OIPReason, *, field: str, got: str, want: str) -> None:
        super().__init__(f"{field} is {got}, want {want}")
        self.reason = reason
        self.field = field
        self.got = got
        self.want = want
