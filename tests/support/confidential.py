# SPDX-License-Identifier: Apache-2.0
"""Confidential machines of fake vendors: an SEV-SNP guest with GPUs, attesting under a production policy.

The vendors are `fake_amd` and `fake_nvidia`: everything but their roots is as real vendors have it, and the verifiers
are the product's own, told those roots.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.binding import KeyBinding, Profile
from attestation.bundle import Collateral, Evidence
from attestation.claims import DEVICE_KINDS, EvidenceClaims, Scalar, TEEKind
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.interface import Verifier
from attestation.tee.snp.verifier import SNPVerifier
from enclave.attesters.interface import Quoted
from tests.support import fake_amd
from tests.support.fake_nvidia import FakeDevice, FakeNVIDIA
from tests.support.fake_nvidia_rim import made_at
from tests.support.worlds import START, World, world

SERVES: Final = bytes(31) + b"\x01"
"""The engine that `worlds.Machine` serves."""


@cache
def nvidia() -> FakeNVIDIA:
    """The one NVIDIA of a test run; its manifests' signer is valid at `START`."""
    return FakeNVIDIA(rim_maker=made_at(START - timedelta(days=30)))


@dataclass(kw_only=True)
class ConfidentialMachine:
    """An `Attester`: one guest, its GPUs and switches. What is wrong with it is a field."""

    gpus: tuple[FakeDevice, ...] = field(default_factory=lambda: (nvidia().gpu(), nvidia().gpu()))
    switches: tuple[FakeDevice, ...] = ()
    answered_nonce: bytes | None = None
    old_quote: Evidence | None = None
    with_manifests: bool = True
    profile: Profile = Profile.PRODUCTION

    def devices(self, nonce: bytes) -> Quoted:
        """A report of each device over the nonce, or over the wrong one."""
        over = self.answered_nonce or nonce
        reports = [gpu.evidence(gpu.report(nonce=over, switches=self.switches)) for gpu in self.gpus]
        reports += [switch.evidence(switch.report(nonce=over, gpus=self.gpus)) for switch in self.switches]
        return Quoted(evidence=tuple(reports), collateral=self._endorsements())

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The guest's report with the binding in its slot, or an earlier one."""
        made = fake_amd.good(report_data=binding.report_data())
        return Quoted(evidence=(self.old_quote or made.evidence,), collateral=made.collateral)

    def _endorsements(self) -> tuple[Collateral, ...]:
        every = (*self.gpus, *self.switches)
        answers = {item.data: item for device in every for item in nvidia().statements(device, at=START)}
        chains = [device.chain for device in every]
        manifests = [*nvidia().rims(), nvidia().switch_rim()] if self.with_manifests else []
        return (*chains, *answers.values(), *manifests, *nvidia().rim_statements(at=START))


def verifiers() -> dict[TEEKind, Verifier]:
    """The product's verifiers, told the fake vendors' roots."""
    return {
        TEEKind.SNP: SNPVerifier(roots=fake_amd.roots()),
        TEEKind.NVIDIA_GPU: nvidia().verifier(),
        TEEKind.NVIDIA_SWITCH: nvidia().switch_verifier(),
    }


def accepting(parts: Sequence[EvidenceClaims], *, gpus: int, switches: int = 0, workers_per_cpu: int = 1) -> bytes:
    """A production policy that accepts exactly what these claims state: one reference value per register and fact."""
    by_kind = {part.kind: part for part in parts}
    cpu = next(kind for kind in by_kind if kind not in DEVICE_KINDS)
    lines = [
        'id = "exact"',
        "version = 1",
        'profile = "production"',
        "[tee]",
        f'kinds = {{ any_of = ["{cpu.value}"] }}',
        f"devices = {{ any_of = {[kind.value for kind in by_kind if kind in DEVICE_KINDS]} }}",
        "debug = { exactly = false }",
        'tcb_status = { any_of = ["UpToDate"] }',
        "advisories = { any_of = [] }",
        f"[workload.{cpu.value}]",
        f'measured_by = "{by_kind[cpu].measurements[0].register}"',
        *(f"registers.{name} = {_exactly(value)}" for name, value in _registers(by_kind[cpu]).items()),
    ]
    for kind, part in by_kind.items():
        stated = dict(part.facts) | (_registers(part) if kind in DEVICE_KINDS else {})
        lines += [f"[facts.{kind.value}]", *(f"{name} = {_exactly(value)}" for name, value in stated.items())]
    lines += [
        "[topology]",
        f"gpus = {_exactly(gpus)}",
        f"switches = {_exactly(switches)}",
        "alike = { exactly = true }",
        f"linked = {_exactly('complete' if switches else 'none')}",
        "[code]",
        f"engines = {_exactly(SERVES.hex())}",
        f"config = {_exactly(bytes(32).hex())}",
        "[platform]",
        'allowed = { unchecked = "every machine of these tests" }',
        "denied = []",
        f"dedicated_host = {str(workers_per_cpu == 1).lower()}",
        f"max_workers_per_cpu = {workers_per_cpu}",
        "[freshness]",
        "max_evidence_age_seconds = 3600",
        "max_checkpoint_age_seconds = 60",
        "max_revocation_staleness_seconds = 60",
        "lease_seconds = 3600",
        "[sealing]",
        "suites = [1]",
    ]
    return "\n".join(lines).encode()


@cache
def exact_policy(*, gpus: int = 2, switches: int = 0, workers_per_cpu: int = 1) -> AppraisalPolicy:
    """The policy that accepts a good machine of this many devices, and nothing else."""
    machine = good_machine(gpus=gpus, switches=switches)
    reports = machine.devices(bytes(32))
    guest = fake_amd.good()
    bundle = (*guest.collateral, *reports.collateral)
    known = verifiers()
    evidence = (guest.evidence, *reports.evidence)
    parts = [known[part.kind].verify(part, bundle, now=START) for part in evidence]
    return read_policy(accepting(parts, gpus=gpus, switches=switches, workers_per_cpu=workers_per_cpu))


def good_machine(*, gpus: int = 2, switches: int = 0) -> ConfidentialMachine:
    """A machine with nothing wrong."""
    return ConfidentialMachine(
        gpus=tuple(nvidia().gpu() for _ in range(gpus)),
        switches=tuple(nvidia().switch() for _ in range(switches)),
    )


def confidential_world(*, gpus: int = 2, switches: int = 0, workers_per_cpu: int = 1) -> World:
    """A registry that admits such machines, under a production policy."""
    policy = exact_policy(gpus=gpus, switches=switches, workers_per_cpu=workers_per_cpu)
    return world(policy=policy, verifiers=verifiers())


def without_collateral(quoted: Quoted, kind: str) -> Quoted:
    """The same evidence with all collateral of one kind left out."""
    return replace(quoted, collateral=tuple(item for item in quoted.collateral if item.kind != kind))


def _registers(part: EvidenceClaims) -> dict[str, Scalar]:
    stated = {measured.register: measured.text.partition(":")[2] for measured in part.measurements}
    return {name: stated.get(name, "absent") for name in VOCABULARIES[part.kind].registers}


def _exactly(value: Scalar) -> str:
    shown = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, int) else f'"{value}"'
    return f"{{ exactly = {shown} }}"
