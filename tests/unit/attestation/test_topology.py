# SPDX-License-Identifier: Apache-2.0
"""How the devices of one machine must stand together: count, alike, linked."""

from dataclasses import replace

import pytest

from attestation.appraisal.policy import read_policy
from attestation.appraisal.topology import topology
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TEEKind
from attestation.errors import Reason
from tests.support.attested import some_claims
from tests.support.worlds import policy_bytes

GPUS = tuple(ComponentID(kind=ComponentKind.GPU, value=b"gpu-%d" % n) for n in (1, 2))
SWITCHES = tuple(ComponentID(kind=ComponentKind.SWITCH, value=b"switch-%d" % n) for n in range(2))


def gpu(serial: int = 1, *, peers: tuple[ComponentID, ...] = (), mode: str = "spt") -> EvidenceClaims:
    identity = ComponentID(kind=ComponentKind.GPU, value=b"gpu-%d" % serial)
    facts = {"mode": mode}
    return replace(some_claims().cpu, kind=TEEKind.NVIDIA_GPU, platform_ids=(identity,), peers=peers, facts=facts)


def switch(identity: ComponentID) -> EvidenceClaims:
    return replace(some_claims().cpu, kind=TEEKind.NVIDIA_SWITCH, platform_ids=(identity,), peers=GPUS)


def found(*devices: EvidenceClaims, **changes: str) -> list[str]:
    policy = read_policy(policy_bytes(**changes))
    findings = list(topology(devices, policy))
    assert all(finding.reason is Reason.TOPOLOGY_REFUSED and finding.remedy for finding in findings)
    return [finding.field for finding in findings]


EIGHT = {"gpus": "{ exactly = 2 }", "switches": "{ exactly = 2 }", "linked": '{ exactly = "complete" }'}


def test_the_topology_a_policy_states_is_accepted() -> None:
    """None when none is wanted; two alike GPUs that each name both switches where that is wanted."""
    assert found() == []
    devices = (gpu(1, peers=SWITCHES), gpu(2, peers=SWITCHES), *map(switch, SWITCHES))
    assert found(*devices, **EIGHT) == []


@pytest.mark.parametrize(
    ("devices", "fields"),
    [
        ((gpu(1, peers=SWITCHES), *map(switch, SWITCHES)), ["topology.gpus", "topology.linked"]),
        (
            (gpu(1, peers=SWITCHES), gpu(1, peers=SWITCHES), *map(switch, SWITCHES)),
            ["topology.gpus", "topology.linked"],
        ),
        (
            (gpu(1, peers=SWITCHES), gpu(2, peers=SWITCHES), switch(SWITCHES[0])),
            ["topology.switches", "topology.linked"],
        ),
        ((gpu(1, peers=SWITCHES), gpu(2, peers=SWITCHES[:1]), *map(switch, SWITCHES)), ["topology.linked"]),
        ((gpu(1), gpu(2), *map(switch, SWITCHES)), ["topology.linked"]),
        (
            (gpu(1, peers=SWITCHES), gpu(2, peers=SWITCHES, mode="ppcie"), *map(switch, SWITCHES)),
            ["topology.alike"],
        ),
    ],
    ids=[
        "a GPU missing",
        "a GPU twice",
        "a switch missing",
        "a GPU linked elsewhere",
        "no links stated",
        "another mode",
    ],
)
def test_what_does_not_stand_together_is_refused_by_name(
    devices: tuple[EvidenceClaims, ...], fields: list[str]
) -> None:
    """A missing GPU or switch, a foreign link and an odd one out each have their own finding."""
    assert found(*devices, **EIGHT) == fields
