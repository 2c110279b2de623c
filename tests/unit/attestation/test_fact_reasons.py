# SPDX-License-Identifier: Apache-2.0
"""Genuine evidence that a policy does not accept: each reason, for each kind that can have it, from verified bytes.

Every policy here accepts exactly what good evidence of the kind states. One thing then differs, in the evidence or in
what the policy wants, and the findings must carry that thing's reason and, but for `also`, no other.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import TypeAlias

import pytest

from attestation.appraisal.part import appraise_part
from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.bundle import Collateral
from attestation.claims import EvidenceClaims, Scalar, TEEKind
from attestation.errors import UNDECIDED, Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.dcap.verifier import TDXVerifier
from attestation.tee.snp.product import Product
from tests.support import fake_amd as amd
from tests.support import fake_azure as azure
from tests.support import fake_intel as intel
from tests.support import fake_nvidia as nvidia
from tests.support import fake_tpm as tpm
from tests.support.confidential import accepting
from tests.support.fake_nvidia import DRIVER_GOLDEN, FakeDevice, FakeNVIDIA, answer, fwid_of
from tests.support.intel_verifying import verify_world

Claimed: TypeAlias = Callable[[], EvidenceClaims]
NVIDIA = FakeNVIDIA()
GPU, BLACKWELL, SWITCH = NVIDIA.gpu(), NVIDIA.gpu("GB100"), NVIDIA.switch()
OTHER = hashlib.sha384(b"other firmware").digest()
LATER, MUCH_LATER = nvidia.NOW + timedelta(days=2), nvidia.NOW + timedelta(days=3650)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What endorses a device: all of it unless said otherwise."""

    rims: bool = True
    ocsp: bool = True
    hold: bool = False
    extra: Sequence[Collateral] = ()

    def collateral(self, device: FakeDevice, rims: Sequence[Collateral]) -> list[Collateral]:
        """The device's chain and the rest."""
        given = [device.chain, *(rims if self.rims else ()), *self.extra]
        if self.ocsp:
            given += [*NVIDIA.statements(device)[self.hold :], *NVIDIA.rim_statements()]
        if self.hold:
            given.append(answer(device.levels[1], device.levels[2], status="hold"))
        return given


ALL = Given()


def gpu(
    device: FakeDevice = GPU, *, report: bytes | None = None, now: datetime = nvidia.NOW, given: Given = ALL
) -> EvidenceClaims:
    """What is verified of a GPU."""
    collateral = given.collateral(device, NVIDIA.rims(device.chip))
    return NVIDIA.verifier().verify(device.evidence(report), collateral, now=now)


def switch(
    device: FakeDevice = SWITCH, *, report: bytes | None = None, now: datetime = nvidia.NOW, given: Given = ALL
) -> EvidenceClaims:
    """What is verified of a switch."""
    collateral = given.collateral(device, [NVIDIA.switch_rim()])
    return NVIDIA.switch_verifier().verify(device.evidence(report), collateral, now=now)


def snp(world: amd.SNPWorld | None = None) -> EvidenceClaims:
    """What is verified of a guest."""
    world = world or amd.good()
    return world.verifier.verify(world.evidence, world.collateral, now=amd.NOW)


def vtpm(world: azure.AzureWorld | None = None) -> EvidenceClaims:
    """What is verified of an Azure VM."""
    world = world or azure.good()
    return world.verifier.verify(world.evidence, world.collateral, now=azure.NOW)


def vm(runtime: bytes | None = None, **report: amd.Field) -> EvidenceClaims:
    """The same with other runtime data, or with a hardware report that has other fields."""
    runtime = runtime or azure.runtime_data()
    slot = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    return vtpm(azure.world(runtime, report=amd.good(Product.GENOA, 3, report_data=slot, **report).evidence.data))


def vm_on_tdx(**wish: object) -> EvidenceClaims:
    """What is verified of an Azure VM on a fake Intel's TDX."""
    slot = hashlib.sha256(azure.runtime_data()).digest().ljust(64, b"\0")
    td = intel.mint(TEEKind.TDX, report_data=slot, **wish)
    verifier = AzureHCLVerifier(tdx=TDXVerifier(roots=td.roots))
    return verifier.verify(azure.on_tdx(td.evidence.data).evidence, [td.collateral], now=td.now)


def quoted(world: tpm.TPMWorld | None = None) -> EvidenceClaims:
    """What is verified of a TPM."""
    world = world or tpm.good()
    return world.verifier.verify(world.evidence, world.collateral, now=tpm.NOW)


