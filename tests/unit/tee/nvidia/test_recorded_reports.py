# SPDX-License-Identifier: Apache-2.0
"""Recorded GPU and switch reports: what they say, whose key signed them, and which firmware that key was issued to."""

import json
from pathlib import Path

import pytest

from attestation.claims import ComponentKind
from attestation.tee.nvidia.chain import DEVICE_ROOTS, DeviceChain
from attestation.tee.nvidia.report import GPUReport, SwitchReport
from tests.support.vectors import vector_files, vectors

GPUS = (
    "550.90.07_96009F0001_c438e7e714",
    "570.124.06_9600CF0002_4a7a8d6276",
    "570.124.06_9600CF0002_9bf9963c3b",
    "570.124.06_9600CF0002_eda6fae83f",
    "570.86.10_9600AF0001_688167a83c",
    "590.12_9600A50001_2b0831e3fe",
    "590.12_9600A50001_42b1775a6e",
    "590.48.01_9700D90035_6cea198ce5",
    "590.48.01_9700D90035_bfd0a905a2",
)
SWITCHES = ("LS10_9610550001_352fc991e8", "LS10_96106D0001_7c00518384")


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_says_what_the_index_of_the_recordings_says(name: str) -> None:
    """Nonce, versions, board, firmware digest and mode are read as whoever recorded the report noted them."""
    folder = vectors("nvidia-gpu", name)
    meta = json.loads((folder / "meta.json").read_text())
    report = GPUReport.read((folder / "report.bin").read_bytes())
    assert report.exchange.nonce.hex() == meta["req_nonce"]
    assert (report.driver, report.vbios) == (meta["driver"], meta["vbios"])
    assert [report.project, report.sku, report.chip_sku] == meta["project"]
    assert report.fwid.hex() == meta["fwid"]
    assert report.nvdec is (meta["nvdec0"] == "aa")
    assert report.mode == (meta["feature_flag"].lower() if meta["feature_flag"] else None)
    assert report.chip == (meta["chip"] or "GH100")


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_says_what_the_index_of_the_recordings_says(name: str) -> None:
    """Nonce and firmware are read as recorded; a board of eight GPUs is named."""
    folder = vectors("nvidia-switch", name)
    meta = json.loads((folder / "meta.json").read_text())
    report = SwitchReport.read((folder / "report.bin").read_bytes())
    assert report.exchange.nonce.hex() == meta["req_nonce"]
    assert report.firmware == meta["vbios"]
    assert report.locked
    assert len(report.gpu_pdis) in (7, 8)  # an upstream sample names one GPU twice


def chains() -> list[Path]:
    """Every recorded device chain; none where there are no recordings."""
    return [*vector_files("nvidia-gpu", pattern="*/chain.pem"), *vector_files("composite", pattern="*/gpu*.chain.pem")]


def test_every_recorded_gpu_chain_leads_to_the_pinned_root_and_signed_its_report() -> None:
    """Signature, chain, names and FWID hold for each of them, Hopper and Blackwell alike."""
    chips = set()
    for path in chains():
        chain = DeviceChain.read(path.read_bytes())
        report = GPUReport.read(path.with_name(path.name.replace("chain.pem", "report.bin")).read_bytes())
        device = chain.verify(DEVICE_ROOTS)
        assert chain.signed(report.exchange)
        assert device.firmware.sha384 == report.fwid
        assert not device.firmware.debug
        assert device.device.component is ComponentKind.GPU
        chips.add(device.chip)
    assert chips == {"GH100", "GB100"}


def test_a_chain_of_another_gpu_did_not_sign_the_report() -> None:
    """Eight GPUs of one machine have eight keys: each report fits exactly one chain."""
    folder = vectors("composite", "venice_e2ee-qwen3-5-122b-a10b_20260424_015841__model")
    read = [DeviceChain.read((folder / f"gpu{n}.chain.pem").read_bytes()) for n in range(8)]
    for n in range(8):
        report = GPUReport.read((folder / f"gpu{n}.report.bin").read_bytes())
        assert [chain.signed(report.exchange) for chain in read] == [m == n for m in range(8)]


def test_the_recorded_switch_chain_leads_to_the_pinned_root_and_names_the_switch() -> None:
    """An LS10's chain ends in the same root, and its serial number holds the PDI its report states."""
    folder = vectors("nvidia-switch", SWITCHES[0])
    chain = DeviceChain.read((folder / "chain.pem").read_bytes())
    report = SwitchReport.read((folder / "report.bin").read_bytes())
    device = chain.verify(DEVICE_ROOTS)
    assert chain.signed(report.exchange)
    assert device.device.component is ComponentKind.SWITCH
    assert device.pdi == report.pdi
