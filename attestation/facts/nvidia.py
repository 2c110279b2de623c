# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA GPU and NVSwitch measurement reports state (SPDM 1.1 with NVIDIA's opaque fields, NVIDIA RIMs)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary


def _rim(what: str) -> Fact:
    return Fact(
        type=str,
        meaning=f'golden values of the {what}: "match", "mismatch", "missing" or "expired" (signer no longer valid)',
        remedy=f"run a {what} version that NVIDIA publishes a manifest for, and send that manifest",
        reason=Reason.RIM_MISMATCH,
        by_value={"missing": Reason.RIM_UNAVAILABLE, "expired": Reason.RIM_EXPIRED},
    )


GPU: Final = Vocabulary(
    registers=(),
    facts={
        "driver_rim": _rim("driver"),
        "vbios_rim": _rim("VBIOS"),
    },
)

SWITCH: Final = Vocabulary(
    registers=(),
    facts={
        "firmware_rim": _rim("switch firmware"),
    },
)
