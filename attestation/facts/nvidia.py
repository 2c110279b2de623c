# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA GPU and NVSwitch measurement reports state (SPDM 1.1 with NVIDIA's opaque fields, NVIDIA RIMs)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attestation.claims import Scalar
from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary

_UNDECIDED_RIM: Final[Mapping[Scalar, Reason]] = MappingProxyType(
    {"missing": Reason.RIM_UNAVAILABLE, "expired": Reason.RIM_EXPIRED}
)
_UNDECIDED_STATUS: Final[Mapping[Scalar, Reason]] = MappingProxyType(
    {"absent": Reason.COLLATERAL_UNAVAILABLE, "expired": Reason.COLLATERAL_EXPIRED}
)


def _rim(what: str) -> Fact:
    return Fact(
        type=str,
        meaning=f'golden values of the {what}: "match", "mismatch", "missing" or "expired" (signer no longer valid)',
        remedy=f"run a {what} version that NVIDIA publishes a manifest for, and send that manifest",
        reason=Reason.RIM_MISMATCH,
        by_value=_UNDECIDED_RIM,
    )


def _revision(what: str) -> Fact:
    return Fact(
        type=int,
        meaning=f"revision of the manifest the {what} was compared with, 0 without one",
        remedy=f"send the newest manifest NVIDIA publishes for this {what}",
        reason=Reason.RIM_MISMATCH,
        by_value={0: Reason.RIM_UNAVAILABLE},
    )


def _status(whose: str) -> Fact:
    return Fact(
        type=str,
        meaning=f"what stored OCSP responses and revocation lists say of the certificates of {whose}, at worst: "
        '"good", "expired" (no longer current), "absent", "unknown" or "hold" (suspended); a revoked one is refused',
        remedy="send OCSP responses of the last 24 hours with the evidence; a certificate on hold needs other hardware",
        reason=Reason.CERTIFICATE_REVOKED,
        by_value=_UNDECIDED_STATUS,
    )


def _version(what: str, example: str) -> Fact:
    return Fact(
        type=str,
        meaning=f'version of the {what}, as in "{example}"',
        remedy=f"install a {what} version the policy lists",
        reason=Reason.FIRMWARE_REFUSED,
    )


def _number(what: str, rule: str) -> Fact:
    return Fact(
        type=int,
        meaning=f"the same version of the {what} as a number to compare with, {rule}",
        remedy=f"install a newer {what}",
        reason=Reason.FIRMWARE_REFUSED,
    )


_MISMATCHED: Final = Fact(
    type=str,
    meaning='indices whose value is none of the golden ones, as in "7,9", or "none"; a missing manifest names no index',
    remedy="install the released driver and firmware, or send the newest revision of the manifest",
    reason=Reason.RIM_MISMATCH,
)
_HEX_RULE: Final = "0x96009F0001 for 96.00.9F.00.01, comparable within one board"
_ANYWHERE: Final = (
    "Nothing in hardware ties the device to the CPU of this bundle; the tie is the measured guest code that asked.",
    "Keys taken out of a device by physical attack sign reports like these.",
)

GPU: Final = Vocabulary(
    registers=("fwid",),
    facts={
        "architecture": Fact(
            type=str,
            meaning='"hopper" (H100, H200, H20) or "blackwell" (B200)',
            remedy="use a GPU of an architecture the policy lists",
            reason=Reason.PRODUCT_REFUSED,
        ),
        "board": Fact(
            type=str,
            meaning='project, project SKU and chip SKU of the board, as in "G520-0280-895"',
            remedy="use a board the policy lists",
            reason=Reason.PRODUCT_REFUSED,
        ),
        "driver_version": _version("driver", "550.90.07"),
        "driver_number": _number("driver", "550090007 for 550.90.07 and 590012000 for 590.12"),
        "vbios_version": _version("VBIOS", "96.00.9F.00.01"),
        "vbios_number": _number("VBIOS", _HEX_RULE),
        "mode": Fact(
            type=str,
            meaning='"spt" (single GPU), "mpt" (several), "ppcie" (protected PCIe), or "unstated" by older drivers',
            remedy="set the GPU to a mode the policy lists, with a driver that states it",
            reason=Reason.MODE_REFUSED,
        ),
        "protected_pcie": Fact(
            type=str,
            meaning='whether protected PCIe is "on" or "off"; Blackwell says "unstated"',
            remedy="set the GPUs and switches of the machine to the mode the policy lists",
            reason=Reason.MODE_REFUSED,
        ),
        "nvdec_enabled": Fact(
            type=bool,
            meaning="the first video decoder is on; only then does the golden value 35 count",
            remedy="use the mode the policy lists; confidential computing on Hopper switches the decoder off",
            reason=Reason.MODE_REFUSED,
        ),
        "driver_rim": _rim("driver"),
        "driver_rim_revision": _revision("driver"),
        "vbios_rim": _rim("VBIOS"),
        "vbios_rim_revision": _revision("VBIOS"),
        "mismatched_values": _MISMATCHED,
        "ocsp": _status("the device"),
        "rim_ocsp": _status("the manifests' signers"),
    },
    unproven=(
        "No field says that confidential computing is on: it is inferred from matching golden values and the mode.",
        'Mode "unstated" leaves open how the GPU may be shared; drivers before 590 state none.',
        "Hopper's certificates carry no debug flag; that a part is no engineering sample rests on its golden values.",
        *_ANYWHERE,
    ),
)

SWITCH: Final = Vocabulary(
    registers=("fwid",),
    facts={
        "architecture": Fact(
            type=str,
            meaning='"ls10" (third-generation NVSwitch)',
            remedy="use a switch of an architecture the policy lists",
            reason=Reason.PRODUCT_REFUSED,
        ),
        "firmware_version": _version("switch firmware", "96.10.6D.00.01"),
        "firmware_number": _number("switch firmware", _HEX_RULE),
        "locked": Fact(
            type=bool,
            meaning="the switch reports its lock status as set, as every recorded one does",
            remedy="set the switch to protected PCIe mode",
            reason=Reason.MODE_REFUSED,
        ),
        "firmware_rim": _rim("switch firmware"),
        "firmware_rim_revision": _revision("switch firmware"),
        "mismatched_values": _MISMATCHED,
        "ocsp": _status("the device"),
        "rim_ocsp": _status("the manifests' signers"),
    },
    unproven=(
        "A switch's report does not repeat the firmware digest of its certificate; `fwid` is the certificate's.",
        "What the lock status means is documented nowhere public; the port map is not read.",
        *_ANYWHERE,
    ),
)