GOOD: Mapping[str, Claimed] = {
    "tdx": lambda: verify_world(intel.mint(TEEKind.TDX)),
    "sgx": lambda: verify_world(intel.mint(TEEKind.SGX)),
    "snp": snp,
    "nvidia-gpu": gpu,
    "nvidia-gpu-blackwell": lambda: gpu(BLACKWELL),
    "nvidia-switch": switch,
    "tpm": quoted,
    "azure-hcl": vtpm,
    "azure-hcl-tdx": vm_on_tdx,
}


@cache
def good(kind: str) -> EvidenceClaims:
    """Good claims of a kind."""
    return GOOD[kind]()


def exactly(kind: str, wanted: Mapping[str, str]) -> AppraisalPolicy:
    """The policy that accepts good evidence of a kind only, but for what it wants of these facts instead."""
    part = good(kind)
    parts = [part] if part.kind not in (TEEKind.NVIDIA_GPU, TEEKind.NVIDIA_SWITCH) else [good("snp"), part]
    text = accepting(parts, gpus=0).decode()
    unstated = [name for name in VOCABULARIES[part.kind].facts if name not in part.facts]
    more = "".join(f'{name} = {{ unchecked = "of other hardware" }}\n' for name in unstated)
    text = text.replace(f"[facts.{part.kind.value}]\n", f"[facts.{part.kind.value}]\n{more}")
    for name, reference in wanted.items():
        head, mark, tail = text.partition(f"[facts.{part.kind.value}]\n")
        tail, count = re.subn(rf"^{name} = .*$", f"{name} = {{ {reference} }}", tail, count=1, flags=re.MULTILINE)
        assert count == 1, name
        text = head + mark + tail
    return read_policy(text.encode())


@dataclass(frozen=True, kw_only=True)
class Differs:
    """Evidence of `kind`, verified by `claims` or good, under a policy that wants `wanted`, is refused for `reason`."""

    kind: str
    reason: Reason
    claims: Claimed | None = None
    wanted: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[Reason] = ()


def of(kind: str, reason: Reason, claims: Claimed | None = None, *also: Reason, **wanted: str) -> Differs:
    """One row."""
    return Differs(kind=kind, reason=reason, claims=claims, wanted=wanted, also=also)


def mint(kind: TEEKind, **wish: object) -> Claimed:
    """Claims of a world of Intel's."""
    return lambda: verify_world(intel.mint(kind, **wish))


TDX, SGX = TEEKind.TDX, TEEKind.SGX
DRIVER_2 = NVIDIA.rim(kind="driver", product="GH100", version="999.10.02", golden=DRIVER_GOLDEN)

