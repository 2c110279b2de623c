# SPDX-License-Identifier: Apache-2.0
"""What vendors' services answer becomes collateral only if it parses, verifies and is what was asked for."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from urllib.parse import quote

import pytest

from attestation.claims import TEEKind
from attestation.collateral.requests import (
    VCEK,
    AMDChain,
    AMDRevocations,
    AMDSigner,
    CertificateStatus,
    IntelCollateral,
    PCKAuthority,
    ReferenceManifest,
)
from attestation.collateral.transport import Response, TransportError
from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import der_of
from attestation.tee.dcap.endorsements import INTEL_SGX_ROOT_CA
from attestation.tee.snp.product import CHIP_ID_BYTES, Product
from tests.support import fake_amd, fake_intel, fake_nvidia
from tests.support.fake_nvidia_rim import RIMMaker
from tests.support.vectors import vectors
from tests.support.vendor_server import response
from tests.support.vendor_services import Vendors, manifest_answer, replace_body, replace_header

WORLD = fake_intel.mint(TEEKind.TDX)
FMSPC = WORLD.wish.fmspc
TDX = IntelCollateral(tee=TEEKind.TDX, fmspc=FMSPC, authority=PCKAuthority.PLATFORM)
MANIFEST = "NV_GPU_DRIVER_GH100_550.90.07"


def intel() -> Vendors:
    """The fake Intel's service."""
    return Vendors(intel=dict(WORLD.statements))


def fetch_intel(vendors: Vendors, request: IntelCollateral = TDX) -> dict[str, str]:
    answer = vendors.services(intel_roots=WORLD.roots).intel.fetch(request)
    assert [item.kind for item in answer.items] == ["intel-dcap-json"]
    fields: dict[str, str] = json.loads(answer.items[0].data)
    return fields


@pytest.mark.parametrize("in_hex", [False, True], ids=["pcs", "pccs"])
def test_intels_answers_become_the_recorded_collateral(in_hex: bool) -> None:
    """From the paths Intel documents, the parts of a real collateral come back byte for byte, so signatures hold.

    It ends with its first part: the TCB info of that day, a month later. A caching service gives the same.
    """
    recorded = json.loads(vectors("tdx", "v4_00b2526ab1", "collateral_20260127.json").read_text())
    vendors = Vendors(intel=recorded, in_hex=in_hex)
    wanted = replace(TDX, fmspc=bytes.fromhex("00806f050000"))
    answer = vendors.services(intel_roots=INTEL_SGX_ROOT_CA).intel.fetch(wanted)
    assert json.loads(answer.items[0].data) == recorded
    assert answer.valid_until.isoformat() == "2026-02-26T09:01:45+00:00"
    assert vendors.asked == [
        "https://pcs.example/tdx/certification/v4/tcb?fmspc=00806F050000&update=standard",
        "https://pcs.example/tdx/certification/v4/qe/identity?update=standard",
        "https://pcs.example/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "https://rootcrl.example",
    ]


@pytest.mark.parametrize("kind", [TEEKind.TDX, TEEKind.SGX])
def test_each_tee_has_its_own_statements(kind: TEEKind) -> None:
    """TDX and SGX are asked for under their own paths."""
    world = fake_intel.mint(kind)
    vendors = Vendors(intel=dict(world.statements))
    answer = vendors.services(intel_roots=world.roots).intel.fetch(replace(TDX, tee=kind))
    assert json.loads(answer.items[0].data) == world.statements
    assert vendors.asked[0].startswith(f"https://pcs.example/{kind}/certification/v4/tcb?")


def test_white_space_around_signed_texts_does_not_matter() -> None:
    """What is signed is the member's own text, wherever it stands in the answer."""
    vendors = intel()
    text, signature = vendors.intel["tcb_info"], vendors.intel["tcb_info_signature"]
    spaced = f'\n{{ "signature" : "{signature}",\r\n\t"tcbInfo" :  {text}  }} \n'.encode()
    vendors.change["/tcb?"] = lambda answer: replace_body(answer, spaced)
    assert fetch_intel(vendors)["tcb_info"] == text


def broken_tcb(make: Callable[[dict[str, str]], str]) -> Vendors:
    vendors = intel()
    body = make(dict(vendors.intel)).encode()
    vendors.change["/tcb?"] = lambda answer: replace_body(answer, body)
    return vendors


