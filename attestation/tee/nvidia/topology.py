# SPDX-License-Identifier: Apache-2.0
"""Whether the GPUs and NVSwitches of one machine name each other, as protected PCIe needs it (NVIDIA PPCIE verifier).

Complete is: there are GPUs and switches, every GPU's links end at exactly the switches that attested, and the ports of
every switch lead to exactly the GPUs that attested. Both sides are signed, so a device of another machine breaks it
twice. A machine whose devices name no peers at all has none. How many devices there must be is for policy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from attestation.claims import ComponentID, EvidenceClaims, TEEKind


class LinkState(StrEnum):
    """NONE: no device names another and there is no switch."""

    NONE = "none"
    COMPLETE = "complete"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linkage:
    """The state, and what is wrong if it is broken, without any device's identity."""

    state: LinkState
    wrong: tuple[str, ...] = ()


def linkage(devices: Iterable[EvidenceClaims]) -> Linkage:
    """How the NVIDIA devices among `devices`, all verified, are linked."""
    parts = list(devices)
    gpus = [part for part in parts if part.kind is TEEKind.NVIDIA_GPU]
    switches = [part for part in parts if part.kind is TEEKind.NVIDIA_SWITCH]
    if not switches and not any(gpu.peers for gpu in gpus):
        return Linkage(state=LinkState.NONE)
    wrong = [*_wrong("gpu", gpus, "switches", switches), *_wrong("switch", switches, "gpus", gpus)]
    return Linkage(state=LinkState.BROKEN if wrong else LinkState.COMPLETE, wrong=tuple(wrong))


def _wrong(name: str, devices: Sequence[EvidenceClaims], others: str, peers: Sequence[EvidenceClaims]) -> list[str]:
    present = frozenset[ComponentID]().union(*(peer.platform_ids for peer in peers))
    found = [] if devices else [f"{name} evidence is missing, want some beside the {others}"]
    for place, device in enumerate(devices):
        absent, unnamed = len(set(device.peers) - present), len(present - set(device.peers))
        if absent or unnamed:
            got = f"{name} {place} names {absent} {others} that did not attest and omits {unnamed} that did"
            found.append(f"{got}, want exactly those that did")
    return found
