# SPDX-License-Identifier: Apache-2.0
"""Recorded GPUs and switches verified whole: with NVIDIA's manifests and OCSP answers, as of their time and today."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import AttestationError, Reason
from attestation.tee.nvidia.rim import read_rim
from attestation.tee.nvidia.topology import LinkState, linkage
from attestation.tee.nvidia.verifier import NVIDIASwitchVerifier, NVIDIAVerifier
from tests.support.vectors import vector_files, vectors

DEVICE_ANSWERED = datetime(2025, 8, 21, 12, tzinfo=UTC)
"""Within the day of the recorded answers about the GPU; those about the manifests' signers are two months younger."""

SIGNERS_ANSWERED = datetime(2025, 10, 24, 12, tzinfo=UTC)
TODAY = datetime(2026, 11, 22, tzinfo=UTC)
COMPLETE = "550.90.07_96009F0001_c438e7e714"
RIMS = ("go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml", "go-nvattest--NV_GPU_VBIOS_1010_0200_882_96009F0001.xml")
SWITCH_RIM = "nvat--switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"


def gpu(report: Path) -> Evidence:
    """A recorded GPU report."""
    return Evidence(kind=TEEKind.NVIDIA_GPU, format="nvidia-spdm-1.1", data=report.read_bytes())


def chain(path: Path) -> Collateral:
    """A recorded chain."""
    return Collateral(kind="nvidia-chain", data=path.read_bytes())


def manifests(*names: str) -> list[Collateral]:
    """Recorded manifests."""
    return [Collateral(kind="nvidia-rim", data=vectors("nvidia-rim", name).read_bytes()) for name in names]


def answers() -> list[Collateral]:
    """All recorded OCSP answers."""
    paths = vector_files("nvidia-ocsp", pattern="*.dat")
    return [Collateral(kind="nvidia-ocsp", data=base64.b64decode(path.read_bytes())) for path in paths]


def complete(now: datetime) -> EvidenceClaims:
    """What the one recording with manifests and answers says at `now`."""
    folder = vectors("nvidia-gpu", COMPLETE)
    collateral = [chain(folder / "chain.pem"), *manifests(*RIMS), *answers()]
    return NVIDIAVerifier().verify(gpu(folder / "report.bin"), collateral, now=now)


def test_the_complete_recording_is_a_full_match_as_of_its_time() -> None:
    """All 32 golden values are met, and NVIDIA answered good for the GPU's certificates."""
    facts = complete(DEVICE_ANSWERED).facts
    assert (facts["driver_rim"], facts["vbios_rim"], facts["mismatched_values"]) == ("match", "match", "none")
    assert facts["ocsp"] == "good"
    assert complete(DEVICE_ANSWERED).collateral_expires == datetime(2025, 8, 22, 6, 47, 7, tzinfo=UTC)
    golden = [read_rim(item.data).golden for item in manifests(*RIMS)]
    assert sum(map(len, golden)) - (35 in golden[0]) == 32


def test_two_months_later_the_signers_are_good_and_the_gpus_answers_expired() -> None:
    """Each answer counts for its day only."""
    facts = complete(SIGNERS_ANSWERED).facts
    assert (facts["driver_rim"], facts["rim_ocsp"], facts["ocsp"]) == ("match", "good", "expired")


def test_today_everything_but_the_report_has_expired() -> None:
    """The report is as genuine as ever; manifests' signers and answers are out of their time."""
    facts = complete(TODAY).facts
    assert (facts["driver_rim"], facts["vbios_rim"]) == ("expired", "expired")
    assert (facts["ocsp"], facts["rim_ocsp"]) == ("expired", "expired")


def test_a_manifest_altered_after_it_was_signed_is_refused() -> None:
    """Upstream's manifest with another golden value is no manifest of NVIDIA's, and no mismatch."""
    with pytest.raises(AttestationError) as caught:
        switch_claims("nvat--NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml")
    assert caught.value.reason is Reason.RIM_INVALID


