# SPDX-License-Identifier: Apache-2.0
"""The attestation report that Azure's paravisor puts into the vTPM's NV index 0x01400001, byte for byte.

    report   = header[32], hardware report[1184], data, runtime data[size], zeros        integers little-endian
    header   = "HCLA", version u32 = 1 | 2, size u32 (of all but the zeros), request type u32 = 2, status u32 = 0, 0[12]
    data     = data size u32 (of this and the runtime data), version u32 = 1, hardware u32 = 2 (SEV-SNP) | 4 (TDX),
               hash u32 = 1 (SHA-256), size u32
    hardware = SEV-SNP report[1184] | TDREPORT[1024], 0[160]

The hardware report's report_data starts with the hash of the runtime data; everything else around them is covered by
nothing and must be as said here. A TDREPORT's own authentication holds on its machine only, so nothing is read of it
but report_data, for which a TD quote vouches. Layout: Microsoft's igvm_attest.h and azure-cvm-tooling.
Verifies nothing.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.reader import Reader

MAX_HCL_BYTES: Final = 8192
"""The NV index holds 2600 bytes today."""

HARDWARE_BYTES: Final = 1184
_HEADER_BYTES, _DATA_BYTES = 32, 20
_MAGIC: Final = b"HCLA"
_VERSIONS: Final = frozenset({1, 2})
_REQUEST_TYPE, _DATA_VERSION, _SHA256 = 2, 1, 1
_TD_REPORT_BYTES, _TD_REPORT_DATA = 1024, 128
_SNP_REPORT_DATA: Final = 0x50
_SLOT_BYTES: Final = 64


class Hardware(IntEnum):
    """What the virtual machine's memory is protected by."""

    SNP = 2
    TDX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HCLReport:
    """A paravisor's report as read: `report` is a SEV-SNP report, or a TDREPORT without its fill."""

    hardware: Hardware
    report: bytes
    runtime_data: bytes

    @property
    def report_data(self) -> bytes:
        """The 64 bytes the paravisor had the hardware report."""
        at = _SNP_REPORT_DATA if self.hardware is Hardware.SNP else _TD_REPORT_DATA
        return self.report[at : at + _SLOT_BYTES]


def read_hcl(data: bytes) -> HCLReport:
    """The report of these bytes. Raises `MalformedEvidence`, UNSUPPORTED for versions, hardware or hashes unknown."""
    reader = Reader(data, "hcl report")
    if len(data) > MAX_HCL_BYTES:
        raise reader.malformed("size", f"{len(data)} bytes", f"at most {MAX_HCL_BYTES}")
    size = _header(reader)
    report = reader.take(HARDWARE_BYTES, "hardware report")
    hardware, runtime_size = _data(reader)
    want = _HEADER_BYTES + HARDWARE_BYTES + _DATA_BYTES + runtime_size
    if size != want:
        raise reader.malformed("header size", str(size), str(want))
    runtime_data = reader.take(runtime_size, "runtime data")
    _zero(reader, reader.left, "fill")
    if hardware is Hardware.TDX:
        _zero(
            Reader(report[_TD_REPORT_BYTES:], "hcl report"), HARDWARE_BYTES - _TD_REPORT_BYTES, "fill of the tdreport"
        )
        report = report[:_TD_REPORT_BYTES]
    return HCLReport(hardware=hardware, report=report, runtime_data=runtime_data)


def _header(reader: Reader) -> int:
    if (magic := reader.take(4, "magic")) != _MAGIC:
        raise reader.malformed("magic", magic.hex(), _MAGIC.hex())
    _known(reader.little(4, "version"), "version", _VERSIONS)
    size = reader.little(4, "header size")
    _known(reader.little(4, "request type"), "request type", {_REQUEST_TYPE})
    _zero(reader, 16, "status and reserved")
    return size


def _data(reader: Reader) -> tuple[Hardware, int]:
    size = reader.little(4, "data size")
    _known(reader.little(4, "data version"), "data version", {_DATA_VERSION})
    hardware = reader.little(4, "hardware type")
    _known(hardware, "hardware type", set(Hardware))
    _known(reader.little(4, "hash type"), "hash type", {_SHA256})
    runtime_size = reader.little(4, "runtime data size")
    if size != _DATA_BYTES + runtime_size:
        raise reader.malformed("data size", str(size), str(_DATA_BYTES + runtime_size))
    return Hardware(hardware), runtime_size


def _known(value: int, field: str, known: frozenset[int] | set[int] | set[Hardware]) -> None:
    if value not in known:
        want = " or ".join(str(int(number)) for number in sorted(known))
        raise MalformedEvidence(Reason.UNSUPPORTED, f"hcl report {field} is {value}, want {want}")


def _zero(reader: Reader, count: int, field: str) -> None:
    if any(reader.take(count, field)):
        raise reader.malformed(field, "not zero", "zero")
