# SPDX-License-Identifier: Apache-2.0
"""Base64 with one spelling per value (RFC 4648 section 4): padding required, unused bits zero, no white space."""

import base64
import binascii

from attestation.errors import MalformedEvidence, Reason


def encode(data: bytes) -> str:
    """The base64 of `data`."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str, name: str) -> bytes:
    """The bytes of `text`, only if `encode` would have written it. Raises `MalformedEvidence` naming the field."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedEvidence(Reason.MALFORMED, f"{name} is not base64") from None
    if encode(data) != text:
        raise MalformedEvidence(Reason.MALFORMED, f"{name} is not base64 in its one spelling")
    return data


def decode_exactly(text: str, name: str, size: int) -> bytes:
    """The `size` bytes of `text`. Raises `MalformedEvidence` naming the field."""
    data = decode(text, name)
    if len(data) != size:
        raise MalformedEvidence(Reason.MALFORMED, f"{name} has {len(data)} bytes, want {size}")
    return data
