# SPDX-License-Identifier: Apache-2.0
"""The exact text of each member of a JSON object: Intel signs those bytes, so they must pass through unchanged."""

import json
from typing import Final

from attestation.tee.strict_json import JSONObject, malformed, read_json

_SPACE: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder()


def read_object(data: bytes, name: str, most: int) -> JSONObject:
    """The object of exactly these bytes, at most `most` of them. Raises `MalformedEvidence`."""
    return JSONObject(read_json(data, name, most), name)


def member_text(data: bytes, key: str, name: str, most: int) -> str:
    """The text of the value at `key` of one object, white space around it left out. Raises `MalformedEvidence`."""
    read_object(data, name, most)  # refuses duplicate keys and all that is no strict JSON, so the walk cannot fail
    text = data.decode()
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        found, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        if found == key:
            return text[at:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    raise malformed(f"{name} {key}", "missing", "a value")


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at
