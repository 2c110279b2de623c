# SPDX-License-Identifier: Apache-2.0
"""Switch reports, and machines whose GPUs and switches must name each other."""

from dataclasses import replace
from datetime import datetime

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TEEKind
from attestation.errors import AttestationError, Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.nvidia.topology import LinkState, linkage
from tests.support.fake_nvidia import NONCE, NOW, FakeDevice, FakeNVIDIA

NVIDIA = FakeNVIDIA()
SWITCH = NVIDIA.switch()
GPU = NVIDIA.gpu()


def claims(switch: FakeDevice = SWITCH, *others: Collateral, report: bytes | None = None) -> EvidenceClaims:
    """What a new verifier says of a switch's report."""
    return NVIDIA.switch_verifier().verify(switch.evidence(report), [switch.chain, *others], now=NOW)


def refused(evidence: Evidence, *collateral: Collateral, now: datetime = NOW) -> Reason:
    """Why the switch's verifier refuses."""
    with pytest.raises(AttestationError) as caught:
        NVIDIA.switch_verifier().verify(evidence, collateral, now=now)
    return caught.value.reason


def test_a_genuine_switch_states_every_fact_of_its_vocabulary_and_no_other() -> None:
    """Claims have exactly the facts and registers a policy must speak about."""
    said, vocabulary = claims(), VOCABULARIES[TEEKind.NVIDIA_SWITCH]
    assert said.facts.keys() == vocabulary.facts.keys()
    assert all(type(said.facts[name]) is fact.type for name, fact in vocabulary.facts.items())
    assert [(part.register, part.digest) for part in said.measurements] == [("fwid", SWITCH.fwid)]
    assert said.slot == NONCE
    assert said.platform_ids == (ComponentID(kind=ComponentKind.SWITCH, value=b"\x50" + SWITCH.pdi),)


def test_released_firmware_of_a_switch_matches_its_manifest() -> None:
    """And other firmware does not; without a manifest nothing is decided."""
    rim = NVIDIA.switch_rim()
    assert claims(SWITCH, rim).facts["firmware_rim"] == "match"
    assert claims().facts["firmware_rim"] == "missing"
    other = SWITCH.report(digests={3: bytes(48)})
    facts = claims(SWITCH, rim, report=other).facts
    assert (facts["firmware_rim"], facts["mismatched_values"]) == ("mismatch", "3")


def test_answers_about_a_switch_count_as_those_about_a_gpu() -> None:
    """One rule for both."""
    assert claims(SWITCH, *NVIDIA.statements(SWITCH)).facts["ocsp"] == "good"


def test_the_lock_status_is_stated() -> None:
    """A policy may ask for it."""
    assert claims().facts["locked"] is True
    assert claims(report=SWITCH.report(fields={25: b"\0\0"})).facts["locked"] is False


def test_a_gpu_cannot_pose_as_a_switch() -> None:
    """A perfect switch report by a GPU's key is refused for its certificates."""
    forged = GPU.sign(SWITCH.report()[:-96])
    assert refused(SWITCH.evidence(forged), GPU.chain) is Reason.CHIP_MISMATCH


def test_a_switch_that_names_another_is_refused() -> None:
    """The PDI in the report is that of the certificate."""
    report = SWITCH.report(fields={22: NVIDIA.switch().pdi})
    assert refused(SWITCH.evidence(report), SWITCH.chain) is Reason.CHIP_MISMATCH


def test_a_gpu_report_is_no_switch_report() -> None:
    """Its measurement blocks are of another number, its fields of another set."""
    evidence = Evidence(kind=TEEKind.NVIDIA_SWITCH, format="nvidia-switch-spdm-1.1", data=GPU.report())
    assert refused(evidence, GPU.chain) is Reason.UNSUPPORTED


def test_evidence_of_another_format_is_unsupported() -> None:
    """Only the format this verifier is for."""
    assert refused(replace(SWITCH.evidence(), format="nvidia-spdm-1.1"), SWITCH.chain) is Reason.UNSUPPORTED


