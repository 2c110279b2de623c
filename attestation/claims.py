# SPDX-License-Identifier: Apache-2.0
"""What genuine evidence says, in one vocabulary for every kind of TEE (docs/spec.md, 3.9).

`EvidenceClaims` is what one piece of evidence says; `Claims` is what a whole presentation says: one CPU, its devices,
and the facts its key binding adds. Claims are statements, not verdicts: whether they are acceptable is for appraisal.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Final, TypeAlias

from attestation.binding import Profile, SuiteID
from attestation.codec import cbor

Scalar: TypeAlias = str | int | bool
"""What a fact may be, and what a policy compares it with."""


class TEEKind(StrEnum):
    """The kinds of evidence Sealbid knows; `simulated` protects nothing and is refused by production policies."""

    SIMULATED = "simulated"
    TDX = "tdx"
    SGX = "sgx"
    SNP = "snp"
    NVIDIA_GPU = "nvidia-gpu"
    NVIDIA_SWITCH = "nvidia-switch"
    TPM = "tpm"
    AZURE_HCL = "azure-hcl"


DEVICE_KINDS: Final[Mapping[TEEKind, str]] = MappingProxyType(
    {TEEKind.NVIDIA_GPU: "gpu", TEEKind.NVIDIA_SWITCH: "switch"}
)
"""The kinds that are devices of a machine and carry the device nonce, with their names in a key binding (B4)."""


class TCBStatus(StrEnum):
    """How current the platform's firmware is, in the words of Intel's collateral; other vendors map onto them."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    UNSTATED = "Unstated"
    """The vendor publishes no status for this kind: its firmware is judged by facts (SPLs, versions, RIMs)."""


class ComponentKind(StrEnum):
    """What a platform identity belongs to. All but `cpu` have one owner at a time; a CPU may be a shared host's."""

    CPU = "cpu"
    GPU = "gpu"
    SWITCH = "switch"
    EK = "ek"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ComponentID:
    """A hardware identity (PPID, CHIP_ID, GPU serial, EK digest). It names a provider's machine: never log it raw."""

    kind: ComponentKind
    value: bytes

    @property
    def masked(self) -> bool:
        """True for an id the platform hides (all zero, as under VLEK): it counts as unknown, never as an identity."""
        return not any(self.value)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Measurement:
    """One measured register: `mrtd`, `rtmr3`, `mrenclave`, `launch`, or `image` for the simulated kind."""

    register: str
    algorithm: str
    digest: bytes

    @property
    def text(self) -> str:
        """The form policies and findings use: `register:algorithm:hex`."""
        return f"{self.register}:{self.algorithm}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceClaims:
    """What one genuine piece of evidence says.

    `facts` holds what this kind states beyond the common fields, all names of its table in `attestation.facts` and no
    other; none identifies a machine. `peers` are the devices this one says it is linked to.
    `slot` is the field the TEE let its software fill (report_data of 64 bytes, a
    TPM's extraData of 32, a GPU's nonce of 32). `collateral_expires` is the earliest moment at which the collateral
    used stops being valid.
    """

    kind: TEEKind
    measurements: tuple[Measurement, ...]
    debug: bool
    tcb_status: TCBStatus
    advisories: tuple[str, ...]
    platform_ids: tuple[ComponentID, ...]
    slot: bytes
    collateral_expires: datetime
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    peers: tuple[ComponentID, ...] = ()

    def public_item(self) -> cbor.Item:
        """These claims without platform identities, which must not be guessable from a public digest (ruling 33)."""
        return [
            self.kind.value,
            [measurement.text for measurement in self.measurements],
            self.debug,
            self.tcb_status.value,
            list(self.advisories),
            self.slot,
            [[name, self.facts[name]] for name in sorted(self.facts)],
        ]


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a whole presentation says: the CPU's claims, its devices', and what its key binding commits to.

    `profile` and `config_sha256` and `engines` come from the binding, `challenged` from the challenge it answers: the
    evidence is at least that young.
    """

    cpu: EvidenceClaims
    devices: tuple[EvidenceClaims, ...]
    profile: Profile
    purpose: str
    suites: tuple[SuiteID, ...]
    engines: tuple[bytes, ...]
    config_sha256: bytes
    challenged: datetime

    @property
    def kind(self) -> TEEKind:
        """The kind of the CPU evidence, which carries the binding."""
        return self.cpu.kind

    @property
    def simulated(self) -> bool:
        """True under a development binding or when any part is simulated: one such part makes the whole worthless."""
        return self.profile is Profile.DEVELOPMENT or any(part.kind is TEEKind.SIMULATED for part in self.parts())

    @property
    def platform_ids(self) -> tuple[ComponentID, ...]:
        """Every hardware identity of the presentation, ascending and unique."""
        return tuple(sorted({identity for part in self.parts() for identity in part.platform_ids}))

    @property
    def collateral_expires(self) -> datetime:
        """The earliest expiry of any collateral used."""
        return min(part.collateral_expires for part in self.parts())

    def parts(self) -> Iterator[EvidenceClaims]:
        """The CPU first, then each device."""
        yield self.cpu
        yield from self.devices

    @cached_property
    def sha256(self) -> bytes:
        """The digest of the public claims, as verdict entries and receipts cite it, without platform identities."""
        return hashlib.sha256(cbor.encode(self._public_item())).digest()

    def _public_item(self) -> cbor.Item:
        return {
            0: "sealbid/claims/1",
            1: [part.public_item() for part in self.parts()],
            2: self.profile.value,
            3: self.purpose,
            4: [int(suite) for suite in self.suites],
            5: list(self.engines),
            6: self.config_sha256,
            7: int(self.challenged.timestamp()),
        }
