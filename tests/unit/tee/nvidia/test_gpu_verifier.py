# SPDX-License-Identifier: Apache-2.0
"""GPU reports: what genuine ones state, and every way in which one is not genuine or cannot be decided."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import AttestationError, CollateralUnavailable, NotGenuine, Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.nvidia.chain import DeviceChain
from attestation.tee.nvidia.fwid import COMPOSITE_DEVICE_ID
from attestation.tee.nvidia.spdm import MeasurementExchange
from attestation.tee.nvidia.verifier import NVIDIAVerifier
from tests.support.fake_nvidia import (
    DRIVER_GOLDEN,
    NONCE,
    NOW,
    VBIOS_GOLDEN,
    FakeDevice,
    FakeNVIDIA,
    fwid_of,
)
from tests.support.fake_nvidia_rim import DRIVER_VERSION, VBIOS_VERSION

NVIDIA = FakeNVIDIA()
GPU = NVIDIA.gpu()
BLACKWELL = NVIDIA.gpu("GB100")
RIMS = NVIDIA.rims()


def claims(
    device: FakeDevice = GPU,
    *others: Collateral,
    report: bytes | None = None,
    now: datetime = NOW,
    chains: Sequence[Collateral] | None = None,
) -> EvidenceClaims:
    """What the world's verifier says of a device's report with its own chain and `others`."""
    given = [device.chain] if chains is None else list(chains)
    return NVIDIA.verifier().verify(device.evidence(report), [*given, *others], now=now)


def refusal(attempt: Callable[[], object]) -> AttestationError:
    """The error an attempt ends in."""
    with pytest.raises(AttestationError) as caught:
        attempt()
    return caught.value


@pytest.mark.parametrize("device", [GPU, BLACKWELL], ids=["hopper", "blackwell"])
def test_a_genuine_gpu_states_every_fact_of_its_vocabulary_and_no_other(device: FakeDevice) -> None:
    """Claims have exactly the facts and registers a policy must speak about."""
    said = claims(device)
    vocabulary = VOCABULARIES[TEEKind.NVIDIA_GPU]
    assert said.facts.keys() == vocabulary.facts.keys()
    assert all(type(said.facts[name]) is fact.type for name, fact in vocabulary.facts.items())
    assert tuple(measurement.register for measurement in said.measurements) == vocabulary.registers


def test_a_genuine_gpu_states_its_nonce_identity_and_firmware() -> None:
    """The slot is the request nonce, the identity the serial number of its BROM, the register its firmware digest."""
    said = claims()
    assert said.slot == NONCE
    assert said.platform_ids == (ComponentID(kind=ComponentKind.GPU, value=b"\x41" + GPU.pdi),)
    assert said.measurements[0].digest == GPU.fwid
    assert (said.debug, said.tcb_status, said.advisories) == (False, TCBStatus.UNSTATED, ())
    assert said.collateral_expires == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_versions_are_stated_as_text_and_as_growing_numbers() -> None:
    """A policy can list versions or name a least one."""
    facts = claims().facts
    assert (facts["driver_version"], facts["driver_number"]) == ("999.10.01", 999010001)
    assert (facts["vbios_version"], facts["vbios_number"]) == ("99.00.AA.00.01", 0x9900AA0001)
    short = claims(report=GPU.report(fields={3: b"999.10\0"})).facts
    assert (short["driver_version"], short["driver_number"]) == ("999.10", 999010000)
    assert facts["board"] == "1010-0200-882"


@pytest.mark.parametrize(("flag", "mode"), [(0, "spt"), (1, "mpt"), (2, "ppcie")])
def test_the_feature_flag_is_the_mode(flag: int, mode: str) -> None:
    """A policy accepts modes by name."""
    assert claims(report=GPU.report(fields={36: bytes((flag, 0))})).facts["mode"] == mode


def test_a_report_of_an_older_driver_states_no_mode() -> None:
    """Without field version 1 the mode is unstated, which a policy has to accept by that name."""
    assert claims(report=GPU.report(fields={34: None, 36: None})).facts["mode"] == "unstated"


def test_protected_pcie_and_the_decoder_are_stated() -> None:
    """Both are facts; Blackwell does not state the first."""
    facts = claims(report=GPU.report(fields={21: b"\xaa", 11: b"\xaa"})).facts
    assert (facts["protected_pcie"], facts["nvdec_enabled"]) == ("on", True)
    assert claims().facts["protected_pcie"] == "off"
    assert claims(BLACKWELL).facts["protected_pcie"] == "unstated"
    assert (claims().facts["architecture"], claims(BLACKWELL).facts["architecture"]) == ("hopper", "blackwell")


def test_a_blackwell_part_with_the_debug_flag_says_so() -> None:
    """The TcbInfo of its leaf has the flag; Hopper has no such field."""
    assert claims(NVIDIA.device("GB100", debug=True)).debug
    assert not claims(BLACKWELL).debug


def test_without_manifests_nothing_is_decided() -> None:
    """A report alone is genuine with facts whose refusal reads undecided, so it never passes as a match."""
    facts = claims().facts
    assert (facts["driver_rim"], facts["vbios_rim"]) == ("missing", "missing")
    table = VOCABULARIES[TEEKind.NVIDIA_GPU].facts
    assert table["driver_rim"].reason_for("missing") is Reason.RIM_UNAVAILABLE
    assert table["driver_rim"].reason_for("mismatch") is Reason.RIM_MISMATCH
    assert table["vbios_rim"].reason_for("expired") is Reason.RIM_EXPIRED


@pytest.mark.parametrize("device", [GPU, BLACKWELL], ids=["hopper", "blackwell"])
def test_a_report_of_released_firmware_matches_both_manifests(device: FakeDevice) -> None:
    """All golden values of both are met, one of them by its second alternative."""
    facts = claims(device, *NVIDIA.rims(device.chip)).facts
    assert (facts["driver_rim"], facts["vbios_rim"], facts["mismatched_values"]) == ("match", "match", "none")
    assert (facts["driver_rim_revision"], facts["vbios_rim_revision"]) == (1, 1)


def test_other_firmware_is_a_mismatch_of_the_manifest_it_belongs_to() -> None:
    """The fact names the manifest, and the indices are listed."""
    facts = claims(GPU, *RIMS, report=GPU.report(digests={9: bytes(48)})).facts
    assert (facts["driver_rim"], facts["vbios_rim"], facts["mismatched_values"]) == ("mismatch", "match", "9")
    both = claims(GPU, *RIMS, report=GPU.report(digests={9: bytes(48), 12: bytes(48)})).facts
    assert (both["driver_rim"], both["vbios_rim"], both["mismatched_values"]) == ("mismatch", "mismatch", "9,12")


def test_the_decoder_counts_only_while_it_is_on() -> None:
    """Golden value 35 is skipped with the decoder off, and only then."""
    other = {35: bytes(48)}
    off, on = GPU.report(digests=other), GPU.report(digests=other, fields={11: b"\xaa"})
    assert claims(GPU, *RIMS, report=off).facts["driver_rim"] == "match"
    assert claims(GPU, *RIMS, report=on).facts["mismatched_values"] == "35"


def test_a_manifest_of_another_version_or_chip_is_no_manifest() -> None:
    """A validly signed manifest of another driver, or of Hopper for Blackwell, leaves the fact at missing."""
    other = NVIDIA.rim(kind="driver", product="GH100", version="999.10.02", golden=DRIVER_GOLDEN)
    assert claims(GPU, other, RIMS[1]).facts["driver_rim"] == "missing"
    assert claims(BLACKWELL, *RIMS).facts["driver_rim"] == "missing"


def test_the_newest_revision_of_a_manifest_counts() -> None:
    """Revisions replace earlier ones: whoever sends both is judged by the later."""
    later = NVIDIA.rim(kind="driver", product="GH100", version=DRIVER_VERSION, golden={7: [bytes(48)]}, revision="r2")
    facts = claims(GPU, *RIMS, later).facts
    assert (facts["driver_rim"], facts["driver_rim_revision"]) == ("mismatch", 2)


def test_a_manifest_whose_signer_is_no_longer_valid_is_expired() -> None:
    """A match by it is its own value; a mismatch stays a mismatch."""
    later = NOW + timedelta(days=3650)
    facts = claims(GPU, *RIMS, now=later).facts
    assert (facts["driver_rim"], facts["vbios_rim"]) == ("expired", "expired")
    assert claims(GPU, *RIMS, now=later, report=GPU.report(digests={9: bytes(48)})).facts["driver_rim"] == "mismatch"


def test_a_valid_manifest_bounds_how_long_the_claims_hold() -> None:
    """They expire with the manifests' signers; an expired signer is already a fact."""
    assert claims(GPU, *RIMS).collateral_expires < NOW + timedelta(days=3650)
    assert claims(GPU, *RIMS, now=NOW + timedelta(days=3650)).collateral_expires.year == 9999


