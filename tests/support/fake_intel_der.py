# SPDX-License-Identifier: Apache-2.0
"""The SGX extension of a fake PCK certificate, in DER."""

from typing import Final

from cryptography import x509

_BASE: Final = "1.2.840.113741.1.13.1"
SGX_EXTENSION: Final = x509.ObjectIdentifier(_BASE)
_BOOLEAN, _INTEGER, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x0A, 0x30


def sgx_extension(
    *,
    ppid: bytes,
    cpu_svn: bytes,
    pce_svn: int,
    pce_id: bytes,
    fmspc: bytes,
    sgx_type: int,
    instance_id: bytes | None,
    configuration: tuple[bool, bool, bool] | None,
) -> bytes:
    """The extension's value for these members; the last two are left out when None."""
    svns = [_member(f"2.{index + 1}", _integer(svn)) for index, svn in enumerate(cpu_svn)]
    svns += [_member("2.17", _integer(pce_svn)), _member("2.18", _tlv(_OCTETS, cpu_svn))]
    members = [
        _member("1", _tlv(_OCTETS, ppid)),
        _member("2", _tlv(_SEQUENCE, *svns)),
        _member("3", _tlv(_OCTETS, pce_id)),
        _member("4", _tlv(_OCTETS, fmspc)),
        _member("5", _tlv(_ENUMERATED, bytes([sgx_type]))),
    ]
    if instance_id is not None:
        members.append(_member("6", _tlv(_OCTETS, instance_id)))
    if configuration is not None:
        flags = [
            _member(f"7.{index + 1}", _tlv(_BOOLEAN, b"\xff" if flag else b"\0"))
            for index, flag in enumerate(configuration)
        ]
        members.append(_member("7", _tlv(_SEQUENCE, *flags)))
    return _tlv(_SEQUENCE, *members)


def _member(name: str, value: bytes) -> bytes:
    return _tlv(_SEQUENCE, _oid(f"{_BASE}.{name}"), value)


def _tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _integer(value: int) -> bytes:
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return _tlv(_OID, bytes([40 * first + second]), *(_arc(arc) for arc in rest))


def _arc(arc: int) -> bytes:
    groups = [arc & 0x7F]
    while arc := arc >> 7:
        groups.append(0x80 | arc & 0x7F)
    return bytes(reversed(groups))
