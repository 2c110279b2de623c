# SPDX-License-Identifier: Apache-2.0
"""What a genuine manifest says, which device it is for, and how a report is compared with it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.nvidia.rim import RIMKind, check_disjoint, compare, read_rim, select_rim
from attestation.tee.nvidia.rim_names import driver_rim_id, switch_rim_id, vbios_rim_id
from tests.support.fake_nvidia_rim import (
    DRIVER_VERSION,
    GOLDEN,
    MADE,
    SIGNER_LIFE,
    VBIOS_VERSION,
    RIMMaker,
    made_at,
    resource,
    resource_lines,
)

MAKER = RIMMaker()
ONE = b"\x01" * 48
TWO = b"\x02" * 48


def read(**wanted: object):  # type: ignore[no-untyped-def]  # arguments of RIMMaker.rim
    return read_rim(MAKER.rim(**wanted), roots=MAKER.roots)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "version"), [("driver", "570.86.10"), ("driver", "590.12"), ("vbios", "96.00.9F.00.01"), ("switch", None)]
)
def test_a_manifest_says_what_it_is_for(kind: str, version: str | None) -> None:
    """Kind, chip, version and revision come from the signed content."""
    rim = read(kind=kind, product="GB100", version=version, revision="r12")
    assert (rim.kind, rim.product, rim.revision) == (RIMKind(kind), "GB100", "r12")
    assert version in {None, rim.version}
    assert len(rim.chain.certificates) == 4


def test_only_active_entries_are_golden() -> None:
    """An inactive entry is read and then left out; every alternative of an active one counts."""
    rim = read(resources=resource_lines({3: [ONE, TWO]}, inactive=(0, 1)))
    assert dict(rim.golden) == {3: frozenset({ONE, TWO})}


def test_validity_is_stated_and_not_judged() -> None:
    """A manifest whose signer's time is over, or has not begun, is genuine all the same."""
    rim = read()
    assert rim.valid_from == MADE
    assert rim.valid_until == MADE + SIGNER_LIFE
    assert rim.valid_at(MADE)
    assert not rim.valid_at(MADE - timedelta(seconds=1))
    assert not rim.valid_at(MADE + SIGNER_LIFE + timedelta(seconds=1))


def test_a_report_with_every_golden_value_matches() -> None:
    """Any alternative matches; measured values the manifest does not speak of change nothing."""
    rim = read()
    assert compare({7: GOLDEN[7][0], 9: GOLDEN[9][1], 35: GOLDEN[35][0], 50: ONE}, rim) == ()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({7: ONE, 9: GOLDEN[9][0], 35: GOLDEN[35][0]}, (7,)),
        ({9: GOLDEN[9][0], 35: GOLDEN[35][0]}, (7,)),
        ({7: GOLDEN[9][0], 9: GOLDEN[7][0], 35: GOLDEN[35][0]}, (7, 9)),
        ({7: GOLDEN[7][0][:32], 9: GOLDEN[9][0], 35: GOLDEN[35][0] + b"\0"}, (7, 35)),
        ({}, (7, 9, 35)),
    ],
)
def test_a_wrong_absent_swapped_or_cut_value_is_named(values: dict[int, bytes], wrong: tuple[int, ...]) -> None:
    """The indices that do not match are told, each."""
    assert compare(values, read()) == wrong


def test_an_index_that_does_not_count_is_skipped() -> None:
    """The video decoder's value is not asked of a device that has it switched off; no other is excused with it."""
    rim = read()
    assert compare({7: GOLDEN[7][0], 9: GOLDEN[9][0], 35: ONE}, rim) == (35,)
    assert compare({7: GOLDEN[7][0], 9: GOLDEN[9][0], 35: ONE}, rim, skip={35}) == ()
    assert compare({9: GOLDEN[9][0], 35: ONE}, rim, skip={35}) == (7,)


def test_a_manifest_of_another_chip_or_version_is_never_selected() -> None:
    """A validly signed manifest of a Hopper is no manifest of a Blackwell with the same driver."""
    rims = [read(product="GH100"), read(kind="vbios", product="GH100")]
    driver = {"kind": RIMKind.DRIVER, "version": DRIVER_VERSION}
    assert select_rim(rims, product="GH100", **driver) is rims[0]  # type: ignore[arg-type]
    assert select_rim(rims, product="GB100", **driver) is None  # type: ignore[arg-type]
    assert select_rim(rims, kind=RIMKind.DRIVER, product="GH100", version="999.10.02") is None
    assert select_rim(rims, kind=RIMKind.DRIVER, product="GH100", version=VBIOS_VERSION) is None
    assert select_rim(rims, kind=RIMKind.SWITCH, product="GH100", version=VBIOS_VERSION) is None
    assert select_rim(rims, kind=RIMKind.VBIOS, product="GH100", version=VBIOS_VERSION.lower()) is rims[1]


def test_the_newest_of_several_manifests_is_selected() -> None:
    """A later revision wins over a later signer; of one revision, the later signer wins; order is nothing."""
    later = made_at(MADE + timedelta(days=30))
    second = read_rim(later.rim(), roots=later.roots)
    for rims in ([read(), second], [second, read()]):
        assert select_rim(rims, kind=RIMKind.DRIVER, product="GH100", version=DRIVER_VERSION) is second
    tenth = read(revision="r10")
    found = select_rim([tenth, second, read(revision="r9")], kind=RIMKind.DRIVER, product="GH100", version="999.10.01")
    assert found is tenth