def test_manifests_that_contradict_each_other_are_refused() -> None:
    """One index active in both leaves open which value holds."""
    overlapping = NVIDIA.rim(kind="vbios", product="GH100", version=VBIOS_VERSION, golden={7: [b"\x07" * 48]})
    assert refusal(lambda: claims(GPU, RIMS[0], overlapping)).reason is Reason.RIM_INVALID


def test_a_manifest_by_anyone_else_is_refused() -> None:
    """It is about this device's version, so it is not skipped."""
    foreign = FakeNVIDIA().rim(kind="vbios", product="GH100", version=VBIOS_VERSION, golden=VBIOS_GOLDEN)
    assert refusal(lambda: claims(GPU, foreign)).reason is Reason.ROOT_REFUSED


def test_a_report_without_any_chain_is_a_missing_endorsement() -> None:
    """Nothing is decided: whoever brings the chain may get another answer."""
    error = refusal(lambda: claims(chains=()))
    assert error.reason is Reason.ENDORSEMENT_MISSING
    assert isinstance(error, CollateralUnavailable)


def test_a_report_of_a_gpu_whose_chain_is_not_among_those_given_is_refused() -> None:
    """A swapped GPU, or another's chain: no key fits."""
    assert refusal(lambda: claims(chains=[NVIDIA.gpu().chain, BLACKWELL.chain])).reason is Reason.SIGNATURE_INVALID


