# SPDX-License-Identifier: Apache-2.0
"""What makes the evidence of an Azure confidential VM genuine, and the reason for each way of not being it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import AttestationError, CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.facts.azure import AZURE_HCL
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier, read_hardware_evidence
from attestation.tee.snp.product import Product
from attestation.tee.snp.verifier import SNPVerifier
from tests.support import fake_amd as amd
from tests.support import fake_azure as azure
from tests.support.fake_azure import AzureWorld

SNP_FACTS = {name for name in AZURE_HCL.facts if not name.startswith("tdx_")}
TDX_FACTS = {name for name in AZURE_HCL.facts if not name.startswith("snp_")}


def verified(world: AzureWorld) -> EvidenceClaims:
    return world.verifier.verify(world.evidence, world.collateral, now=azure.NOW)


def refusal(world: AzureWorld) -> tuple[type[AttestationError], Reason]:
    with pytest.raises(AttestationError) as caught:
        verified(world)
    return type(caught.value), caught.value.reason


@dataclass(frozen=True)
class ScriptedTDX:
    """Stands for the TDX verifier: says what it was given and that it is genuine with this slot."""

    slot: bytes
    seen: list[tuple[Evidence, list[str]]]

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        self.seen.append((evidence, [item.kind for item in collateral]))
        snp = azure.good()
        claims = SNPVerifier(roots=snp.roots).verify(read_hardware_evidence(snp.evidence.data), snp.collateral, now=now)
        facts = {name: fact.type() for name, fact in VOCABULARIES[TEEKind.TDX].facts.items()}
        return replace(claims, kind=TEEKind.TDX, slot=self.slot, facts=facts)


def test_a_vm_states_its_vtpm_its_paravisor_and_its_hardware() -> None:
    """Registers are the quoted PCRs and the hardware's; facts are the vTPM's and, by prefix, the hardware's."""
    claims = verified(azure.good())
    registers = {measurement.register: measurement.digest for measurement in claims.measurements}
    assert claims.kind is TEEKind.AZURE_HCL
    assert claims.slot == azure.SLOT
    assert {index: registers[f"pcr{index}"] for index in range(24)} == azure.PCRS
    assert registers["launch"] == hashlib.sha384(b"launch").digest()
    assert set(claims.facts) == SNP_FACTS
    assert set(registers) <= set(AZURE_HCL.registers)
    assert [identity.value for identity in claims.platform_ids] == [amd.chip_id(Product.GENOA)]
    assert (claims.facts["hardware"], claims.facts["snp_product"], claims.facts["ak_key"]) == (
        "snp",
        "Genoa",
        "rsa-2048 rsassa sha256",
    )
    switches = ("secure_boot", "console_enabled", "tpm_enabled", "tpm_persisted")
    assert [claims.facts[name] for name in switches] == ["on", "off", "on", "unstated"]
    assert (claims.facts["clock_safe"], claims.facts["reset_count"], claims.facts["restart_count"]) == (True, 3, 1)
    assert {name: type(value) for name, value in claims.facts.items()} == {
        name: AZURE_HCL.facts[name].type for name in SNP_FACTS
    }


@pytest.mark.parametrize(
    ("world", "error", "reason"),
    [
        (azure.with_other_runtime_data, NotGenuine, Reason.BINDING_MISMATCH),
        (azure.signed_by_another_key, NotGenuine, Reason.SIGNATURE_INVALID),
        (azure.with_another_pcr, NotGenuine, Reason.SIGNATURE_INVALID),
        (lambda: azure.on_tdx(td_quote=b""), CollateralUnavailable, Reason.ENDORSEMENT_MISSING),
        (lambda: azure.good().having(td_quote=b"quote"), MalformedEvidence, Reason.MALFORMED),
        (lambda: replace(azure.good(), collateral=()), CollateralUnavailable, Reason.ENDORSEMENT_MISSING),
        (lambda: replace(azure.good(), roots={}), NotGenuine, Reason.ROOT_REFUSED),
    ],
    ids=["runtime data", "key", "pcr", "no td quote", "td quote on snp", "no chain", "root"],
)
def test_each_wrong_world_has_its_reason(
    world: Callable[[], AzureWorld], error: type[AttestationError], reason: Reason
) -> None:
    """Each world with one thing wrong is refused by that thing's own reason."""
    assert refusal(world()) == (error, reason)


def test_the_hardware_s_own_refusals_come_through() -> None:
    """A hardware report with another report's signature is refused as that kind refuses it."""
    runtime = azure.runtime_data()
    slot = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    mine, other = amd.good(report_data=slot).evidence.data, amd.good().evidence.data
    forged = mine[: amd.SIGNATURE] + other[amd.SIGNATURE :]
    assert refusal(azure.world(runtime, report=forged)) == (NotGenuine, Reason.SIGNATURE_INVALID)


def test_debug_of_the_hardware_is_debug_of_the_vm() -> None:
    """A guest policy that allows debugging is stated for the whole."""
    runtime = azure.runtime_data()
    slot = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    report = amd.good(report_data=slot, policy=0x30000 | 1 << 19).evidence.data
    assert verified(azure.world(runtime, report=report)).debug is True


def test_on_tdx_the_quote_vouches_for_the_runtime_data() -> None:
    """The TDREPORT proves nothing outside: the TD quote goes to the TDX verifier with Intel's collateral alone."""
    world = azure.on_tdx()
    slot = hashlib.sha256(azure.runtime_data()).digest().ljust(64, b"\0")
    tdx = ScriptedTDX(slot=slot, seen=[])
    collateral = (*world.collateral, Collateral(kind="intel-dcap-json", data=b"{}"))
    claims = AzureHCLVerifier(tdx=tdx).verify(world.evidence, collateral, now=azure.NOW)
    assert tdx.seen == [
        (Evidence(kind=TEEKind.TDX, format="tdx-quote", data=b"quote"), ["intel-dcap-json"]),
    ]
    assert claims.facts["hardware"] == "tdx"
    assert set(claims.facts) == TDX_FACTS