def test_a_switch_without_a_chain_is_a_missing_endorsement() -> None:
    """Nothing is decided."""
    assert refused(SWITCH.evidence()) is Reason.ENDORSEMENT_MISSING


class Machine:
    """Eight GPUs and four switches whose links are as in a real one, and what they say."""

    def __init__(self) -> None:
        self.gpus = [NVIDIA.gpu() for _ in range(8)]
        self.switches = [NVIDIA.switch() for _ in range(4)]

    def gpu_claims(self, switches: list[FakeDevice] | None = None) -> list[EvidenceClaims]:
        """The claims of the GPUs, whose links end at these switches, or at the machine's own."""
        verifier = NVIDIA.verifier()
        reports = [(gpu, gpu.report(switches=self.switches if switches is None else switches)) for gpu in self.gpus]
        return [verifier.verify(gpu.evidence(report), [gpu.chain], now=NOW) for gpu, report in reports]

    def switch_claims(self, gpus: list[FakeDevice] | None = None) -> list[EvidenceClaims]:
        """The claims of the switches, whose ports lead to these GPUs, or to the machine's own."""
        return [
            claims(switch, report=switch.report(gpus=self.gpus if gpus is None else gpus)) for switch in self.switches
        ]


MACHINE = Machine()
GPUS, SWITCHES = MACHINE.gpu_claims(), MACHINE.switch_claims()


def test_a_whole_machine_is_complete() -> None:
    """Every device names exactly the others, whatever the order."""
    assert linkage([*GPUS, *SWITCHES]).state is LinkState.COMPLETE
    assert linkage([*SWITCHES, *reversed(GPUS)]).wrong == ()


def test_gpus_without_links_have_none() -> None:
    """One GPU, or several without switches."""
    alone = MACHINE.gpu_claims(switches=[])
    assert linkage(alone).state is LinkState.NONE
    assert linkage([]).state is LinkState.NONE


def test_a_missing_device_breaks_the_links() -> None:
    """A GPU or a switch that did not attest is missed by all that name it."""
    assert linkage([*GPUS[1:], *SWITCHES]).state is LinkState.BROKEN
    assert linkage([*GPUS, *SWITCHES[1:]]).state is LinkState.BROKEN
    assert linkage(GPUS).state is LinkState.BROKEN
    assert linkage(SWITCHES).state is LinkState.BROKEN


def test_a_device_of_another_machine_breaks_the_links() -> None:
    """A GPU or a switch nobody names, in addition or in place of one."""
    other = Machine()
    foreign_gpu, foreign_switch = other.gpu_claims()[0], other.switch_claims()[0]
    assert linkage([*GPUS, foreign_gpu, *SWITCHES]).state is LinkState.BROKEN
    assert linkage([*GPUS[1:], foreign_gpu, *SWITCHES]).state is LinkState.BROKEN
    assert linkage([*GPUS, *SWITCHES[1:], foreign_switch]).state is LinkState.BROKEN
    assert linkage([*GPUS, *SWITCHES, foreign_switch]).state is LinkState.BROKEN


def test_links_have_to_be_named_from_both_sides() -> None:
    """A GPU that claims the machine's switches is not one of its GPUs unless these name it."""
    assert linkage([*GPUS, *MACHINE.switch_claims(gpus=MACHINE.gpus[:7])]).state is LinkState.BROKEN
    assert linkage([*MACHINE.gpu_claims(switches=[]), *SWITCHES]).state is LinkState.BROKEN


def test_what_is_wrong_names_no_device_by_its_identity() -> None:
    """Findings are public; hardware identities are not."""
    wrong = " ".join(linkage([*GPUS[1:], *SWITCHES]).wrong)
    assert wrong
    assert not any(device.pdi.hex() in wrong.lower() for device in (*MACHINE.gpus, *MACHINE.switches))


def test_an_empty_link_is_no_peer() -> None:
    """Links that end nowhere are all zeros or all ones."""
    pdis = NVIDIA.switch().pdi[::-1] + bytes(8) + b"\xff" * 8
    said = NVIDIA.verifier().verify(GPU.evidence(GPU.report(fields={22: pdis})), [GPU.chain], now=NOW)
    assert len(said.peers) == 1