@pytest.mark.parametrize(
    "make",
    [
        lambda it: "",
        lambda it: "[]",
        lambda it: '{"tcbInfo":{}}',
        lambda it: f'{{"signature":"{it["tcb_info_signature"]}"}}',
        lambda it: f'{{"tcbInfo":{it["tcb_info"]},"signature":"{it["tcb_info_signature"]}"}}x',
        lambda it: f'{{"tcbInfo":{it["tcb_info"]},"signature":"00"}}',
        lambda it: f'{{"tcbInfo":{{}},"tcbInfo":{it["tcb_info"]},"signature":"{it["tcb_info_signature"]}"}}',
        lambda it: (
            f'{{"tcbInfo":{it["tcb_info"][:-1]},"fmspc":"000000000000"}},"signature":"{it["tcb_info_signature"]}"}}'
        ),
        lambda it: '{"tcbInfo":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + ',"signature":"00"}',
        lambda it: '{"tcbInfo":' + "[" * 900_000 + ',"signature":"00"}',
        lambda it: '{"tcbInfo":{"a":' + "9" * 900_000 + '},"signature":"00"}',
        lambda it: '{"tcbInfo":{"a":NaN},"signature":"00"}',
    ],
    ids=[
        "empty",
        "array",
        "no signature",
        "no tcb info",
        "trailing",
        "short signature",
        "member twice",
        "inner key twice",
        "nested bomb",
        "array bomb",
        "number bomb",
        "nan",
    ],
)
def test_json_that_is_not_strict_is_malformed(make: Callable[[dict[str, str]], str]) -> None:
    """Duplicate keys, trailing text, bombs and missing members are one named error in bounded time."""
    with pytest.raises(MalformedEvidence):
        fetch_intel(broken_tcb(make))


@pytest.mark.parametrize(
    ("under", "header", "reason"),
    [
        ("/tcb?", "tcb-info-issuer-chain", Reason.CHAIN_INVALID),
        ("/identity?", "sgx-enclave-identity-issuer-chain", Reason.CHAIN_INVALID),
        ("/pckcrl?", "sgx-pck-crl-issuer-chain", Reason.CHAIN_INVALID),
    ],
)
def test_a_chain_of_another_signer_is_refused(under: str, header: str, reason: Reason) -> None:
    """The chain of the revocation list where that of the TCB signer belongs, and the other way, verifies nothing."""
    vendors = intel()
    other = vendors.intel["tcb_info_issuer_chain" if "crl" in header else "pck_crl_issuer_chain"]
    vendors.change[under] = lambda answer: replace_header(answer, header, quote(other))
    with pytest.raises(NotGenuine) as refused:
        fetch_intel(vendors)
    assert refused.value.reason is reason


@pytest.mark.parametrize("value", ["", "no pem", "%ff%fe", "A" * 1_000_000])
def test_a_header_without_chain_is_malformed(value: str) -> None:
    """A missing, foreign or endless header is refused before anything is parsed."""
    vendors = intel()
    vendors.change["/tcb?"] = lambda answer: replace_header(answer, "tcb-info-issuer-chain", value)
    with pytest.raises(MalformedEvidence):
        fetch_intel(vendors)


def test_an_altered_signed_text_is_not_genuine() -> None:
    """A mirror that changes a status in the TCB info is found out by the signature, and nothing of it is kept."""
    vendors = intel()
    vendors.change["/tcb?"] = lambda answer: replace_body(answer, answer.body.replace(b"UpToDate", b"OutOfDate"))
    with pytest.raises(NotGenuine) as refused:
        fetch_intel(vendors)
    assert refused.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "request_",
    [
        IntelCollateral(tee=TEEKind.TDX, fmspc=bytes(6), authority=PCKAuthority.PLATFORM),
        IntelCollateral(tee=TEEKind.SGX, fmspc=FMSPC, authority=PCKAuthority.PLATFORM),
        IntelCollateral(tee=TEEKind.TDX, fmspc=FMSPC, authority=PCKAuthority.PROCESSOR),
    ],
    ids=["platform", "tee", "authority"],
)
def test_genuine_collateral_of_something_else_is_refused(request_: IntelCollateral) -> None:
    """Another platform model's, the other TEE's or the other authority's collateral answers nothing."""
    with pytest.raises(MalformedEvidence):
        fetch_intel(intel(), request_)


