# SPDX-License-Identifier: Apache-2.0
"""The two DICE extensions that say which firmware an attestation key was issued to (TCG DICE, in DER).

    CompositeDeviceID 2.23.133.5.4.1     SEQUENCE { INTEGER 1, SubjectPublicKeyInfo, FWID }
    TcbInfo           2.23.133.5.4.1.1   SEQUENCE { [0] vendor, [1] model, [2] version, [3] svn, [4] layer, [5] index,
                                                    [6] SEQUENCE OF FWID, [7] flags BIT STRING, .. }, each OPTIONAL
    FWID                                 SEQUENCE { OID 2.16.840.1.101.3.4.2.2, OCTET STRING (48) }

Of TcbInfo only the first FWID and the debug flag (bit 3) are read. Refused: other digests than SHA-384, indefinite or
non-minimal lengths, elements out of order, trailing bytes.
"""

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from attestation.tee.reader import Reader

COMPOSITE_DEVICE_ID: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
TCB_INFO: Final = x509.ObjectIdentifier("2.23.133.5.4.1.1")
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_FWIDS: Final = 0xA6
_FLAGS: Final = 0x87
_SHA384: Final = bytes.fromhex("0609608648016503040202")
_FWID_BODY: Final = _SHA384 + bytes.fromhex("0430")
_FWID_BYTES: Final = len(_FWID_BODY) + 48
_DEBUG_BIT: Final = 0x10
"""Bit 3 of OperationalFlags, counted from the top of the first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareID:
    """SHA-384 of the firmware; `debug` is the flag of Blackwell's TcbInfo and False where there is none."""

    sha384: bytes
    debug: bool


def read_composite_device_id(der: bytes) -> FirmwareID:
    """Hopper's and LS10's extension. Raises `MalformedEvidence`."""
    outer = _Elements(der, "composite device id")
    inner = outer.enter(_SEQUENCE)
    outer.end()
    inner.value(_INTEGER)
    inner.value(_SEQUENCE)
    digest = _digest(inner.value(_SEQUENCE), inner)
    inner.end()
    return FirmwareID(sha384=digest, debug=False)


def read_tcb_info(der: bytes) -> FirmwareID:
    """Blackwell's extension. Raises `MalformedEvidence`."""
    outer = _Elements(der, "tcb info")
    inner = outer.enter(_SEQUENCE)
    outer.end()
    elements = dict(inner.rest())
    fwids = _Elements(elements.get(_FWIDS, b""), "tcb info fwids")
    digest = _digest(fwids.value(_SEQUENCE), fwids)
    flags = elements.get(_FLAGS, b"")
    return FirmwareID(sha384=digest, debug=len(flags) > 1 and bool(flags[1] & _DEBUG_BIT))


def _digest(body: bytes, elements: "_Elements") -> bytes:
    if len(body) != _FWID_BYTES or not body.startswith(_FWID_BODY):
        raise elements.reader.malformed("fwid", f"{len(body)} bytes", "one SHA-384 digest")
    return body[len(_FWID_BODY) :]


class _Elements:
    """DER elements one after another, with lengths of at most two bytes."""

    def __init__(self, der: bytes, name: str) -> None:
        self.reader = Reader(der, name)
        self._name = name

    def enter(self, tag: int) -> "_Elements":
        """The elements inside the next one."""
        return _Elements(self.value(tag), self._name)

    def value(self, tag: int) -> bytes:
        """The contents of the next element, which must have this tag."""
        got, value = self._next()
        if got != tag:
            raise self.reader.malformed("tag", f"{got:02x}", f"{tag:02x}")
        return value

    def rest(self) -> list[tuple[int, bytes]]:
        """All that follows, as tags and contents, the tags ascending in their numbers."""
        found: list[tuple[int, bytes]] = []
        while self.reader.left:
            tag, value = self._next()
            if found and tag & 0x1F <= found[-1][0] & 0x1F:
                raise self.reader.malformed("tag", f"{tag:02x}", f"one after {found[-1][0]:02x}")
            found.append((tag, value))
        return found

    def end(self) -> None:
        """Raises `MalformedEvidence` if anything follows."""
        self.reader.end()

    def _next(self) -> tuple[int, bytes]:
        tag = self.reader.big(1, "tag")
        length = self.reader.big(1, "length")
        if length > 0x80:
            width = length & 0x7F
            length = self.reader.big(min(width, 2), "length")
            if width > 2 or length < (0x80 if width == 1 else 0x100):
                raise self.reader.malformed("length", f"{width} bytes", "the shortest form of at most two bytes")
        elif length == 0x80:
            raise self.reader.malformed("length", "indefinite", "a definite one")
        return tag, self.reader.take(length, "element")
