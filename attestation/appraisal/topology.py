# SPDX-License-Identifier: Apache-2.0
"""How the devices of one machine stand together: how many, whether alike, and whether each names the others.

A machine with eight GPUs of which seven attest is refused by the count; one in another mode or with another driver than
its neighbours by `alike`; a GPU whose NVSwitches did not attest, or a switch no GPU is linked to, by `linked`.
"""

from collections.abc import Iterator, Sequence

from attestation.appraisal.finding import Finding
from attestation.appraisal.part import compare
from attestation.appraisal.policy import AppraisalPolicy
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TEEKind
from attestation.errors import Reason

_COUNT_REMEDY = "attest every device of the machine, and only those"


def topology(devices: Sequence[EvidenceClaims], policy: AppraisalPolicy) -> Iterator[Finding]:
    """Every finding about how `devices` stand together."""
    gpus = [device for device in devices if device.kind is TEEKind.NVIDIA_GPU]
    switches = [device for device in devices if device.kind is TEEKind.NVIDIA_SWITCH]
    wanted, reason = policy.topology, Reason.TOPOLOGY_REFUSED
    yield from compare("topology.gpus", wanted.gpus, len(gpus), _COUNT_REMEDY, reason)
    yield from compare("topology.switches", wanted.switches, len(switches), _COUNT_REMEDY, reason)
    remedy = "give every gpu of the machine the same driver, firmware and mode"
    yield from compare("topology.alike", wanted.alike, _alike(gpus), remedy, reason)
    remedy = "attest the switches that the gpus are linked to, and no others"
    yield from compare("topology.linked", wanted.linked, linked(gpus, switches), remedy, reason)


def linked(gpus: Sequence[EvidenceClaims], switches: Sequence[EvidenceClaims]) -> str:
    """`none` without any link, `complete` when every GPU names exactly the switches present, else `broken`."""
    present = {
        identity for switch in switches for identity in switch.platform_ids if identity.kind is ComponentKind.SWITCH
    }
    named = [set(gpu.peers) for gpu in gpus]
    if not switches and not any(named):
        return "none"
    # A switch may carry a serial besides the id its GPUs name it by: each switch must be named by one of its ids.
    every_switch_named = all(any(set(switch.platform_ids) & peers for peers in named) for switch in switches)
    every_peer_present = bool(named) and all(peers and peers <= present for peers in named)
    return "complete" if every_switch_named and every_peer_present and _same(named) else "broken"


def _same(named: Sequence[set[ComponentID]]) -> bool:
    return all(peers == named[0] for peers in named)


def _alike(gpus: Sequence[EvidenceClaims]) -> bool:
    return all(gpu.facts == gpus[0].facts for gpu in gpus)
