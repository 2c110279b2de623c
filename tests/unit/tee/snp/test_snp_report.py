# SPDX-License-Identifier: Apache-2.0
"""Reading reports: every field, every reserved byte, and what the facts make of policy, platform and firmware."""

from collections.abc import Mapping

import pytest

from attestation.claims import Scalar
from attestation.errors import MalformedEvidence, Reason
from attestation.tee.snp.product import Product, levels, product_of, reaches
from attestation.tee.snp.report import REPORT_BYTES, read_report
from tests.support import fake_amd as amd

POLICY_BITS = {
    16: "smt_allowed",
    18: "migration_allowed",
    20: "single_socket_required",
    21: "cxl_allowed",
    22: "aes_256_xts_required",
    23: "rapl_off_required",
    24: "ciphertext_hiding_required",
    25: "page_swap_disabled",
}
PLATFORM_BITS = {
    0: "smt_enabled",
    1: "tsme_enabled",
    2: "ecc_enabled",
    3: "rapl_off",
    4: "ciphertext_hiding",
    5: "alias_check_complete",
    7: "tio_enabled",
}


def facts(**fields: bytes | int) -> dict[str, Scalar]:
    return facts_of(5, fields)


def facts_of(version: int, fields: Mapping[str, bytes | int]) -> dict[str, Scalar]:
    world = amd.world(Product.GENOA, amd.report(Product.GENOA, version, fields), amd.leaf(Product.GENOA))
    return dict(world.verifier.verify(world.evidence, world.collateral, now=amd.NOW).facts)


def reason(data: bytes) -> Reason:
    with pytest.raises(MalformedEvidence) as caught:
        read_report(data)
    return caught.value.reason


@pytest.mark.parametrize(("bit", "name"), POLICY_BITS.items())
def test_each_policy_bit_is_one_fact(bit: int, name: str) -> None:
    """A bit of the guest policy turns exactly its own fact."""
    plain, turned = facts(policy=1 << 17), facts(policy=1 << 17 | 1 << bit)
    assert {key for key in plain if plain[key] != turned[key]} == {name}
    assert turned[name] is True


@pytest.mark.parametrize(("bit", "name"), PLATFORM_BITS.items())
def test_each_platform_bit_is_one_fact(bit: int, name: str) -> None:
    """A bit of the platform information turns exactly its own fact."""
    plain, turned = facts(platform_info=0), facts(platform_info=1 << bit)
    assert {key for key in plain if plain[key] != turned[key]} == {name}
    assert turned[name] is True


@pytest.mark.parametrize("bit", [6, 8, 63])
def test_a_platform_bit_without_a_name_is_kept(bit: int) -> None:
    """Bits nobody documented turn no named fact and stand in `platform_other`, for a policy to list or refuse."""
    turned = facts(platform_info=1 << bit)
    assert turned == facts(platform_info=0) | {"platform_other": f"{1 << bit:016x}"}


def test_the_least_abi_of_the_guest_is_a_number() -> None:
    """The low 16 bits of the policy are major * 256 + minor."""
    assert facts(policy=1 << 17 | 0x0137)["guest_abi"] == 0x0137


@pytest.mark.parametrize(
    ("version", "policy"),
    [(2, 0), (3, 1 << 16), (2, 3 << 17 | 1 << 25), (3, 1 << 17 | 1 << 25), (5, 1 << 17 | 1 << 26)],
)
def test_reserved_policy_bits_are_refused(version: int, policy: int) -> None:
    """Bit 17 must be one, and bits the version does not define must be zero."""
    assert reason(amd.report(version=version, fields={"policy": policy})) is Reason.MALFORMED


@pytest.mark.parametrize("info", [2 << 2, 6 << 2, 1 << 5, 1 << 31])
def test_reserved_key_information_is_refused(info: int) -> None:
    """Signing keys 2 to 6 and the bits above have no meaning."""
    assert reason(amd.report(fields={"key_info": info})) is Reason.MALFORMED


def test_another_signature_algorithm_is_unsupported() -> None:
    """A later algorithm is unknown here, not bad."""
    assert reason(amd.report(fields={"algorithm": 2})) is Reason.UNSUPPORTED