def test_driver_and_vbios_may_not_claim_one_index() -> None:
    """Manifests with an active index in common leave open which value holds, and are refused."""
    driver = read(golden={1: [ONE]})
    check_disjoint(driver, read(kind="vbios", golden={2: [TWO]}))
    with pytest.raises(NotGenuine) as refused:
        check_disjoint(driver, read(kind="vbios", golden={1: [ONE]}))
    assert refused.value.reason is Reason.RIM_INVALID


WRONG_CONTENT: dict[str, dict[str, object]] = {
    "index twice": {"resources": [resource(1, [ONE]), resource(1, [TWO])]},
    "index twice, once inactive": {"resources": [resource(1, [ONE]), resource(1, [TWO], active="False")]},
    "index is no number": {"resources": [resource("one", [ONE])]},
    "index is negative": {"resources": [resource(-1, [ONE])]},
    "index has a leading zero": {"resources": [resource("01", [ONE])]},
    "index beyond SPDM": {"resources": [resource(255, [ONE])]},
    "active is neither": {"resources": [resource(1, [ONE], active="true")]},
    "size of another digest": {"resources": [resource(1, [ONE], size="32")]},
    "digest too short": {"resources": [resource(1, [ONE[:47]])]},
    "digest in capitals": {"resources": [resource(1, [b"\xaa" * 48], **{"ns2:Hash0": "AA" * 48})]},
    "fewer hashes than alternatives": {"resources": [resource(1, [ONE], alternatives="2")]},
    "more hashes than alternatives": {"resources": [resource(1, [ONE, TWO], alternatives="1")]},
    "no hashes": {"resources": [resource(1, [])]},
    "hash without its namespace": {"resources": [resource(1, [ONE], Hash1=TWO.hex(), alternatives="2")]},
    "too many alternatives": {"resources": [resource(1, [bytes([n]) * 48 for n in range(65)])]},
    "another type": {"resources": [resource(1, [ONE], type="File")]},
    "an element inside": {"resources": [resource(1, [ONE]).replace("/>", "><ns0:Link/></ns0:Resource>")]},
    "nothing": {"resources": []},
    "nothing active": {"resources": [resource(1, [ONE], active="False")]},
    "another element": {"resources": [resource(1, [ONE]), "<ns0:Directory/>"]},
    "version of no form": {"version": "latest"},
    "version empty": {"version": ""},
    "product of no form": {"product": "GH 100"},
    "revision of no form": {"revision": "2"},
}


@pytest.mark.parametrize("wanted", WRONG_CONTENT.values(), ids=list(WRONG_CONTENT))
def test_wrong_content_is_malformed_though_it_is_signed(wanted: dict[str, object]) -> None:
    """A signature does not make up for content that does not say clearly which values are golden."""
    with pytest.raises(MalformedEvidence) as refused:
        read(**wanted)
    assert refused.value.reason is Reason.MALFORMED


UNKNOWN_FORMS: dict[str, dict[str, object]] = {
    "another edition": {"meta": {"edition": "CPU"}},
    "a switch with a driver's version": {"kind": "switch", "version": DRIVER_VERSION},
    "indirect payload": {"meta": {"PayloadType": "indirect"}},
    "a patch": {"root": {"patch": "true"}},
    "a supplement": {"root": {"supplemental": "true"}},
}


@pytest.mark.parametrize("wanted", UNKNOWN_FORMS.values(), ids=list(UNKNOWN_FORMS))
def test_forms_nobody_here_knows_are_unsupported(wanted: dict[str, object]) -> None:
    """What may be right elsewhere is refused as unsupported, not as broken."""
    with pytest.raises(MalformedEvidence) as refused:
        read(**wanted)
    assert refused.value.reason is Reason.UNSUPPORTED


def test_names_of_manifests() -> None:
    """Names as NVIDIA's service has them, by family of chips."""
    assert driver_rim_id("GH100", "550.90.07") == "NV_GPU_DRIVER_GH100_550.90.07"
    assert driver_rim_id("GB100", "570.86.10") == "NV_GPU_CC_DRIVER_GB100_570.86.10"
    board = {"project": "1010", "sku": "0200", "chip_sku": "882"}
    assert vbios_rim_id(**board, vbios="96.00.9F.00.01") == "NV_GPU_VBIOS_1010_0200_882_96009F0001"
    switch = {"project": "5612", "sku": "0002", "chip_sku": "890"}
    assert switch_rim_id(**switch, firmware="96.10.55.00.01") == "NV_SWITCH_BIOS_5612_0002_890_9610550001"


@pytest.mark.parametrize("part", ["", "../x", "a/b", "a b", "é", "x" * 65])
@pytest.mark.parametrize(
    "name",
    [
        lambda part: driver_rim_id("GH100", part),
        lambda part: vbios_rim_id(project=part, sku="0200", chip_sku="882", vbios="1"),
        lambda part: switch_rim_id(project="5612", sku="0002", chip_sku=part, firmware="1"),
    ],
)
def test_a_report_cannot_name_another_path(name: Callable[[str], str], part: str) -> None:
    """What comes from a device's report and cannot be part of a name makes none."""
    with pytest.raises(MalformedEvidence):
        name(part)