def test_the_chain_of_each_gpu_is_found_among_those_of_the_whole_machine() -> None:
    """Order does not matter, neither on the first attestation nor later."""
    gpus = [NVIDIA.gpu() for _ in range(8)]
    chains = [gpu.chain for gpu in reversed(gpus)]
    verifier = NVIDIA.verifier()
    for turn in range(3):
        for gpu in gpus if turn % 2 else gpus[::-1]:
            said = verifier.verify(gpu.evidence(), chains, now=NOW)
            assert said.platform_ids[0].value[1:] == gpu.pdi


def test_an_altered_report_is_refused() -> None:
    """One bit of a measurement, of the nonce, of the signature."""
    report = bytearray(GPU.report())
    for at in (5, 60, len(report) - 1):
        report[at] ^= 1
        assert refusal(lambda: claims(report=bytes(report))).reason is Reason.SIGNATURE_INVALID
        report[at] ^= 1
    assert claims(report=bytes(report)).slot == NONCE


def test_another_root_is_refused() -> None:
    """A complete world of somebody else's is no NVIDIA's, and neither is ours to the pinned root."""
    foreign = FakeNVIDIA().gpu()
    assert refusal(lambda: claims(foreign)).reason is Reason.ROOT_REFUSED
    pinned = NVIDIAVerifier()
    assert refusal(lambda: pinned.verify(GPU.evidence(), [GPU.chain], now=NOW)).reason is Reason.ROOT_REFUSED


def test_firmware_other_than_its_key_was_issued_to_is_refused() -> None:
    """The report's firmware digest has to be the certificate's."""
    report = GPU.report(fields={20: bytes(48)})
    assert refusal(lambda: claims(report=report)).reason is Reason.TCB_MISMATCH


def test_a_switch_cannot_pose_as_a_gpu() -> None:
    """Its key under the shared identity CA signs a perfect GPU report; its certificates still say switch."""
    switch = NVIDIA.switch()
    forged = switch.sign(GPU.report(fields={20: switch.fwid})[:-96])
    evidence = GPU.evidence(forged)
    error = refusal(lambda: NVIDIA.verifier().verify(evidence, [switch.chain], now=NOW))
    assert error.reason is Reason.CHIP_MISMATCH
    assert isinstance(error, NotGenuine)


def test_a_switch_certified_with_a_gpus_name_is_refused() -> None:
    """All five names must be of one device."""
    device = NVIDIA.device("GH100", brom_issuer=NVIDIA.provisioners["LS_10"])
    assert refusal(lambda: claims(device)).reason is Reason.CHAIN_INVALID
    assert (
        refusal(lambda: claims(NVIDIA.device("GH100", brom_name="LS_10 A01 FSP BROM"))).reason is Reason.CHAIN_INVALID
    )


def test_a_chip_other_than_its_certificate_names_is_refused() -> None:
    """A Blackwell certificate signs no Hopper report, nor the reverse."""
    hopper = BLACKWELL.report(fields={35: None, 21: b"\x55"})
    assert refusal(lambda: claims(BLACKWELL, report=hopper)).reason is Reason.CHIP_MISMATCH
    blackwell = GPU.report(fields={35: b"GB100\0"})
    assert refusal(lambda: claims(GPU, report=blackwell)).reason is Reason.CHIP_MISMATCH


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"leaf_name": "GB202 A01 GSP FMC LF"}, Reason.UNSUPPORTED),
        ({"leaf_name": "GH100"}, Reason.UNSUPPORTED),
        ({"serial": "51" + "00" * 8}, Reason.UNSUPPORTED),
        ({"serial": "41"}, Reason.UNSUPPORTED),
        ({"leaf_signs_certificates": True}, Reason.CHAIN_INVALID),
        ({"fwid_extension": fwid_of("GB100", bytes(48))}, Reason.CHAIN_INVALID),
        ({"ends": datetime(2024, 1, 1, tzinfo=UTC)}, Reason.CERTIFICATE_EXPIRED),
    ],
    ids=["chip", "name", "serial-kind", "serial-size", "authority", "fwid-form", "expired"],
)
def test_a_chain_of_another_form_is_refused(wrong: dict[str, object], reason: Reason) -> None:
    """Unknown chips are unsupported, what no NVIDIA device has is invalid."""
    assert refusal(lambda: claims(NVIDIA.device("GH100", **wrong))).reason is reason  # type: ignore[arg-type]