def test_another_root_is_refused() -> None:
    """Collateral that is consistent in itself but not under a pinned root never reaches the cache."""
    with pytest.raises(NotGenuine) as refused:
        intel().services(intel_roots=frozenset({bytes(32)})).intel.fetch(TDX)
    assert refused.value.reason is Reason.ROOT_REFUSED


# ---- AMD -------------------------------------------------------------------------------------------------------------


def vcek_request(product: Product = Product.GENOA, **levels: int) -> VCEK:
    chip = fake_amd.chip_id(product)[: CHIP_ID_BYTES[product]]
    return VCEK(product=product, chip=chip, tcb=fake_amd.tcb(product, **levels))


@pytest.mark.parametrize("product", list(Product))
def test_a_chips_certificate_is_asked_for_by_its_levels(product: Product) -> None:
    """The address has the hardware id in the product's length and the levels in its spelling."""
    der = fake_amd.leaf(product)
    vendors = Vendors(vcek=der)
    wanted = vcek_request(product)
    answer = vendors.services().amd.vcek(wanted)
    assert [(item.kind, item.data) for item in answer.items] == [("amd-certificate", der)]
    start = f"https://kds.example/vcek/v1/{product}/{wanted.chip.hex()}?"
    assert vendors.asked[0].startswith(start)
    assert len(wanted.chip) == (8 if product is Product.TURIN else 64)
    names = [pair.partition("=")[0] for pair in vendors.asked[0].removeprefix(start).split("&")]
    assert names == [*(["fmcSPL"] if product is Product.TURIN else []), "blSPL", "teeSPL", "snpSPL", "ucodeSPL"]


def test_a_certificate_of_another_chip_or_level_is_refused() -> None:
    """A mirror that answers the wrong certificate must not make a good report look forged."""
    others = [
        fake_amd.leaf(Product.GENOA, options=fake_amd.LeafOptions(levels={"snp": 1})),
        fake_amd.leaf(Product.MILAN),
        fake_amd.ark(Product.GENOA),
        b"<html>",
    ]
    for der in others:
        with pytest.raises(MalformedEvidence):
            Vendors(vcek=der).services().amd.vcek(vcek_request())


def amd_chain(signer: AMDSigner = AMDSigner.VCEK) -> AMDChain:
    return AMDChain(product=Product.GENOA, signer=signer)


def test_amds_chain_arrives_intermediate_first() -> None:
    """Two certificates, verified to a pinned root."""
    chain = [fake_amd.intermediate(Product.GENOA), fake_amd.ark(Product.GENOA)]
    answer = Vendors(amd_chain=chain).services(amd_roots=list(fake_amd.roots())).amd.chain(amd_chain())
    assert [item.data for item in answer.items] == chain


def test_a_chain_of_another_product_root_or_order_is_refused() -> None:
    """Names, order and root must be what was asked for."""
    good = [fake_amd.intermediate(Product.GENOA), fake_amd.ark(Product.GENOA)]
    milan = [fake_amd.intermediate(Product.MILAN), fake_amd.ark(Product.MILAN)]
    mixed = [fake_amd.intermediate(Product.GENOA, house="Another"), good[1]]
    roots = list(fake_amd.roots())
    for chain in (good[::-1], milan, good[:1], good + good, mixed):
        with pytest.raises(AttestationError):
            Vendors(amd_chain=chain).services(amd_roots=roots).amd.chain(amd_chain())
    with pytest.raises(MalformedEvidence):
        Vendors(amd_chain=good).services(amd_roots=roots).amd.chain(amd_chain(AMDSigner.VLEK))
    with pytest.raises(NotGenuine):
        Vendors(amd_chain=good).services(amd_roots=[bytes(32)]).amd.chain(amd_chain())


def test_amds_revocation_list_is_the_products() -> None:
    """A list ends when it says; another product's is refused."""
    genoa, milan = fake_amd.crl(Product.GENOA).data, fake_amd.crl(Product.MILAN).data
    wanted = AMDRevocations(product=Product.GENOA, signer=AMDSigner.VCEK)
    answer = Vendors(amd_crl=genoa).services().amd.revocations(wanted)
    assert [(item.kind, item.data) for item in answer.items] == [("amd-crl", genoa)]
    assert answer.valid_until > fake_amd.NOW
    for other in (milan, b"", b"\x30\x82"):
        with pytest.raises(MalformedEvidence):
            Vendors(amd_crl=other).services().amd.revocations(wanted)


