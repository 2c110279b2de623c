# SPDX-License-Identifier: Apache-2.0
"""What evidence needs is read from its bytes alone: everything it may need, nothing twice, and nothing for rubbish."""

from dataclasses import replace

import pytest

from attestation.binding import device_digest
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import TEEKind
from attestation.collateral.needs import Planner, evidence_in_question
from attestation.collateral.requests import (
    VCEK,
    AMDChain,
    AMDRevocations,
    AMDSigner,
    CertificateStatus,
    IntelCollateral,
    PCKAuthority,
    ReferenceManifest,
    Request,
)
from attestation.tee.certificates import der_of
from attestation.tee.nvidia.endorsements import Endorsements
from attestation.tee.snp.product import CHIP_ID_BYTES, Product
from tests.support import fake_amd, fake_azure, fake_intel, fake_nvidia, fake_tsm
from tests.support.vectors import vectors

NVIDIA = fake_nvidia.FakeNVIDIA()
PLANNER = Planner(Endorsements(roots=NVIDIA.roots, rim_roots=NVIDIA.rim_maker.roots))
needs = PLANNER.needs


def recorded(kind: TEEKind, *parts: str) -> Evidence:
    return Evidence(kind=kind, format="recorded", data=vectors(*parts).read_bytes())


def recorded_chain(*parts: str) -> Collateral:
    return Collateral(kind="nvidia-chain", data=vectors(*parts, "chain.pem").read_bytes())


def revocations(signer: AMDSigner = AMDSigner.VCEK) -> AMDRevocations:
    return AMDRevocations(product=Product.GENOA, signer=signer)


@pytest.mark.parametrize(
    ("kind", "name", "fmspc"),
    [
        (TEEKind.TDX, "v4_00b2526ab1", "00806f050000"),
        (TEEKind.TDX, "v5_586c2be0dc", "90c06f000000"),
        (TEEKind.SGX, "v3_c915aa2943", "00606a000000"),
    ],
)
def test_a_quote_needs_its_platforms_collateral(kind: TEEKind, name: str, fmspc: str) -> None:
    """Real quotes name their platform model and authority."""
    wanted = IntelCollateral(tee=kind, fmspc=bytes.fromhex(fmspc), authority=PCKAuthority.PLATFORM)
    assert needs([recorded(kind, kind.value, name, "quote.bin")], []) == (wanted,)


def test_a_quote_of_a_processor_ca_needs_that_authoritys_list() -> None:
    """Which authority issued the platform's certificate decides which list is asked for."""
    world = fake_intel.mint(TEEKind.SGX, pck_ca_name="Intel SGX PCK Processor CA")
    (wanted,) = needs([world.evidence], [])
    assert isinstance(wanted, IntelCollateral)
    assert wanted.authority is PCKAuthority.PROCESSOR


def test_statements_are_asked_for_though_some_came_along() -> None:
    """A worker's TCB info may be older than the newest: it does not spare the question."""
    world = fake_intel.mint(TEEKind.TDX)
    assert len(needs([world.evidence], [world.collateral])) == 1


@pytest.mark.parametrize("product", list(Product))
def test_a_report_without_endorsement_needs_all(product: Product) -> None:
    """The chip's own certificate at the reported levels, its chain and the root's list."""
    world = fake_amd.good(product)
    chip = fake_amd.chip_id(product)[: CHIP_ID_BYTES[product]]
    assert needs([world.evidence], []) == (
        VCEK(product=product, chip=chip, tcb=fake_amd.tcb(product)),
        AMDChain(product=product, signer=AMDSigner.VCEK),
        AMDRevocations(product=product, signer=AMDSigner.VCEK),
    )


def test_a_report_with_its_endorsement_needs_only_the_list() -> None:
    """What never changes is not asked for when it came along."""
    world = fake_amd.good()
    assert needs([world.evidence], world.collateral) == (revocations(),)
    assert AMDChain(product=Product.GENOA, signer=AMDSigner.VCEK) in needs(
        [world.evidence], world.without("SEV-Genoa").collateral
    )


