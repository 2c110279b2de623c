# SPDX-License-Identifier: Apache-2.0
"""The names under which NVIDIA's RIM service keeps reference integrity manifests (NVIDIA attestation SDK).

A name only finds a manifest. Which device a manifest is for is read from its signed content: the service answers a
Hopper-style name for a Blackwell driver with a validly signed manifest of another chip.
"""

import re
from typing import Final

from attestation.errors import MalformedEvidence, Reason

_PART: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_HOPPER: Final = "GH100"


def driver_rim_id(product: str, driver: str) -> str:
    """The name of a driver's manifest; `product` is the chip ("GH100", "GB100"), `driver` its version."""
    family = "NV_GPU_DRIVER" if product == _HOPPER else "NV_GPU_CC_DRIVER"
    return _joined(family, product, driver)


def vbios_rim_id(*, project: str, sku: str, chip_sku: str, vbios: str) -> str:
    """The name of a VBIOS manifest, from the report's opaque fields; `vbios` with or without dots."""
    return _joined("NV_GPU_VBIOS", project, sku, chip_sku, vbios.replace(".", ""))


def switch_rim_id(*, project: str, sku: str, chip_sku: str, firmware: str) -> str:
    """The name of an NVSwitch firmware manifest, from the report's opaque fields."""
    return _joined("NV_SWITCH_BIOS", project, sku, chip_sku, firmware.replace(".", ""))


def _joined(family: str, *parts: str) -> str:
    # The parts come from a device's report and go into the path of a request: nothing else may get there.
    for part in parts:
        if not _PART.fullmatch(part):
            message = f"rim name part is {part[:64]!r}, want 1..64 letters, digits and dots"
            raise MalformedEvidence(Reason.MALFORMED, message)
    return "_".join((family, *parts))
