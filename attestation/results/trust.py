# SPDX-License-Identifier: Apache-2.0
"""What an appraisal means in the words of AR4SI: eight claims and four tiers (draft-ietf-rats-ar4si-09).

    tier   none 0 (-1..1)   affirming 2 (2..31)   warning 32 (32..95)   contraindicated 96 (96..127)

    hardware            2 genuine and up to date; 32 genuine, but TCB or firmware behind or advisories open; 96 a
                        product, manifest or simulation the policy excludes; 97 TCB or root unknown; 99 not genuine
    configuration       2 as the policy lists; 96 debug, attributes, mode, configuration or topology refused
    executables         3 measured at start as the policy lists; 33 measured as something else
    runtime-opaque      2 memory encrypted (TDX, SGX, SNP, Azure on these); 96 debug, refused mode, or simulated
    instance-identity   96 a machine the policy denies or another owner holds, or whose certificate is revoked; 97 a
                        TPM that was asked to prove where its key lives and did not

What was not appraised, or only under "unchecked", is not claimed, and neither are file-system, storage-opaque and
sourced-data. Nothing in an NVIDIA report says that confidential computing is on, so a GPU never affirms runtime-opaque.
Evidence that does not parse is 1 (unexpected evidence), what could not be decided is not claimed.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from attestation.claims import EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import UNDECIDED, Reason


class TrustClaim(IntEnum):
    """The claims by their CBOR labels."""

    INSTANCE_IDENTITY = 0
    CONFIGURATION = 1
    EXECUTABLES = 2
    FILE_SYSTEM = 3
    HARDWARE = 4
    RUNTIME_OPAQUE = 5
    STORAGE_OPAQUE = 6
    SOURCED_DATA = 7

    @property
    def text(self) -> str:
        """The JSON label."""
        return self.name.lower().replace("_", "-")


class Tier(IntEnum):
    """The tiers by their CBOR values."""

    NONE = 0
    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96

    @property
    def text(self) -> str:
        """The JSON value."""
        return self.name.lower()


_ENCRYPTED: Final = frozenset({TEEKind.TDX, TEEKind.SGX, TEEKind.SNP, TEEKind.AZURE_HCL})
_DEVICES: Final = frozenset({TEEKind.NVIDIA_GPU, TEEKind.NVIDIA_SWITCH})
_UNREADABLE: Final = frozenset({Reason.MALFORMED, Reason.UNSUPPORTED})
_CURRENT: Final = frozenset({TCBStatus.UP_TO_DATE, TCBStatus.UNSTATED})
_HARDWARE, _CONFIGURATION = TrustClaim.HARDWARE, TrustClaim.CONFIGURATION
_EXECUTABLES, _OPAQUE = TrustClaim.EXECUTABLES, TrustClaim.RUNTIME_OPAQUE
_IDENTITY: Final = TrustClaim.INSTANCE_IDENTITY

_REFUSED: Final[Mapping[Reason, Mapping[TrustClaim, int]]] = {
    Reason.TCB_REFUSED: {_HARDWARE: 32},
    Reason.FIRMWARE_REFUSED: {_HARDWARE: 32},
    Reason.RIM_EXPIRED: {_HARDWARE: 32},
    Reason.TCB_UNKNOWN: {_HARDWARE: 97},
    Reason.ROOT_REFUSED: {_HARDWARE: 97},
    Reason.PRODUCT_REFUSED: {_HARDWARE: 96},
    Reason.RIM_MISMATCH: {_HARDWARE: 96},
    Reason.SIMULATED_REFUSED: {_HARDWARE: 96, _OPAQUE: 96},
    Reason.ACTIVATION_MISSING: {_IDENTITY: 97},
    Reason.PLATFORM_REFUSED: {_IDENTITY: 96},
    Reason.HARDWARE_CLAIMED: {_IDENTITY: 96},
    Reason.DEBUG_REFUSED: {_CONFIGURATION: 96, _OPAQUE: 96},
    Reason.ATTRIBUTE_REFUSED: {_CONFIGURATION: 96},
    Reason.MODE_REFUSED: {_CONFIGURATION: 96, _OPAQUE: 96},
    Reason.CONFIG_REFUSED: {_CONFIGURATION: 96},
    Reason.TOPOLOGY_REFUSED: {_CONFIGURATION: 96},
    Reason.POLICY_REFUSED: {_CONFIGURATION: 96},
    Reason.MEASUREMENT_REFUSED: {_EXECUTABLES: 33},
    Reason.EVENT_LOG_MISMATCH: {_EXECUTABLES: 33},
    Reason.ENGINE_REFUSED: {_EXECUTABLES: 33},
}
"""What a finding of each reason says; a reason not here lowers the status and nothing else."""


def tier_of(value: int) -> Tier:
    """The tier of a claim's number, which is -128..127."""
    if -1 <= value <= 1:
        return Tier.NONE
    distance = value if value >= 0 else -value - 1
    return Tier.AFFIRMING if distance < 32 else Tier.WARNING if distance < 96 else Tier.CONTRAINDICATED