def test_on_tdx_the_report_and_the_quote_must_say_the_same() -> None:
    """A quote over other runtime data, and one whose report data the TDREPORT does not have, are refused."""
    world = azure.on_tdx()
    own = hashlib.sha256(azure.runtime_data()).digest()
    for slot in (bytes(64), own + b"\x01" * 32):
        verifier = AzureHCLVerifier(tdx=ScriptedTDX(slot=slot, seen=[]))
        with pytest.raises(NotGenuine) as caught:
            verifier.verify(world.evidence, (), now=azure.NOW)
        assert caught.value.reason is Reason.BINDING_MISMATCH


def test_the_vtpm_s_event_log_is_replayed() -> None:
    """A log that does not give the quoted registers is refused; without one the fact says absent."""
    assert verified(azure.good()).facts["event_log"] == "absent"
    world = azure.good()
    log = Collateral(kind="event-log-tcg2", data=b"no log")
    assert refusal(replace(world, collateral=(*world.collateral, log))) == (MalformedEvidence, Reason.MALFORMED)


def test_the_slot_is_what_the_quote_signed() -> None:
    """Another slot under the same VM gives other claims; a changed quote no claims at all."""
    other = hashlib.sha256(b"other").digest()
    assert verified(azure.good(other)).slot == other
    assert refusal(azure.good().having(attest=azure.attest(other))) == (NotGenuine, Reason.SIGNATURE_INVALID)


@pytest.mark.parametrize(
    "members",
    [
        {"keys": []},
        {"keys": [azure.jwk(), azure.jwk(azure.ak("another ak"))]},
        {"keys": [azure.jwk(kid="HCLEkPub")]},
        {"keys": [azure.jwk()] * 9},
        {"keys": "HCLAkPub"},
        {"keys": [azure.jwk() | {"e": "Aw"}]},
        {"keys": [azure.jwk() | {"n": "AQAB"}]},
        {"keys": [azure.jwk() | {"n": str(azure.jwk()["n"]) + "="}]},
        {"keys": [azure.jwk() | {"n": str(azure.jwk()["n"])[:-1] + "!"}]},
        {"vm-configuration": None},
        {"vm-configuration": {"secure-boot": "yes"}},
        {"x": 1.5},
    ],
)
def test_runtime_data_that_is_not_as_it_must_be_is_malformed(members: dict[str, object]) -> None:
    """One attestation key, canonically spelled, and switches that are booleans, or nothing is read."""
    assert refusal(azure.world(azure.runtime_data(**members))) == (MalformedEvidence, Reason.MALFORMED)


def test_duplicate_members_of_runtime_data_are_refused() -> None:
    """A second member of the same name, which other readers may prefer, is malformed."""
    keys = json.dumps([azure.jwk(azure.ak("another ak"))])
    doubled = azure.runtime_data()[:-1] + f', "keys": {keys}}}'.encode()
    assert refusal(azure.world(doubled)) == (MalformedEvidence, Reason.MALFORMED)


def test_a_key_of_another_type_is_unsupported() -> None:
    """Another type of key is unknown here, not bad."""
    runtime = azure.runtime_data(keys=[azure.jwk() | {"kty": "EC"}])
    assert refusal(azure.world(runtime)) == (MalformedEvidence, Reason.UNSUPPORTED)


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [
        (0, 0x00, Reason.MALFORMED),
        (4, 0x03, Reason.UNSUPPORTED),
        (8, 0x00, Reason.MALFORMED),
        (12, 0x01, Reason.UNSUPPORTED),
        (16, 0x01, Reason.MALFORMED),
        (31, 0x01, Reason.MALFORMED),
        (1216, 0x00, Reason.MALFORMED),
        (1220, 0x02, Reason.UNSUPPORTED),
        (1224, 0x03, Reason.UNSUPPORTED),
        (1228, 0x02, Reason.UNSUPPORTED),
        (1235, 0xFF, Reason.MALFORMED),
        (-1, 0x01, Reason.MALFORMED),
    ],
)
def test_every_field_around_the_report_is_checked(at: int, byte: int, reason: Reason) -> None:
    """Magic, versions, types, sizes, reserved bytes and fill are as they must be, or the report is refused."""
    data = bytearray(azure.good().parts.hcl_report)
    assert data[at] != byte
    data[at] = byte
    assert refusal(azure.good().having(hcl_report=bytes(data))) == (MalformedEvidence, reason)


def test_evidence_of_another_kind_or_format_is_unsupported() -> None:
    """The verifier reads its own format only."""
    world = azure.good()
    for kind, form in ((TEEKind.SNP, "azure-hcl-v1"), (TEEKind.AZURE_HCL, "azure-hcl-v2")):
        evidence = Evidence(kind=kind, format=form, data=world.evidence.data)
        with pytest.raises(MalformedEvidence) as caught:
            world.verifier.verify(evidence, world.collateral, now=azure.NOW)
        assert caught.value.reason is Reason.UNSUPPORTED


def test_the_hardware_s_evidence_can_be_had_alone() -> None:
    """Whoever fetches endorsements reads the inner evidence without verifying anything."""
    inner = read_hardware_evidence(azure.good().evidence.data)
    assert (inner.kind, inner.format, len(inner.data)) == (TEEKind.SNP, "snp-report", 1184)
    assert read_hardware_evidence(azure.on_tdx().evidence.data).kind is TEEKind.TDX
