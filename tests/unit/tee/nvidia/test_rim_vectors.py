# SPDX-License-Identifier: Apache-2.0
"""Manifests of NVIDIA's and of its verifiers' tests: each file's name says what is right or wrong with it."""

from datetime import UTC, datetime

import pytest
from lxml import etree

from attestation.errors import AttestationError, MalformedEvidence, Reason
from attestation.tee.nvidia.rim import RIMKind, check_disjoint, read_meta, read_payload, read_rim
from tests.support.vectors import vector_files, vectors

GENUINE = {
    "go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml": (RIMKind.DRIVER, "GH100", "550.90.07", 21),
    "go-nvattest--NV_GPU_VBIOS_1010_0200_882_96009F0001.xml": (RIMKind.VBIOS, "GH100", "96.00.9F.00.01", 12),
    "go-nvattest--success_valid_rim.xml": (RIMKind.VBIOS, "GH100", "96.00.6D.00.29", 12),
    "nvat--NV_GPU_DRIVER_GH100_550.144.03.xml": (RIMKind.DRIVER, "GH100", "550.144.03", 21),
    # Named for what a report beside it shows; the manifest itself is whole.
    "nvat--NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml": (
        RIMKind.VBIOS,
        "GH100",
        "96.00.5E.00.01",
        12,
    ),
    "nvat--switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml": (
        RIMKind.SWITCH,
        "LS10",
        "96.10.55.00.01",
        31,
    ),
}
NOT_GENUINE = {
    # Edited by hand after signing: NVIDIA's signature over SignedInfo still holds, the digest does not.
    "nvat--NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml": Reason.RIM_INVALID,
    "nvat--NV_GPU_DRIVER_GH100_570.124.03_expired.xml": Reason.RIM_INVALID,
    "nvat--NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml": Reason.RIM_INVALID,
    "nvat--NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml": Reason.RIM_INVALID,
    "nvat--incorrect_signature_driver_rim.xml": Reason.RIM_INVALID,
    "nvat--incorrect_cert_chain_driver_rim.xml": Reason.ROOT_REFUSED,
}
FRAGMENTS_READ = {"success_payload_multiple_alternatives", "success_payload_single_measurement"}
PLACEHOLDERS = "success_payload_multiple_measurements"
"""Accepted by the tests it comes from, with "hash0" for a digest; no golden value could be read from it."""

_SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"


def manifest(name: str) -> bytes:
    return vectors("nvidia-rim", name).read_bytes()


@pytest.mark.parametrize("name", list(GENUINE))
def test_manifests_of_nvidia_are_genuine(name: str) -> None:
    """Signature, chain and pinned root hold, and the content says what the name says."""
    rim = read_rim(manifest(name))
    assert (rim.kind, rim.product, rim.version, len(rim.golden)) == GENUINE[name]
    assert rim.revision == "r1"


@pytest.mark.parametrize("name", list(NOT_GENUINE))
def test_altered_manifests_are_not_genuine(name: str) -> None:
    """Altered content, another signature and a debug root are refused, each by its reason."""
    with pytest.raises(AttestationError) as refused:
        read_rim(manifest(name))
    assert refused.value.reason is NOT_GENUINE[name]


def test_the_pair_of_one_driver_and_vbios_is_disjoint_and_expired_today() -> None:
    """The manifests of driver 550.90.07 fit together, and their signers' two years are over, or nearly, by now."""
    driver = read_rim(manifest("go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml"))
    vbios = read_rim(manifest("go-nvattest--NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"))
    check_disjoint(driver, vbios)
    assert len(driver.golden.keys() | vbios.golden.keys()) == 33
    assert all(rim.valid_at(datetime(2025, 1, 1, tzinfo=UTC)) for rim in (driver, vbios))
    assert not any(rim.valid_at(datetime(2026, 11, 22, tzinfo=UTC)) for rim in (driver, vbios))


def fragments() -> list[str]:
    """The unsigned fragments, by name without affixes."""
    return [path.stem.partition("--")[2] for path in vector_files("nvidia-rim", pattern="go-nvattest--*_*.xml")]


def test_no_fragment_is_a_manifest() -> None:
    """Unsigned pieces, and a signed document of another trade, are malformed as manifests."""
    names = [name for name in fragments() if name.startswith(("failure_", "success_payload", "valid_signed"))]
    assert len(names) == 22
    for name in names:
        with pytest.raises(MalformedEvidence) as refused:
            read_rim(manifest(f"go-nvattest--{name}.xml"))
        assert refused.value.reason is Reason.MALFORMED, name


def test_payload_fragments_read_as_their_names_say() -> None:
    """A fragment named for a failure gives no golden values, one named for success does."""
    read = set()
    for name in fragments():
        root = etree.fromstring(manifest(f"go-nvattest--{name}.xml"))
        payloads = root.findall(f"{_SWID}Payload")
        if not payloads or name == "success_valid_rim":
            continue
        try:
            golden = read_payload(payloads[0])
        except MalformedEvidence:
            assert name.startswith("failure_") or name == PLACEHOLDERS
            continue
        assert golden
        read.add(name)
    assert read >= FRAGMENTS_READ
    assert all(not name.startswith("failure_") for name in read)


@pytest.mark.parametrize("name", ["failure_missing_colloquial_version", "failure_invalid_base64_cert"])
def test_meta_fragments_are_malformed(name: str) -> None:
    """A meta element without its fields says nothing."""
    (meta,) = etree.fromstring(manifest(f"go-nvattest--{name}.xml")).findall("Meta")
    with pytest.raises(MalformedEvidence):
        read_meta(meta)


def test_every_manifest_here_is_named_in_this_module() -> None:
    """No recorded file goes untested."""
    here = {path.name for path in vector_files("nvidia-rim", pattern="*.xml")}
    covered = set(GENUINE) | set(NOT_GENUINE)
    prefixes = ("go-nvattest--failure_", "go-nvattest--success_payload", "go-nvattest--valid_signed")
    assert {name for name in here - covered if not name.startswith(prefixes)} == set()
    assert covered <= here