@pytest.mark.parametrize("version", [2, 3, 5])
def test_every_reserved_byte_must_be_zero(version: int) -> None:
    """No reserved byte of any version may carry anything, also if it were signed."""
    reserved = [*range(0x4C, 0x50), *range(0x18B, 0x1A0), 0x1EB, 0x1EF, *range(0x208, 0x2A0)]
    reserved += [*range(0x2A0 + 48, 0x2A0 + 72), *range(0x2E8 + 48, 0x2E8 + 72), *range(0x330, REPORT_BYTES)]
    reserved += range(0x188, 0x18B) if version == 2 else []
    reserved += range(0x1F8, 0x208) if version < 5 else []
    report = amd.report(version=version)
    assert read_report(report).version == version
    for at in reserved:
        assert reason(report[:at] + b"\x01" + report[at + 1 :]) is Reason.MALFORMED, hex(at)


@pytest.mark.parametrize("size", [0, 3, 4, 1183, 1185, 2368])
def test_a_report_is_1184_bytes(size: int) -> None:
    """Shorter and longer input is malformed, whatever its version says."""
    assert reason((amd.report() * 2)[:size]) is Reason.MALFORMED


def test_mitigations_are_stated_from_version_5() -> None:
    """Before version 5 the facts say unstated, never zero."""
    assert facts_of(3, {})["launch_mitigations"] == "unstated"
    both = facts(launch_mitigations=1, current_mitigations=3)
    assert (both["launch_mitigations"], both["current_mitigations"]) == ("0000000000000001", "0000000000000003")


def test_firmware_that_can_be_taken_back_is_provisional() -> None:
    """Running firmware above the committed, by level or by version, is provisional; equal is not."""
    newer = amd.tcb(Product.GENOA, snp=amd.LEVELS["snp"] + 1)
    assert facts()["provisional_firmware"] is False
    assert facts(current_tcb=newer)["provisional_firmware"] is True
    assert facts(firmware=b"\x30\x37\x01")["provisional_firmware"] is True


@pytest.mark.parametrize(
    ("field", "fact"),
    [
        ("launch_tcb", "launch_tcb_reached"),
        ("committed_tcb", "committed_tcb_reached"),
        ("current_tcb", "current_tcb_reached"),
    ],
)
def test_firmware_below_what_it_must_reach_is_told(field: str, fact: str) -> None:
    """One level lower, even when another is higher, does not reach."""
    lower = amd.tcb(Product.GENOA, snp=amd.LEVELS["snp"] - 1, microcode=amd.LEVELS["microcode"] + 1)
    assert facts()[fact] is True
    assert facts_of(5, {field: lower})[fact] is False


def test_firmware_versions_order_as_numbers() -> None:
    """1.55.41 is below 1.55.65 and 1.56.0, as major, minor, build."""
    assert facts(firmware=b"\x29\x37\x01")["firmware_version"] == 0x013729
    assert read_report(amd.report(fields={"firmware": b"\x29\x37\x01"})).firmware == (1, 55, 41)


def test_a_migration_agent_is_told() -> None:
    """REPORT_ID_MA of all ones means no agent; anything else names one."""
    assert facts()["migration_agent"] is False
    assert facts(report_id_ma=bytes(32))["migration_agent"] is True


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x01, Product.MILAN),
        (0x19, 0x0F, Product.MILAN),
        (0x19, 0x10, Product.GENOA),
        (0x19, 0xA0, Product.GENOA),
        (0x1A, 0x02, Product.TURIN),
        (0x1A, 0x11, Product.TURIN),
        (0x19, 0x20, None),
        (0x1A, 0x12, None),
        (0x1A, 0x50, None),
        (0x17, 0x01, None),
        (0x1B, 0x00, None),
    ],
)
def test_lines_are_known_by_cpuid(family: int, model: int, product: Product | None) -> None:
    """Only the models AMD assigned to a line are of that line; Venice and unknown ones are of none."""
    assert product_of(family, model) is product


def test_levels_are_spelled_per_line() -> None:
    """The same eight bytes mean other levels on Turin than before it."""
    spelled = bytes(range(1, 9))
    assert levels(Product.MILAN, spelled)["snp"] == 7
    assert levels(Product.TURIN, spelled)["snp"] == 4
    assert levels(Product.TURIN, spelled)["fmc"] == 1
    assert reaches(spelled, spelled)
    assert not reaches(spelled, b"\x02" + spelled[1:])
