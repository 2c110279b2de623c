# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA GPUs and NVSwitches say in the opaque fields of their measurement reports (source: NVIDIA nvtrust).

    GPU     3 driver  6 VBIOS  11 NVDEC0  15 chip SKU  17 project  18 project SKU  20 FWID(48)  21 protected PCIe
            22 PDI(8)*links  34 version  35 chip  36 feature flag u16
    switch  6 firmware text  22 own PDI(8)  24 position u16  25 lock u16  26 GPU PDI(8)*8 and port map

Texts are ASCII, filled up with zero bytes. A GPU's VBIOS is `b0 b1 b2 b3 b4 0 0 0` and reads b3.b2.b1.b0.b4 in hex.
A GPU lists the PDIs of its switches with their bytes reversed; a switch lists those of its GPUs as they are.

Nothing in a report says whether confidential computing is on, and none of it counts before its signature holds.
Refused: fields and field versions this module does not know, and another number of measurement blocks (UNSUPPORTED),
missing fields and values out of range (MALFORMED).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.nvidia.spdm import DIGEST_BYTES, MeasurementExchange, read_exchange

GPU_BLOCKS: Final = 64
SWITCH_BLOCKS: Final = 31
PDI_BYTES: Final = 8
MAX_LINKS: Final = 32
SWITCH_GPUS: Final = 8
HOPPER: Final = "GH100"
"""The chip of reports that name none: the field came with Blackwell."""