def switch_claims(*names: str) -> EvidenceClaims:
    """What the recorded switch says with these manifests."""
    folder = vectors("nvidia-switch", "LS10_9610550001_352fc991e8")
    report = (folder / "report.bin").read_bytes()
    evidence = Evidence(kind=TEEKind.NVIDIA_SWITCH, format="nvidia-switch-spdm-1.1", data=report)
    return NVIDIASwitchVerifier().verify(evidence, [chain(folder / "chain.pem"), *manifests(*names)], now=TODAY)


def test_the_recorded_switch_matches_its_manifest() -> None:
    """Firmware 96.10.55.00.01 in full."""
    facts = switch_claims(SWITCH_RIM).facts
    assert (facts["firmware_rim"], facts["mismatched_values"]) == ("match", "none")
    assert facts["firmware_version"] == "96.10.55.00.01"


@pytest.mark.parametrize(
    ("kind", "folder", "verifier"),
    [
        (TEEKind.NVIDIA_GPU, "nvidia-gpu/570.124.06_9600CF0002_4a7a8d6276", NVIDIAVerifier()),
        (TEEKind.NVIDIA_GPU, "nvidia-gpu/570.124.06_9600CF0002_9bf9963c3b", NVIDIAVerifier()),
        (TEEKind.NVIDIA_GPU, "nvidia-gpu/570.124.06_9600CF0002_eda6fae83f", NVIDIAVerifier()),
        (TEEKind.NVIDIA_SWITCH, "nvidia-switch/LS10_96106D0001_7c00518384", NVIDIASwitchVerifier()),
    ],
    ids=["gpu-1", "gpu-2", "gpu-3", "switch"],
)
def test_recordings_without_a_chain_are_missing_an_endorsement(
    kind: TEEKind, folder: str, verifier: NVIDIAVerifier | NVIDIASwitchVerifier
) -> None:
    """Not decided, rather than bad."""
    form = "nvidia-spdm-1.1" if kind is TEEKind.NVIDIA_GPU else "nvidia-switch-spdm-1.1"
    data = vectors(*folder.split("/"), "report.bin").read_bytes()
    with pytest.raises(AttestationError) as caught:
        verifier.verify(Evidence(kind=kind, format=form, data=data), [], now=TODAY)
    assert caught.value.reason is Reason.ENDORSEMENT_MISSING


def machines() -> list[Path]:
    """The recorded machines with GPUs."""
    return sorted({path.parent for path in vector_files("composite", pattern="*/gpu0.report.bin")})


def test_every_gpu_of_the_recorded_machines_is_genuine_and_has_no_manifest_here() -> None:
    """Chains are found among those of the whole machine; switches did not attest, so links are none or broken."""
    verifier = NVIDIAVerifier()
    states = []
    for folder in machines():
        chains = [chain(path) for path in sorted(folder.glob("gpu*.chain.pem"))]
        reports = [gpu(path) for path in sorted(folder.glob("gpu*.report.bin"))]
        said = [verifier.verify(report, chains, now=TODAY) for report in reports]
        assert len({part.platform_ids for part in said}) == len(chains) == len(reports)
        assert len({part.slot for part in said}) == 1
        assert {part.facts["driver_rim"] for part in said} == {"missing"}
        states.append((len(said), linkage(said).state))
    assert sorted(states) == [(1, LinkState.NONE)] * 2 + [(8, LinkState.BROKEN)] * 3


def test_the_recorded_blackwell_gpus_are_genuine() -> None:
    """Two GB100 in multi-GPU mode, whose firmware digest is in the TcbInfo of their leaves."""
    for name in ("590.48.01_9700D90035_6cea198ce5", "590.48.01_9700D90035_bfd0a905a2"):
        folder = vectors("nvidia-gpu", name)
        said = NVIDIAVerifier().verify(gpu(folder / "report.bin"), [chain(folder / "chain.pem")], now=TODAY)
        assert (said.facts["architecture"], said.facts["mode"], said.debug) == ("blackwell", "mpt", False)