def vector_of(claims: EvidenceClaims, reasons: Iterable[Reason], *, unmeasured: bool) -> dict[TrustClaim, int]:
    """The vector of genuine evidence against which an appraisal found these reasons.

    `unmeasured` says that the policy leaves the registers of its workload unchecked.
    """
    found = dict(_accepted(claims, unmeasured=unmeasured))
    for reason in reasons:
        for claim, value in _REFUSED.get(reason, {}).items():
            found[claim] = max(found.get(claim, 0), value)
        if reason in UNDECIDED and tier_of(found.get(_HARDWARE, 0)) is Tier.AFFIRMING:
            del found[_HARDWARE]
    return found


def vector_of_failure(reason: Reason) -> dict[TrustClaim, int]:
    """The vector of evidence that gave no claims, for the reason of its verifier."""
    if reason in UNDECIDED:
        return {}
    if reason in _UNREADABLE:
        return {_HARDWARE: 1}
    if reason is Reason.CERTIFICATE_REVOKED:
        return {_IDENTITY: 96, _HARDWARE: 96}
    return {_HARDWARE: 97 if reason is Reason.ROOT_REFUSED else 99}


def status_of(vector: Mapping[TrustClaim, int], reasons: Iterable[Reason]) -> Tier:
    """The status of one attester: no higher than its worst claim, contraindicated for whatever the policy refuses.

    Affirming needs an affirmed hardware claim and no open question; evidence that does not read has no status.
    """
    stated = list(reasons)
    if any(reason not in UNDECIDED | _UNREADABLE for reason in stated):
        return Tier.CONTRAINDICATED
    worst = max((tier_of(value) for value in vector.values()), default=Tier.NONE)
    if worst > Tier.AFFIRMING:
        return worst
    affirmed = tier_of(vector.get(_HARDWARE, 0)) is Tier.AFFIRMING
    return Tier.AFFIRMING if affirmed and not stated else Tier.NONE


def worst_status(statuses: Iterable[Tier]) -> Tier:
    """The status of a whole: a contraindicated or warning part decides, then one without a status."""
    found = set(statuses)
    order = (Tier.CONTRAINDICATED, Tier.WARNING, Tier.NONE, Tier.AFFIRMING)
    return next((tier for tier in order if tier in found), Tier.NONE)


def _accepted(claims: EvidenceClaims, *, unmeasured: bool) -> Iterable[tuple[TrustClaim, int]]:
    if claims.kind is TEEKind.SIMULATED:
        yield from ((_HARDWARE, 96), (_OPAQUE, 96))
        return
    yield _HARDWARE, 2 if claims.tcb_status in _CURRENT and not claims.advisories else 32
    yield _CONFIGURATION, 2
    if claims.kind not in _DEVICES and not unmeasured:
        yield _EXECUTABLES, 3
    if claims.debug:
        yield _OPAQUE, 96
    elif claims.kind in _ENCRYPTED:
        yield _OPAQUE, 2
