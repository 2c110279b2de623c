# SPDX-License-Identifier: Apache-2.0
"""Whatever a vendor's service answers, it is collateral that verifies, or one named error."""

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.collateral.needs import Planner
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
from attestation.collateral.signed_text import member_text
from attestation.collateral.transport import Response, TransportError
from attestation.errors import AttestationError, MalformedEvidence
from attestation.tee.certificates import der_of
from attestation.tee.snp.product import Product
from tests.support import fake_amd, fake_intel, fake_nvidia
from tests.support.vendor_services import Vendors, replace_body

INTEL = fake_intel.mint(TEEKind.TDX)
NVIDIA = fake_nvidia.FakeNVIDIA()
GPU = NVIDIA.gpu()
REQUESTS: tuple[Request, ...] = (
    IntelCollateral(tee=TEEKind.TDX, fmspc=INTEL.wish.fmspc, authority=PCKAuthority.PLATFORM),
    VCEK(product=Product.GENOA, chip=fake_amd.chip_id(Product.GENOA), tcb=fake_amd.tcb(Product.GENOA)),
    AMDChain(product=Product.GENOA, signer=AMDSigner.VCEK),
    AMDRevocations(product=Product.GENOA, signer=AMDSigner.VCEK),
    ReferenceManifest(id="NV_GPU_DRIVER_GH100_550.90.07"),
    CertificateStatus(certificate=der_of(GPU.levels[1].certificate), issuer=der_of(GPU.levels[2].certificate)),
)
TYPES = st.sampled_from(["application/json", "application/octet-stream", "text/html", ""])
HEADERS = st.sampled_from(["tcb-info-issuer-chain", "sgx-pck-crl-issuer-chain", "retry-after", "x"])


LEAF, CRL, MANIFEST = fake_amd.leaf(Product.GENOA), fake_amd.crl(Product.GENOA).data, NVIDIA.rims()[0].data
CHAIN = (fake_amd.intermediate(Product.GENOA), fake_amd.ark(Product.GENOA))
STATUSES = NVIDIA.statements(GPU)


def vendors() -> Vendors:
    """Every vendor with a good answer; the same bytes each time."""
    return Vendors(
        intel=dict(INTEL.statements),
        vcek=LEAF,
        amd_chain=CHAIN,
        amd_crl=CRL,
        manifests={"NV_GPU_DRIVER_GH100_550.90.07": MANIFEST},
        statuses=STATUSES,
    )


def fetched(made: Vendors, request: Request) -> bool:
    """Whether the answer was taken; any error but the named ones fails the test."""
    services = made.services(
        intel_roots=INTEL.roots, amd_roots=list(fake_amd.roots()), rim_roots=NVIDIA.rim_maker.roots
    )
    try:
        services.fetch(request, fake_nvidia.NOW)
    except (TransportError, AttestationError):
        return False
    return True


@settings(deadline=None)
@given(st.sampled_from(REQUESTS), st.binary(max_size=300), TYPES, st.integers(100, 599), HEADERS, st.text(max_size=50))
def test_any_answer_is_refused(
    request: Request, body: bytes, media_type: str, status: int, header: str, value: str
) -> None:
    """Random bodies, statuses, types and headers never become collateral."""
    made = vendors()
    answer = Response(status=status, headers={"content-type": media_type, header: value}, body=body)
    made.change["https://"] = lambda _: answer
    assert not fetched(made, request)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(REQUESTS), st.data())
def test_damaged_answers_are_refused_or_mean_the_same(request: Request, data: st.DataObject) -> None:
    """A cut, doubled or flipped answer raises nothing but the named errors."""
    made = vendors()

    def damage(answer: Response) -> Response:
        place = data.draw(st.integers(0, len(answer.body) - 1))
        flip = bytes((answer.body[place] ^ data.draw(st.integers(1, 255)),))
        changed = (answer.body[:place], answer.body * 2, answer.body[:place] + flip + answer.body[place + 1 :])
        return replace_body(answer, data.draw(st.sampled_from(changed)))

    made.change["https://"] = damage
    fetched(made, request)


def test_good_answers_are_taken() -> None:
    """The worlds of these tests are answered when nothing is damaged."""
    assert all(fetched(vendors(), request) for request in REQUESTS)


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4),
    st.sampled_from(["", " ", "\n\t"]),
)
def test_a_members_text_is_what_stands_there(members: dict[str, int | str], space: str) -> None:
    """Whatever the spacing and the other members, the text of a member is its own, byte for byte."""
    texts = {key: json.dumps(value) for key, value in members.items()}
    inside = f"{space},{space}".join(f"{json.dumps(key)}{space}:{space}{text}" for key, text in texts.items())
    whole = f"{space}{{{space}{inside}{space}}}{space}".encode()
    for key, text in texts.items():
        with suppress(MalformedEvidence):  # integers of more than 19 digits are refused
            assert member_text(whole, key, "object", 10_000) == text


@given(st.sampled_from(list(TEEKind)), st.binary(min_size=1, max_size=2000))
def test_planning_is_total(kind: TEEKind, data: bytes) -> None:
    """No bytes of evidence or collateral make planning raise, nor ask without end."""
    kinds = ("nvidia-chain", "nvidia-rim", "amd-certificate", "nvidia-ocsp")
    collateral = [Collateral(kind=name, data=data) for name in kinds]
    assert len(Planner().needs([Evidence(kind=kind, format="x", data=data)], collateral)) <= 64
