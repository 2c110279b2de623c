# SPDX-License-Identifier: Apache-2.0
"""Parameters of requests and responses: typed reads with limits, and writes.

A parameter with nothing set, of another type than asked for, or out of range is PARAMETER_INVALID; a default is used
only when the key is absent. Texts cite keys of ours, never a value.
"""

from collections.abc import Mapping

from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.messages import InferParameter

MAX_PARAMETERS = 64
MAX_KEY = 128
MAX_TEXT = 4096

TYPE_NAMES = {
    "bool_param": "a truth value",
    "int64_param": "an integer",
    "uint64_param": "an integer",
    "string_param": "a text",
    "double_param": "a number",
}

ParameterValue = bool | int | float | str
Parameters = Mapping[str, InferParameter]


def invalid(key: str, got: str, want: str) -> OIPError:
    """The error of one parameter."""
    return OIPError(OIPReason.PARAMETER_INVALID, field=f"parameters.{key}", got=got, want=want)


def _read(parameters: Parameters, key: str, want: str, *choices: str) -> ParameterValue | None:
    if key not in parameters:
        return None
    parameter = parameters[key]
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise invalid(key, "unset", want)
    if choice not in choices:
        raise invalid(key, TYPE_NAMES[choice], want)
    value: ParameterValue = getattr(parameter, choice)
    return value


def read_integer(parameters: Parameters, key: str, *, default: int, low: int, high: int) -> int:
    """An integer of either sign field, within [low, high]."""
    want = f"an integer from {low} to {high}"
    value = _read(parameters, key, want, "int64_param", "uint64_param")
    if value is None:
        return default
    if not low <= int(value) <= high:
        raise invalid(key, "out of range", want)
    return int(value)


def read_number(parameters: Parameters, key: str, *, default: float, low: float, high: float) -> float:
    """A number, given as double or integer, within [low, high]; never NaN."""
    want = f"a number from {low} to {high}"
    value = _read(parameters, key, want, "double_param", "int64_param", "uint64_param")
    if value is None:
        return default
    if not low <= float(value) <= high:
        raise invalid(key, "out of range", want)
    return float(value)


def read_truth(parameters: Parameters, key: str, *, default: bool) -> bool:
    """A truth value."""
    value = _read(parameters, key, "a truth value", "bool_param")
    return default if value is None else bool(value)


def read_text(parameters: Parameters, key: str, *, default: str, longest: int = MAX_TEXT) -> str:
    """A text of at most `longest` characters."""
    value = _read(parameters, key, f"a text of at most {longest} characters", "string_param")
    if value is None:
        return default
    if len(str(value)) > longest:
        raise invalid(key, f"{len(str(value))} characters", f"at most {longest}")
    return str(value)


def to_parameter(value: ParameterValue) -> InferParameter:
    """The message of one value; the Python type chooses the field.

    Raises:
        OverflowError: an integer fits neither int64 nor uint64.
    """
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return InferParameter(int64_param=value)
        if 0 <= value < 2**64:
            return InferParameter(uint64_param=value)
        raise OverflowError("parameter is wider than 64 bits, want at most 64")
    if isinstance(value, float):
        return InferParameter(double_param=value)
    return InferParameter(string_param=value)
