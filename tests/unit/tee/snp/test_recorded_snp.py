# SPDX-License-Identifier: Apache-2.0
"""Recorded SEV-SNP reports of Milan, Genoa and Turin, with the certificates of their keys."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.utils import CryptographyDeprecationWarning

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import AttestationError, Reason
from attestation.facts.amd import SNP
from attestation.tee.certificates import read_certificate
from attestation.tee.snp.leaf import read_leaf
from attestation.tee.snp.product import Product
from attestation.tee.snp.verifier import EVIDENCE_FORMAT, SNPVerifier
from tests.support.vectors import vector_files, vector_json, vectors

NOW = datetime(2026, 3, 1, tzinfo=UTC)
VERIFIER = SNPVerifier()
ENDORSED = {
    "v2_120d77b213": "Milan",
    "v2_2e63568e22": "Milan",
    "v2_30f20380a8": "Milan",
    "v2_377e6241d3": "Milan",
    "v2_597d1fae09": "Milan",
    "v2_7c614616fe": "Milan",
    "v3_05b7438a3d": "Milan",
    "v3_40a2778d02": "Milan",
    "v3_4ae0e73ab3": "Genoa",
    "v3_8a73d9beb4": "Milan",
    "v3_8af4ab550b": "Milan",
    "v3_e75e8d4efa": "Milan",
    "v5_85da705e19": "Turin",
    "v5_8fd94192d3": "Genoa",
}
UNENDORSED = ("v2_a29b3dfccc", "v2_fc4e656076", "v3_4774e0c9b1", "v3_717501e926")
OF_A_PROVIDER = "v3_decdab949a"


def authorities() -> list[Collateral]:
    return [
        Collateral(kind="amd-certificate", data=path.read_bytes()) for path in vector_files("amd-ca", pattern="*.der")
    ]


def recorded(case: str) -> tuple[Evidence, list[Collateral]]:
    folder = vectors("snp", case)
    leaf = folder / "leaf.der"
    leaves = [Collateral(kind="amd-certificate", data=leaf.read_bytes())] if leaf.exists() else []
    return evidence(folder / "report.bin"), authorities() + leaves


def evidence(path: Path) -> Evidence:
    return Evidence(kind=TEEKind.SNP, format=EVIDENCE_FORMAT, data=path.read_bytes())


def verified(case: str, now: datetime = NOW) -> EvidenceClaims:
    report, collateral = recorded(case)
    return VERIFIER.verify(report, collateral, now=now)


@pytest.mark.parametrize("case", ENDORSED)
def test_an_endorsed_report_states_what_its_record_says(case: str) -> None:
    """Every recorded report with its chain is genuine and states the recorded product, debug bit and digests."""
    claims, meta = verified(case), vector_json("snp", case, "meta.json")
    registers = {measurement.register: measurement.digest.hex() for measurement in claims.measurements}
    assert claims.facts["product"] == ENDORSED[case]
    assert claims.debug is meta["debug_policy"]
    assert claims.facts["vmpl"] == meta["vmpl"]
    assert claims.slot.hex() == meta["report_data"]
    assert registers["launch"] == meta["measurement"]
    assert registers["host_data"] == meta["host_data"]
    assert [identity.value.hex() for identity in claims.platform_ids] == [meta["chip_id"]]
    assert [claims.facts[name] for name in ("bootloader_spl", "tee_spl", "snp_spl", "microcode_spl")] == [
        meta["leaf_ext"][name] for name in ("bl", "tee", "snp", "ucode")
    ]
    assert set(claims.facts) == set(SNP.facts)
    assert {measurement.register for measurement in claims.measurements} == set(SNP.registers)


@pytest.mark.parametrize("case", UNENDORSED)
def test_a_report_without_its_key_is_not_decided(case: str) -> None:
    """The authorities alone endorse nothing: the answer is a missing endorsement, and not that the report is bad."""
    with pytest.raises(AttestationError) as caught:
        verified(case)
    assert caught.value.reason is Reason.ENDORSEMENT_MISSING


def test_a_capture_of_a_live_service_without_its_key_is_not_decided() -> None:
    """A report captured from a running service came without its VCEK, and is refused as missing endorsement."""
    for path in vector_files("composite", pattern="*/snp_report.bin"):
        with pytest.raises(AttestationError) as caught:
            VERIFIER.verify(evidence(path), authorities(), now=NOW)
        assert caught.value.reason is Reason.ENDORSEMENT_MISSING


def test_a_key_of_a_cloud_provider_lasts_a_year() -> None:
    """A VLEK-signed report names the provider and no chip, is good in the key's year, and expired after it."""
    claims = verified(OF_A_PROVIDER, datetime(2025, 6, 1, tzinfo=UTC))
    assert claims.facts["signing_key"] == "vlek"
    assert claims.facts["provider"] == "CN=cc-us-east-2.amazonaws.com"
    assert claims.facts["chip_id_masked"] is True
    assert claims.facts["provisional_firmware"] is True
    assert all(identity.masked for identity in claims.platform_ids)
    with pytest.raises(AttestationError) as caught:
        verified(OF_A_PROVIDER, NOW)
    assert caught.value.reason is Reason.CERTIFICATE_EXPIRED


def test_firmware_levels_are_read_as_each_product_spells_them() -> None:
    """Turin leads with its FMC and states mitigations; Genoa has no FMC; Milan's version 2 states no CPUID."""
    turin, milan = verified("v5_85da705e19").facts, verified("v2_120d77b213").facts
    assert (turin["fmc_spl"], turin["bootloader_spl"], turin["snp_spl"], turin["microcode_spl"]) == (1, 1, 4, 0x51)
    assert (turin["cpuid"], turin["current_mitigations"]) == ("1a0201", "000000000000003f")
    assert turin["platform_other"] == "0000000000000040"
    assert (milan["cpuid"], milan["current_mitigations"], milan["fmc_spl"]) == ("unstated", "unstated", 0)
    assert verified("v5_8fd94192d3").facts["cpuid"] == "19a002"


def test_a_key_certificate_with_serial_number_zero_loads_without_a_warning() -> None:
    """Every VCEK has serial number 0, of which the library warns: it is read in silence, extensions and key too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaf = read_certificate(vectors("snp", "v5_85da705e19", "leaf.der").read_bytes(), "vcek")
        assert read_leaf(leaf).product is Product.TURIN
    with pytest.warns(CryptographyDeprecationWarning, match="positive"):
        assert leaf.serial_number == 0


def test_no_flipped_byte_of_a_real_report_is_accepted() -> None:
    """Every byte of a recorded Turin report and of its VCEK, serial number 0 and all: none is free."""
    report, collateral = recorded("v5_85da705e19")
    leaf, authority = collateral[-1], collateral[:-1]
    accepted = [
        f"report {at:#x}"
        for at, data in flipped(report.data)
        if accepts(Evidence(kind=TEEKind.SNP, format=EVIDENCE_FORMAT, data=data), collateral)
    ]
    accepted += [
        f"vcek {at:#x}"
        for at, data in flipped(leaf.data)
        if accepts(report, [*authority, Collateral(kind=leaf.kind, data=data)])
    ]
    assert accepted == []


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at, byte in enumerate(data):
        for by in (0x01, 0x80):
            yield at, data[:at] + bytes((byte ^ by,)) + data[at + 1 :]


def accepts(report: Evidence, collateral: list[Collateral]) -> bool:
    try:
        VERIFIER.verify(report, collateral, now=NOW)
    except AttestationError:
        return False
    return True
