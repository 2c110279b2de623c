# SPDX-License-Identifier: Apache-2.0
"""How the devices of one machine stand together: how many, whether alike, and whether each names the others.

A machine with eight GPUs of which seven attest is refused by the count; one in another mode or with another driver than
its neighbours by `alike`; devices whose links do not end at exactly the ones that attested by `linked`.
"""

from collections.abc import Iterator, Sequence

from attestation.appraisal.finding import Finding
from attestation.appraisal.part import compare
from attestation.appraisal.policy import AppraisalPolicy
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import Reason
from attestation.tee.nvidia.topology import linkage

_COUNT_REMEDY = "attest every device of the machine, and only those"


def topology(devices: Sequence[EvidenceClaims], policy: AppraisalPolicy) -> Iterator[Finding]:
    """Every finding about how `devices` stand together."""
    gpus = [device for device in devices if device.kind is TEEKind.NVIDIA_GPU]
    switches = [device for device in devices if device.kind is TEEKind.NVIDIA_SWITCH]
    wanted, reason = policy.topology, Reason.TOPOLOGY_REFUSED
    yield from compare("topology.gpus", wanted.gpus, _count(gpus), _COUNT_REMEDY, reason)
    yield from compare("topology.switches", wanted.switches, _count(switches), _COUNT_REMEDY, reason)
    remedy = "give every gpu of the machine the same driver, firmware and mode"
    yield from compare("topology.alike", wanted.alike, _alike(gpus), remedy, reason)
    remedy = "attest the switches that the gpus are linked to, and no others"
    yield from compare("topology.linked", wanted.linked, linkage(devices).state.value, remedy, reason)


def _count(devices: Sequence[EvidenceClaims]) -> int:
    # Devices, not reports: one that reports twice is one.
    return len({device.platform_ids for device in devices})


def _alike(gpus: Sequence[EvidenceClaims]) -> bool:
    return all(gpu.facts == gpus[0].facts for gpu in gpus)