def test_another_chips_endorsement_does_not_count() -> None:
    """A certificate of another firmware level leaves the right one to be asked for."""
    world = fake_amd.wrong_tcb()
    asked = needs([world.evidence], world.collateral)
    assert [type(request) for request in asked] == [VCEK, AMDRevocations]


def test_a_providers_key_cannot_be_asked_for() -> None:
    """A VLEK is the provider's to send; its chain and list are AMD's."""
    world = fake_amd.of_a_provider()
    chain = AMDChain(product=Product.GENOA, signer=AMDSigner.VLEK)
    assert needs([world.evidence], []) == (chain, revocations(AMDSigner.VLEK))


def test_a_masked_chip_cannot_be_asked_for() -> None:
    """Without a chip id there is no certificate to ask for."""
    world = fake_amd.masked_chip()
    assert not any(isinstance(request, VCEK) for request in needs([world.evidence], []))


def test_an_old_report_needs_its_chain_to_name_its_product() -> None:
    """Version 2 does not say which processor it is from: without a chain nothing can be asked for, with one all can."""
    world = fake_amd.good(version=2)
    assert needs([world.evidence], []) == ()
    ark = [item for item in world.collateral if item.data == fake_amd.ark(Product.GENOA)]
    assert [type(request) for request in needs([world.evidence], ark)] == [VCEK, AMDChain, AMDRevocations]


def test_an_azure_machine_needs_what_its_hardware_does() -> None:
    """The report inside the wrapper is planned for as one that stands alone."""
    world = fake_azure.good(bytes(32))
    asked = [type(request) for request in needs([world.evidence], [])]
    assert asked == [VCEK, AMDChain, AMDRevocations]
    assert needs([replace(world.evidence, data=world.evidence.data[:-1])], []) == ()


def test_a_recorded_gpu_needs_the_manifests_of_its_names() -> None:
    """The ids are those under which NVIDIA keeps the manifests of this very driver and VBIOS."""
    parts = ("nvidia-gpu", "550.90.07_96009F0001_c438e7e714")
    asked = Planner().needs([recorded(TEEKind.NVIDIA_GPU, *parts, "report.bin")], [recorded_chain(*parts)])
    assert asked[3:] == (
        ReferenceManifest(id="NV_GPU_DRIVER_GH100_550.90.07"),
        ReferenceManifest(id="NV_GPU_VBIOS_1010_0200_882_96009F0001"),
    )


def test_a_recorded_switch_needs_its_firmwares_manifest() -> None:
    """An LS10's id has the board NVIDIA names in its manifests."""
    parts = ("nvidia-switch", "LS10_9610550001_352fc991e8")
    asked = Planner().needs([recorded(TEEKind.NVIDIA_SWITCH, *parts, "report.bin")], [recorded_chain(*parts)])
    assert asked[3:] == (ReferenceManifest(id="NV_SWITCH_BIOS_5612_0002_890_9610550001"),)


def statuses(requests: tuple[Request, ...]) -> list[CertificateStatus]:
    return [request for request in requests if isinstance(request, CertificateStatus)]


def test_a_device_chain_needs_the_status_of_all_but_its_leaf() -> None:
    """BROM, ICA and Identity; NVIDIA does not answer for the leaf, and nobody for the root."""
    gpu = NVIDIA.gpu()
    ders = [der_of(level.certificate) for level in gpu.levels]
    assert statuses(needs([gpu.evidence()], [gpu.chain])) == [
        CertificateStatus(certificate=ders[place], issuer=ders[place + 1]) for place in (1, 2, 3)
    ]


def test_what_devices_share_is_asked_for_once() -> None:
    """Eight equal GPUs have one driver, one VBIOS, one ICA and one Identity, and a BROM certificate each."""
    gpus = [NVIDIA.gpu() for _ in range(8)]
    asked = needs([gpu.evidence() for gpu in gpus], [gpu.chain for gpu in gpus])
    assert len(asked) == 2 + 8 + 2
    assert len({request.key for request in asked}) == len(asked)


