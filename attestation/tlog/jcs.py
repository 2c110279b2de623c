# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON (RFC 8785) in the strict subset that log entries use.

A value is an object, array, string, boolean or integer of absolute value below 2^53; null is JSON too, and no field has
a use for it. Refused: floats, duplicate keys, text that is not Unicode, and bytes that `encode` would not have written.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias, cast

import rfc8785

from attestation.errors import MalformedEvidence, Reason

JSON: TypeAlias = "str | int | bool | Sequence[JSON] | Mapping[str, JSON] | None"

_MAX_DIGITS = 17


def encode(value: Mapping[str, JSON]) -> bytes:
    """The one encoding of an object. Raises `MalformedEvidence` for what the subset does not have."""
    try:
        return rfc8785.dumps(cast("dict[str, str]", value))
    except (ValueError, RecursionError):
        raise _malformed("entry has a value that canonical json cannot carry") from None


def decode(data: bytes, maximum: int) -> Mapping[str, JSON]:
    """The object of exactly these bytes, at most `maximum` of them. Raises `MalformedEvidence`."""
    if len(data) > maximum:
        raise _malformed(f"entry has {len(data)} bytes, want at most {maximum}")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_float=_refuse_number,
            parse_int=_integer,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError):
        raise _malformed("entry is not json in utf-8") from None
    if not isinstance(value, dict):
        raise _malformed("entry is not a json object")
    # A key that came twice is in `value` once, so this also refuses duplicates.
    if encode(value) != data:
        raise _malformed("entry is not in canonical form, or has a key twice")
    return value


def _integer(text: str) -> int:
    # Python's own limit on digits is far above what two lines of JSON may cost to parse.
    if len(text) > _MAX_DIGITS:
        _refuse_number(text)
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise _malformed(f"entry has a number of {len(text)} characters that is not an integer below 2^53")


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.ENTRY_INVALID, message)