_GPU_FIELDS: Final = frozenset((*range(1, 26), *range(32, 37)))
_SWITCH_FIELDS: Final = frozenset(range(1, 28))
_TEXT: Final = re.compile(rb"([\x21-\x7e]{1,32})\0*")
_DRIVER: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3}){1,2}")
_FIRMWARE: Final = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_MODES: Final[Mapping[int, str]] = {0: "spt", 1: "mpt", 2: "ppcie"}
_SWITCHES: Final[Mapping[bytes, bool]] = {b"\xaa": True, b"\x55": False}
_OPAQUE_VERSIONS: Final = (0, 1)
_NO_PDIS: Final = (bytes(PDI_BYTES), b"\xff" * PDI_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class GPUReport:
    """A GPU's report, parsed but not verified. `mode` is None before field version 1, `protected_pcie` where unstated.

    `switch_pdis` are the switches its links end at, in the byte order switches use themselves.
    """

    exchange: MeasurementExchange
    chip: str
    driver: str
    vbios: str
    project: str
    sku: str
    chip_sku: str
    fwid: bytes
    nvdec: bool
    mode: str | None
    protected_pcie: bool | None
    switch_pdis: frozenset[bytes]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Exactly one GPU report. Raises `MalformedEvidence`."""
        opaque = _Opaque(read_exchange(data, "gpu report"), "gpu report", _GPU_FIELDS, GPU_BLOCKS)
        version = opaque.version()
        return cls(
            exchange=opaque.exchange,
            chip=opaque.text(35, "chip") if 35 in opaque.fields else HOPPER,
            driver=opaque.text(3, "driver", _DRIVER),
            vbios=opaque.vbios(),
            project=opaque.text(17, "project"),
            sku=opaque.text(18, "project sku"),
            chip_sku=opaque.text(15, "chip sku"),
            fwid=opaque.octets(20, "fwid", DIGEST_BYTES),
            nvdec=opaque.switch(11, "nvdec0"),
            mode=opaque.mode(version),
            protected_pcie=opaque.switch(21, "protected pcie") if 21 in opaque.fields else None,
            switch_pdis=opaque.switch_pdis(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchReport:
    """An NVSwitch's report, parsed but not verified: its own PDI, and the GPUs its ports lead to."""

    exchange: MeasurementExchange
    firmware: str
    pdi: bytes
    locked: bool
    gpu_pdis: frozenset[bytes]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Exactly one switch report. Raises `MalformedEvidence`."""
        opaque = _Opaque(read_exchange(data, "switch report"), "switch report", _SWITCH_FIELDS, SWITCH_BLOCKS)
        return cls(
            exchange=opaque.exchange,
            firmware=opaque.text(6, "firmware", _FIRMWARE),
            pdi=opaque.octets(22, "pdi", PDI_BYTES),
            locked=opaque.locked(),
            gpu_pdis=opaque.gpu_pdis(),
        )


def version_number(driver: str) -> int:
    """A driver version as a number that grows with it: 550.90.07 is 550090007, 590.12 is 590012000."""
    major, minor, patch = (*(int(part) for part in driver.split(".")), 0)[:3]
    return (major * 1000 + minor) * 1000 + patch


def firmware_number(firmware: str) -> int:
    """A VBIOS or switch firmware version as a number: 96.00.9F.00.01 is 0x96009F0001; comparable within one board."""
    return int(firmware.replace(".", ""), 16)


class _Opaque:
    """The opaque fields of one exchange, read by type; every getter raises `MalformedEvidence`."""

    def __init__(self, exchange: MeasurementExchange, name: str, known: frozenset[int], blocks: int) -> None:
        self.exchange = exchange
        self.fields = exchange.fields
        self._name = name
        unknown = sorted(self.fields.keys() - known)
        if unknown:
            raise self._error(Reason.UNSUPPORTED, f"field types are {unknown}", "known ones only")
        if len(exchange.digests) != blocks:
            raise self._error(Reason.UNSUPPORTED, f"has {len(exchange.digests)} measurement blocks", str(blocks))

    def octets(self, kind: int, what: str, size: int) -> bytes:
        """A field of exactly `size` bytes."""
        value = self.fields.get(kind, b"")
        if len(value) != size:
            raise self._malformed(f"{what} is {len(value)} bytes", str(size))
        return value

    def text(self, kind: int, what: str, shape: re.Pattern[str] | None = None) -> str:
        """A text field without its filling."""
        found = _TEXT.fullmatch(self.fields.get(kind, b""))
        value = found[1].decode("ascii") if found else ""
        if not value or (shape is not None and not shape.fullmatch(value)):
            raise self._malformed(f"{what} is {value!r}", "a text of its form")
        return value

    def switch(self, kind: int, what: str) -> bool:
        """A field that is 0xAA for on or 0x55 for off."""
        value = self.octets(kind, what, 1)
        if value not in _SWITCHES:
            raise self._malformed(f"{what} is {value.hex()}", "aa or 55")
        return _SWITCHES[value]

    def version(self) -> int:
        """The version of the field set; reports from before it came state none, which counts as 0."""
        version = int.from_bytes(self.octets(34, "opaque data version", 2), "little") if 34 in self.fields else 0
        if version not in _OPAQUE_VERSIONS:
            raise self._error(Reason.UNSUPPORTED, f"opaque data version is {version}", "0 or 1")
        return version

    def mode(self, version: int) -> str | None:
        """The feature flag, which version 1 brought and which must be there since."""
        if (36 in self.fields) != (version > 0):
            raise self._malformed(f"feature flag under opaque data version {version}", "one since version 1 only")
        if not version:
            return None
        flag = int.from_bytes(self.octets(36, "feature flag", 2), "little")
        if flag not in _MODES:
            raise self._error(Reason.UNSUPPORTED, f"feature flag is {flag}", "0, 1 or 2")
        return _MODES[flag]

    def vbios(self) -> str:
        """The VBIOS version of a GPU, from its binary field."""
        value = self.octets(6, "vbios", 8)
        if any(value[5:]):
            raise self._malformed(f"vbios is {value.hex()}", "five bytes and three zeros")
        return ".".join(f"{value[at]:02X}" for at in (3, 2, 1, 0, 4))

    def switch_pdis(self) -> frozenset[bytes]:
        """The switches at a GPU's links; a link without one is all zeros or all ones."""
        return frozenset(pdi[::-1] for pdi in self._pdis(self.fields.get(22, b""), "switch pdis"))

    def gpu_pdis(self) -> frozenset[bytes]:
        """The GPUs at a switch's ports, up to eight; the port map behind them is not read."""
        value = self.fields.get(26, b"")
        if len(value) < SWITCH_GPUS * PDI_BYTES:
            raise self._malformed(f"gpu pdis are {len(value)} bytes", f"at least {SWITCH_GPUS * PDI_BYTES}")
        return frozenset(self._pdis(value[: SWITCH_GPUS * PDI_BYTES], "gpu pdis"))

    def locked(self) -> bool:
        """Whether the switch says its configuration is locked."""
        value = int.from_bytes(self.octets(25, "lock status", 2), "little")
        if value not in (0, 1):
            raise self._malformed(f"lock status is {value}", "0 or 1")
        return bool(value)

    def _pdis(self, value: bytes, what: str) -> list[bytes]:
        if len(value) % PDI_BYTES or len(value) > MAX_LINKS * PDI_BYTES:
            raise self._malformed(f"{what} are {len(value)} bytes", f"up to {MAX_LINKS} of {PDI_BYTES}")
        pdis = [value[at : at + PDI_BYTES] for at in range(0, len(value), PDI_BYTES)]
        return [pdi for pdi in pdis if pdi not in _NO_PDIS]

    def _malformed(self, got: str, want: str) -> MalformedEvidence:
        return self._error(Reason.MALFORMED, got, want)

    def _error(self, reason: Reason, got: str, want: str) -> MalformedEvidence:
        return MalformedEvidence(reason, f"{self._name} {got}, want {want}")