def test_a_manifest_needs_the_status_of_its_signers() -> None:
    """The three below the root, in order."""
    gpu, manifest = NVIDIA.gpu(), NVIDIA.rims()[0]
    ders = [der_of(level.certificate) for level in NVIDIA.rim_maker.chain]
    assert statuses(needs([gpu.evidence()], [gpu.chain, manifest]))[3:] == [
        CertificateStatus(certificate=ders[place], issuer=ders[place + 1]) for place in range(3)
    ]


def test_what_does_not_read_needs_nothing() -> None:
    """Truncated, flipped or foreign bytes of any kind plan nothing and raise nothing."""
    good = fake_amd.good().evidence
    for kind in TEEKind:
        for data in (b"", b"\0", good.data[:-1], good.data, b"\xff" * 5000):
            if kind is not TEEKind.SNP or data != good.data:
                assert needs([replace(good, kind=kind, data=data)], []) == ()
    for item_kind in ("nvidia-chain", "nvidia-rim", "amd-certificate", "intel-dcap-json", "unheard-of"):
        for data in (b"x", b"-----BEGIN CERTIFICATE-----", b"<X509Certificate>%%%</X509Certificate>" * 2):
            assert needs([], [Collateral(kind=item_kind, data=data)]) == ()


def test_what_no_report_is_signed_by_plans_nothing() -> None:
    """Chains beside a machine's own, forged or genuine, and manifests it does not run, have nobody asked."""
    gpu, elsewhere = NVIDIA.gpu(), fake_nvidia.FakeNVIDIA()
    beside = [*(elsewhere.gpu().chain for _ in range(11)), *(NVIDIA.gpu().chain for _ in range(11))]
    foreign = elsewhere.rim(kind="driver", product="GH100", version="999.99.99", golden=fake_nvidia.DRIVER_GOLDEN)
    assert needs([gpu.evidence()], [*beside, foreign, gpu.chain]) == needs([gpu.evidence()], [gpu.chain])
    assert needs([], [*beside, foreign]) == ()


def test_a_device_of_a_forged_nvidia_plans_nothing() -> None:
    """A report signed under a root that is not pinned, or changed after it was signed, is asked for nowhere."""
    forged, gpu = fake_nvidia.FakeNVIDIA().gpu(), NVIDIA.gpu()
    assert needs([forged.evidence()], [forged.chain]) == ()
    report = bytearray(gpu.report())
    report[10] ^= 1
    assert needs([gpu.evidence(bytes(report))], [gpu.chain]) == ()


def test_forged_manifests_plan_no_status() -> None:
    """Of a manifest under another root nobody is asked who signed it."""
    gpu, elsewhere = NVIDIA.gpu(), fake_nvidia.FakeNVIDIA()
    assert len(statuses(needs([gpu.evidence()], [gpu.chain, elsewhere.rims()[0]]))) == 3


def test_an_azure_machine_without_a_quote_plans_nothing() -> None:
    """Evidence that lacks what its verifier will ask for raises nothing here."""
    world = fake_azure.on_tdx(td_quote=b"")
    assert needs([world.evidence], []) == ()


def bundled(*evidence: Evidence, named: tuple[Evidence, ...]) -> EvidenceBundle:
    devices = tuple(("gpu", digest) for digest in sorted(device_digest(part.data) for part in named))
    binding = fake_tsm.binding(devices=devices).encode()
    return EvidenceBundle(challenge=b"c", keyset=b"k", binding=binding, evidence=evidence, collateral=())


def test_a_bundle_counts_by_what_its_binding_names() -> None:
    """One CPU and just the devices bound; more, fewer, or a binding that does not read, and none counts."""
    cpu, other = fake_amd.good().evidence, fake_intel.mint(TEEKind.TDX).evidence
    gpus = tuple(NVIDIA.gpu().evidence() for _ in range(2))
    assert evidence_in_question(bundled(cpu, *gpus, named=gpus)) == (cpu, *gpus)
    for evidence, named in (
        ((cpu, other), ()),
        (gpus, gpus),
        ((cpu, *gpus), gpus[:1]),
        ((cpu, *gpus[:1]), gpus),
        ((cpu, gpus[0], gpus[0]), gpus[:1]),
    ):
        assert evidence_in_question(bundled(*evidence, named=named)) == ()
    assert evidence_in_question(replace(bundled(cpu, named=()), binding=b"b")) == ()