def test_an_extension_of_the_right_kind_with_other_contents_is_malformed() -> None:
    """The firmware digest is read by its structure, not from the end."""
    der = fwid_of("GH100", bytes(48)).value
    for broken in (der + b"\0", der[:-1], der[::-1]):
        extension = type(fwid_of("GH100", bytes(48)))(COMPOSITE_DEVICE_ID, broken)
        error = refusal(lambda extension=extension: claims(NVIDIA.device("GH100", fwid_extension=extension)))  # type: ignore[misc]
        assert error.reason is Reason.MALFORMED


def test_a_chain_of_another_length_is_malformed() -> None:
    """Four or six certificates are no device's chain."""
    pem = GPU.chain.data
    begin = b"-----BEGIN"
    four = begin + begin.join(pem.split(begin)[2:])
    six = begin + pem.split(begin)[1] + pem
    for data in (four, six):
        chain = Collateral(kind="nvidia-chain", data=data)
        assert refusal(lambda chain=chain: claims(chains=[chain])).reason is Reason.MALFORMED  # type: ignore[misc]


def test_chains_beyond_any_machine_are_refused_unread() -> None:
    """The number of keys tried is bounded."""
    many = [Collateral(kind="nvidia-chain", data=GPU.chain.data + b"\n" * n) for n in range(33)]
    assert refusal(lambda: claims(chains=many)).reason is Reason.MALFORMED


def test_manifests_beyond_need_are_refused_unread() -> None:
    """The number of manifests read for one version is bounded."""
    many = [Collateral(kind="nvidia-rim", data=RIMS[0].data + b"\n" * n) for n in range(17)]
    assert refusal(lambda: claims(GPU, *many)).reason is Reason.MALFORMED


@pytest.mark.parametrize("form", ["nvidia-switch-spdm-1.1", "nvidia-spdm-1.2", ""])
def test_evidence_of_another_format_is_unsupported(form: str) -> None:
    """Only the format this verifier is for."""
    evidence = Evidence(kind=TEEKind.NVIDIA_GPU, format=form, data=GPU.report())
    assert refusal(lambda: NVIDIA.verifier().verify(evidence, [GPU.chain], now=NOW)).reason is Reason.UNSUPPORTED


def test_what_was_remembered_decides_as_what_was_not() -> None:
    """The same verifier refuses and accepts the same on the second time, and time still counts."""
    verifier = NVIDIA.verifier()
    device = NVIDIA.device("GH100", ends=NOW + timedelta(days=1))
    first = verifier.verify(device.evidence(), [device.chain, *RIMS], now=NOW)
    assert verifier.verify(device.evidence(), [device.chain, *RIMS], now=NOW) == first
    later = NOW + timedelta(days=2)
    error = refusal(lambda: verifier.verify(device.evidence(), [device.chain, *RIMS], now=later))
    assert error.reason is Reason.CERTIFICATE_EXPIRED


def test_a_chain_that_is_not_valid_yet_is_refused() -> None:
    """As of a time before the device was certified there is no such device."""
    assert refusal(lambda: claims(now=datetime(2021, 1, 1, tzinfo=UTC))).reason is Reason.CERTIFICATE_EXPIRED


@pytest.mark.parametrize("linked", [True, False], ids=["named-switches", "alike"])
def test_a_machine_that_attests_again_costs_one_try_per_report(monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    """In the order of before, or in any order where each GPU names the switches in an order of its own."""
    switches = [NVIDIA.switch() for _ in range(4)]
    gpus = [NVIDIA.gpu() for _ in range(4)]
    chains = [gpu.chain for gpu in gpus]
    verifier = NVIDIA.verifier()

    tries: list[DeviceChain] = []
    signed = DeviceChain.signed

    def counted(chain: DeviceChain, exchange: MeasurementExchange) -> bool:
        tries.append(chain)
        return signed(chain, exchange)

    monkeypatch.setattr(DeviceChain, "signed", counted)

    def attest(order: list[int]) -> int:
        tries.clear()
        for place in order:
            named = switches[place:] + switches[:place] if linked else []
            verifier.verify(gpus[place].evidence(gpus[place].report(switches=named)), chains, now=NOW)
        return len(tries)

    attest([2, 0, 3, 1])
    assert attest([2, 0, 3, 1]) == 4
    assert attest([2, 0, 3, 1]) == 4
    if linked:
        assert attest([3, 2, 1, 0]) == 4
