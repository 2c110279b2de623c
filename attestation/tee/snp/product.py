# SPDX-License-Identifier: Apache-2.0
"""AMD's processor lines and how each spells its firmware levels (SEV-SNP firmware ABI, publication 56860, TCB_VERSION).

    Milan, Genoa   bootloader u8, tee u8, 0[4], snp u8, microcode u8
    Turin          fmc u8, bootloader u8, tee u8, snp u8, 0[3], microcode u8

Genoa stands for all of Zen 4 with SEV-SNP (Bergamo and Siena have its key chain). A line that is not named here is
refused: its firmware levels may be spelled otherwise.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

TCB_BYTES: Final = 8


class Product(StrEnum):
    """A processor line, in the word AMD's certificates use."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


CHIP_ID_BYTES: Final[Mapping[Product, int]] = MappingProxyType({Product.MILAN: 64, Product.GENOA: 64, Product.TURIN: 8})
"""How much of CHIP_ID names the chip; the rest is zero."""

_ZEN_3_4: Final = ("bootloader", "tee", "spl4", "spl5", "spl6", "spl7", "snp", "microcode")
_ZEN_5: Final = ("fmc", "bootloader", "tee", "snp", "spl5", "spl6", "spl7", "microcode")
TCB_PARTS: Final[Mapping[Product, tuple[str, ...]]] = MappingProxyType(
    {Product.MILAN: _ZEN_3_4, Product.GENOA: _ZEN_3_4, Product.TURIN: _ZEN_5}
)
"""What each byte of a TCB version counts, first byte first; `spl4` to `spl7` have no use yet and are zero."""

_MODELS: Final = (
    (0x19, range(0x10), Product.MILAN),
    (0x19, range(0x10, 0x20), Product.GENOA),
    (0x19, range(0xA0, 0xB0), Product.GENOA),
    (0x1A, range(0x12), Product.TURIN),
)


def product_of(family: int, model: int) -> Product | None:
    """The line of a processor by its CPUID family and model, both with the extended parts; None for an unknown one."""
    return next((product for want, models, product in _MODELS if family == want and model in models), None)


def levels(product: Product, tcb: bytes) -> dict[str, int]:
    """The firmware levels of a TCB version of 8 bytes by name, `fmc` 0 where the line has none."""
    return {"fmc": 0, **dict(zip(TCB_PARTS[product], tcb, strict=True))}


def reaches(tcb: bytes, least: bytes) -> bool:
    """True if no level of `tcb` is below that of `least`; both 8 bytes of one product."""
    return all(got >= want for got, want in zip(tcb, least, strict=True))