DIFFERENT: tuple[Differs, ...] = (
    of("tdx", Reason.DEBUG_REFUSED, mint(TDX, debug=True)),
    of("tdx", Reason.TCB_REFUSED, mint(TDX, status="OutOfDate")),
    of("tdx", Reason.TCB_UNKNOWN, mint(TDX, level_svn=5), Reason.TCB_REFUSED),
    of("tdx", Reason.MEASUREMENT_REFUSED, mint(TDX, mrtd=b"\7" * 48)),
    of("tdx", Reason.ATTRIBUTE_REFUSED, mint(TDX, td_attributes=0)),
    of("tdx", Reason.PRODUCT_REFUSED, mint(TDX, sgx_type=2)),
    of("tdx", Reason.EVENT_LOG_MISMATCH, event_log='exactly = "replayed"'),
    of("sgx", Reason.DEBUG_REFUSED, mint(SGX, debug=True)),
    of("sgx", Reason.TCB_REFUSED, mint(SGX, status="OutOfDate")),
    of("sgx", Reason.TCB_UNKNOWN, mint(SGX, level_svn=5), Reason.TCB_REFUSED),
    of("sgx", Reason.MEASUREMENT_REFUSED, mint(SGX, mrenclave=b"\7" * 32)),
    of("sgx", Reason.ATTRIBUTE_REFUSED, mint(SGX, configuration=(False, True, True))),
    of("sgx", Reason.PRODUCT_REFUSED, mint(SGX, sgx_type=2)),
    of("sgx", Reason.FIRMWARE_REFUSED, mint(SGX, isv_svn=6)),
    of("snp", Reason.DEBUG_REFUSED, lambda: snp(amd.debug())),
    of("snp", Reason.MEASUREMENT_REFUSED, lambda: snp(amd.good(measurement=b"\7" * 48))),
    of("snp", Reason.ATTRIBUTE_REFUSED, lambda: snp(amd.good(vmpl=1))),
    of("snp", Reason.PRODUCT_REFUSED, lambda: snp(amd.good(Product.MILAN))),
    of("snp", Reason.FIRMWARE_REFUSED, lambda: snp(amd.good(firmware=b"\x01\x37\x01\x00"))),
    of("snp", Reason.COLLATERAL_UNAVAILABLE, crl='exactly = "checked"'),
    of("nvidia-gpu-blackwell", Reason.DEBUG_REFUSED, lambda: gpu(NVIDIA.device("GB100", debug=True))),
    of(
        "nvidia-gpu",
        Reason.MEASUREMENT_REFUSED,
        lambda: gpu(
            device := NVIDIA.device("GH100", fwid_extension=fwid_of("GH100", OTHER)),
            report=device.report(fields={20: OTHER}),
        ),
    ),
    of("nvidia-gpu", Reason.MODE_REFUSED, lambda: gpu(report=GPU.report(fields={36: b"\1\0"}))),
    of("nvidia-gpu", Reason.PRODUCT_REFUSED, board='exactly = "another"'),
    of(
        "nvidia-gpu",
        Reason.FIRMWARE_REFUSED,
        lambda: gpu(report=GPU.report(fields={3: b"999.10.02\0"}), given=Given(extra=[DRIVER_2])),
    ),
    of("nvidia-gpu", Reason.RIM_MISMATCH, lambda: gpu(report=GPU.report(digests={9: bytes(48)}))),
    of("nvidia-gpu", Reason.RIM_UNAVAILABLE, lambda: gpu(given=Given(rims=False)), Reason.COLLATERAL_UNAVAILABLE),
    of("nvidia-gpu", Reason.RIM_EXPIRED, lambda: gpu(now=MUCH_LATER), Reason.COLLATERAL_EXPIRED),
    of("nvidia-gpu", Reason.COLLATERAL_UNAVAILABLE, lambda: gpu(given=Given(ocsp=False))),
    of("nvidia-gpu", Reason.COLLATERAL_EXPIRED, lambda: gpu(now=LATER)),
    of("nvidia-gpu", Reason.CERTIFICATE_REVOKED, lambda: gpu(given=Given(hold=True))),
    of(
        "nvidia-switch",
        Reason.MEASUREMENT_REFUSED,
        lambda: switch(NVIDIA.device("LS_10", fwid_extension=fwid_of("LS_10", OTHER))),
    ),
    of("nvidia-switch", Reason.MODE_REFUSED, lambda: switch(report=SWITCH.report(fields={25: b"\0\0"}))),
    of("nvidia-switch", Reason.PRODUCT_REFUSED, architecture='exactly = "another"'),
    of("nvidia-switch", Reason.FIRMWARE_REFUSED, firmware_number="at_least = 9223372036854775807"),
    of("nvidia-switch", Reason.RIM_MISMATCH, lambda: switch(report=SWITCH.report(digests={3: bytes(48)}))),
    of("nvidia-switch", Reason.RIM_UNAVAILABLE, lambda: switch(given=Given(rims=False)), Reason.COLLATERAL_UNAVAILABLE),
    of("nvidia-switch", Reason.RIM_EXPIRED, lambda: switch(now=MUCH_LATER), Reason.COLLATERAL_EXPIRED),
    of("nvidia-switch", Reason.COLLATERAL_UNAVAILABLE, lambda: switch(given=Given(ocsp=False))),
    of("nvidia-switch", Reason.COLLATERAL_EXPIRED, lambda: switch(now=LATER)),
    of("nvidia-switch", Reason.CERTIFICATE_REVOKED, lambda: switch(given=Given(hold=True))),
    of("tpm", Reason.MEASUREMENT_REFUSED, lambda: quoted(tpm.quoted(tpm.an_ak(), {**tpm.PCRS, 14: bytes(32)}))),
    of("tpm", Reason.ATTRIBUTE_REFUSED, lambda: quoted(tpm.quoted(tpm.an_ak(), safe=0))),
    of("tpm", Reason.PRODUCT_REFUSED, ek_manufacturer='exactly = "id:00000000"'),
    of("tpm", Reason.FIRMWARE_REFUSED, firmware_version="at_least = 9223372036854775807"),
    of("tpm", Reason.ROOT_REFUSED, ek_root=f'any_of = ["{"00" * 32}"]'),
    of("tpm", Reason.ACTIVATION_MISSING, lambda: quoted(tpm.good().changed(activation=b""))),
    of("tpm", Reason.EVENT_LOG_MISMATCH, event_log='exactly = "replayed"'),
    of("tpm", Reason.COLLATERAL_UNAVAILABLE, ek_crl='exactly = "checked"'),
    of("azure-hcl", Reason.DEBUG_REFUSED, lambda: vm(policy=0x30000 | 1 << 19)),
    of("azure-hcl", Reason.MEASUREMENT_REFUSED, lambda: vm(measurement=b"\7" * 48)),
    of(
        "azure-hcl",
        Reason.ATTRIBUTE_REFUSED,
        lambda: vm(azure.runtime_data(**{"vm-configuration": {**azure.CONFIGURATION, "secure-boot": False}})),
    ),
    of("azure-hcl", Reason.PRODUCT_REFUSED, snp_product='exactly = "Turin"'),
    of("azure-hcl", Reason.FIRMWARE_REFUSED, lambda: vm(firmware=b"\x01\x37\x01\x00")),
    of("azure-hcl-tdx", Reason.DEBUG_REFUSED, lambda: vm_on_tdx(debug=True)),
    of("azure-hcl-tdx", Reason.TCB_REFUSED, lambda: vm_on_tdx(status="OutOfDate")),
    of("azure-hcl-tdx", Reason.TCB_UNKNOWN, lambda: vm_on_tdx(level_svn=5), Reason.TCB_REFUSED),
    of("azure-hcl", Reason.EVENT_LOG_MISMATCH, event_log='exactly = "replayed"'),
    of("azure-hcl", Reason.COLLATERAL_UNAVAILABLE, snp_crl='exactly = "checked"'),
)