# ---- NVIDIA ----------------------------------------------------------------------------------------------------------

MAKER = RIMMaker()
RIM = MAKER.rim()


def fetch_manifest(vendors: Vendors, name: str = MANIFEST) -> bytes:
    services = vendors.services(rim_roots=MAKER.roots)
    answer = services.nvidia.manifest(ReferenceManifest(id=name), fake_nvidia.NOW)
    assert [item.kind for item in answer.items] == ["nvidia-rim"]
    return answer.items[0].data


def test_a_manifest_arrives_decoded() -> None:
    """The XML is what the service's base64 spells."""
    vendors = Vendors(manifests={MANIFEST: RIM})
    assert fetch_manifest(vendors) == RIM
    assert vendors.asked == [f"https://rim.example/v1/rim/{MANIFEST}"]


def test_an_unknown_manifest_is_not_found() -> None:
    """404 is final and is not an answer."""
    with pytest.raises(TransportError):
        fetch_manifest(Vendors())


@pytest.mark.parametrize(
    "answer",
    [
        manifest_answer(MANIFEST, RIM, sha256="0" * 64),
        manifest_answer(MANIFEST, RIM, sha256="zz"),
        manifest_answer(MANIFEST, RIM, id="NV_GPU_DRIVER_GH100_999.1"),
        manifest_answer(MANIFEST, RIM, rim="%%%"),
        manifest_answer(MANIFEST, b""),
        manifest_answer(MANIFEST, b"<SoftwareIdentity/>"),
        manifest_answer(MANIFEST, RIMMaker().rim()),
        response(b'{"id":"x"}'),
        response(b'{"id":"a","id":"b"}'),
    ],
    ids=["digest", "digest text", "id", "base64", "empty", "unsigned", "other root", "fields", "key twice"],
)
def test_manifests_that_are_not_what_was_asked_are_refused(answer: Response) -> None:
    """Another digest, id or signer, or no manifest at all, never becomes collateral."""
    vendors = Vendors(manifests={MANIFEST: RIM})
    vendors.change["/v1/rim/"] = lambda _: answer
    with pytest.raises(AttestationError):
        fetch_manifest(vendors)


@pytest.mark.parametrize("name", ["../ids", "a/b", "a?b", "", "a b", "x" * 200, "é"])
def test_manifest_ids_are_plain_names(name: str) -> None:
    """An id comes from a device's report: nothing else than a name gets into an address."""
    vendors = Vendors()
    with pytest.raises(MalformedEvidence):
        fetch_manifest(vendors, name)
    assert vendors.asked == []


NVIDIA = fake_nvidia.FakeNVIDIA()
GPU = NVIDIA.gpu()
BROM = CertificateStatus(certificate=der_of(GPU.levels[1].certificate), issuer=der_of(GPU.levels[2].certificate))


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
def test_a_certificates_status_arrives_whatever_it_says(status: fake_nvidia.Status) -> None:
    """Also a revocation is an answer, and ends when it says."""
    stated = fake_nvidia.answer(GPU.levels[1], GPU.levels[2], status=status)
    answer = Vendors(statuses=[stated]).services().nvidia.status(BROM)
    assert answer.items == (stated,)
    assert answer.valid_until > fake_nvidia.NOW


def test_statuses_of_others_are_refused() -> None:
    """The answer about another certificate, by another signer, or none at all, is not kept."""
    other = NVIDIA.gpu()
    about_other = fake_nvidia.answer(other.levels[1], other.levels[2])
    by_other = fake_nvidia.answer(GPU.levels[1], GPU.levels[2], responder=fake_nvidia.delegate(GPU.levels[4]))
    for item in (about_other, by_other, fake_nvidia.unsuccessful()):
        vendors, wrong = Vendors(), response(item.data, "application/ocsp-response")
        vendors.change["ocsp"] = partial(_instead, wrong)
        with pytest.raises(AttestationError):
            vendors.services().nvidia.status(BROM)


def _instead(wrong: Response, _: Response) -> Response:
    return wrong
