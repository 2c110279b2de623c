# SPDX-License-Identifier: Apache-2.0
"""Base64 with one spelling per value (RFC 4648 section 4): padding required, unused bits zero, no white space."""

import base64
import binascii

from attestation.tlog.faults import Fault, MalformedLog


def encode(data: bytes) -> str:
    """The base64 of `data`."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str, name: str) -> bytes:
    """The bytes of `text`, only if `encode` would have written it. Raises `MalformedEvidence` naming the field."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedLog(Fault.BASE64, f"{name} is not base64") from None
    if encode(data) != text:
        raise MalformedLog(Fault.BASE64_SPELLING, f"{name} is not base64 in its one spelling")
    return data


def decode_exactly(text: str, name: str, size: int) -> bytes:
    """The `size` bytes of `text`. Raises `MalformedEvidence` naming the field."""
    data = decode(text, name)
    if len(data) != size:
        raise MalformedLog(Fault.LENGTH, f"{name} has {len(data)} bytes, want {size}")
    return data
