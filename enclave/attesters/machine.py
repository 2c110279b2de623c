# SPDX-License-Identifier: Apache-2.0
"""The attester of a whole machine: one CPU that quotes, the GPUs that report, and collateral where it is at hand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from attestation.binding import KeyBinding, Profile
from attestation.bundle import Collateral, Evidence
from enclave.attesters.interface import Quoted


class Quoter(Protocol):
    """What fills a CPU's slot. May block on a device; called from one thread at a time."""

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """Evidence with `binding` in its slot, and the endorsements that came with it. Raises `DeviceFailed`."""
        ...


class Reporter(Protocol):
    """What asks devices for reports. May block; called from one thread at a time."""

    def reports(self, nonce: bytes) -> Quoted:
        """A report of every device of its kind over `nonce` (32 bytes). Raises `DeviceFailed` if one gives none."""
        ...


class CollateralFinder(Protocol):
    """Where a worker finds collateral besides what devices hand out. It may find nothing: the registry completes."""

    def find(self, evidence: Sequence[Evidence]) -> tuple[Collateral, ...]:
        """Collateral for `evidence`; never raises for what it does not have."""
        ...


class NoCollateral:
    """A finder for workers that send only what their devices hold."""

    def find(self, evidence: Sequence[Evidence]) -> tuple[Collateral, ...]:
        """Nothing."""
        return ()


class MachineAttester:
    """An `Attester` of a real machine. Its bindings are of the profile of the trust root it serves under."""

    def __init__(
        self, *, profile: Profile, cpu: Quoter, gpus: Reporter | None, collateral: CollateralFinder | None = None
    ) -> None:
        """`gpus` is None on a machine that shows no GPU."""
        self._profile = profile
        self._cpu = cpu
        self._gpus = gpus
        self._collateral = collateral or NoCollateral()

    @property
    def profile(self) -> Profile:
        """The profile of the bindings it is given."""
        return self._profile

    def devices(self, nonce: bytes) -> Quoted:
        """A report of every GPU; none on a machine without."""
        if self._gpus is None:
            return Quoted(evidence=(), collateral=())
        return self._completed(self._gpus.reports(nonce))

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The CPU's evidence."""
        return self._completed(self._cpu.quote(binding, now=now))

    def _completed(self, quoted: Quoted) -> Quoted:
        found = self._collateral.find(quoted.evidence)
        return Quoted(evidence=quoted.evidence, collateral=(*quoted.collateral, *found))