def judged(kind: str, claims: EvidenceClaims, **wanted: str) -> list[Reason]:
    """The reasons of all findings against the claims."""
    return [finding.reason for finding in appraise_part(claims, exactly(kind, wanted))]


@pytest.mark.parametrize("kind", GOOD)
def test_what_a_policy_lists_has_no_finding(kind: str) -> None:
    """The counterpart of every refusal: nothing differs, so no reason is given."""
    assert judged(kind, good(kind)) == []


@pytest.mark.parametrize("row", DIFFERENT, ids=lambda row: f"{row.kind} {row.reason}")
def test_what_differs_is_refused_by_its_own_reason(row: Differs) -> None:
    """One thing differs; its reason is given, and no other that is not its consequence."""
    claims = row.claims() if row.claims else good(row.kind)
    found = set(judged(row.kind, claims, **row.wanted))
    assert row.reason in found
    assert found <= {row.reason, *row.also}


@pytest.mark.parametrize("kind", list(VOCABULARIES))
def test_every_fact_a_policy_does_not_accept_gives_its_own_finding(kind: TEEKind) -> None:
    """Fact by fact: another value, and every value with a reason of its own, gives one finding about that fact."""
    if kind is TEEKind.SIMULATED:
        assert not VOCABULARIES[kind].facts
        return
    claims = good(kind.value)
    policy = exactly(kind.value, {})
    for name, fact in VOCABULARIES[kind].facts.items():
        if name not in claims.facts:
            continue
        others: dict[type, Scalar] = {str: "something else", int: 1 << 40, bool: not claims.facts[name]}
        for value in (others[fact.type], *(value for value in fact.by_value if value != claims.facts[name])):
            changed = replace(claims, facts={**claims.facts, name: value})
            (finding,) = appraise_part(changed, policy)
            assert finding.field == f"{kind.value}.{name}"
            assert finding.reason is fact.reason_for(value)


def test_undecided_and_refused_are_told_apart() -> None:
    """What is missing may be brought; what mismatches may not."""
    assert set(judged("nvidia-gpu", gpu(given=Given(rims=False)))) <= UNDECIDED
    assert not set(judged("nvidia-gpu", gpu(report=GPU.report(digests={9: bytes(48)})))) & UNDECIDED


def test_a_kind_no_policy_allows_is_refused_for_its_root_too() -> None:
    """Where a policy names the roots of a kind, one that does not speak of the kind trusts none."""
    found = {finding.reason for finding in appraise_part(good("tpm"), exactly("snp", {}))}
    assert found == {Reason.POLICY_REFUSED, Reason.ROOT_REFUSED}
    assert {finding.reason for finding in appraise_part(good("sgx"), exactly("snp", {}))} == {Reason.POLICY_REFUSED}
