# SPDX-License-Identifier: Apache-2.0
"""What is measured: evidence of each kind, recorded where `SEALBID_VECTORS` is found and minted where it is not.

TPM and Azure are always minted: no recording has a whole chain. Minted certificates of AMD have RSA keys of 2048 bits
where AMD's have 4096, so a recorded case stands beside a recorded one only.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.dcap.verifier import SGX_FORMAT, TDX_FORMAT, SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifier
from attestation.tee.nvidia.endorsements import Endorsements
from attestation.tee.nvidia.rim import RIMKind
from attestation.tee.nvidia.verifier import GPU_FORMAT, NVIDIAVerifier
from attestation.tee.snp.verifier import EVIDENCE_FORMAT, SNPVerifier
from benchmarks.attestation import bare
from tests.support import fake_amd, fake_azure, fake_intel, fake_nvidia, fake_tpm
from tests.support.fake_nvidia import FakeNVIDIA
from tests.support.fake_nvidia_rim import DRIVER_VERSION

Act = Callable[[], object]
REFERENCE = {
    "TDX quote": 0.8,
    "SGX quote": 0.8,
    "SEV-SNP report": 1.0,
    "GPU report": 8.3,
    "RIM": 8.6,
    "OCSP answer": 1.5,
    "8 GPUs and TDX": 70.0,
}
"""Milliseconds that plain verifiers of each kind took, cold, measured by others before this one was written."""

GPU_AT = datetime(2025, 8, 21, 12, tzinfo=UTC)
SNP_AT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: `fresh` makes a verifier with nothing remembered and returns the act of verifying with it."""

    name: str
    source: str
    fresh: Callable[[], Act]
    bare: Act
    bare_name: str


def cases() -> list[Case]:
    """Every row, in the order of the table."""
    base = vectors()
    made = recorded(base) if base else minted()
    return [*made, tpm(), azure()]


def vectors() -> Path | None:
    """The folder of recorded evidence, if there is one."""
    root = Path(__file__).resolve().parents[2]
    base = Path(os.environ.get("SEALBID_VECTORS") or root / ".." / "shared" / "vectors").resolve()
    return base if (base / "INDEX.json").exists() else None


# ---- recorded --------------------------------------------------------------------------------------------------------


def recorded(base: Path) -> Iterator[Case]:
    """Evidence of real machines, at the time of its collateral."""
    yield _quote(base / "tdx" / "v4_0c699dd453", "collateral_20260424.json", TEEKind.TDX)
    yield _quote(base / "sgx" / "v3_268c068133", "collateral_20250815.json", TEEKind.SGX)
    yield _report(base)
    one = base / "nvidia-gpu" / "550.90.07_96009F0001_c438e7e714"
    report, pem = (one / "report.bin").read_bytes(), (one / "chain.pem").read_bytes()
    yield _gpus("GPU report", "recorded", [(report, pem)], NVIDIAVerifier, GPU_AT)
    xml = (base / "nvidia-rim" / "go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml").read_bytes()
    yield _rim("recorded", xml, Endorsements, "550.90.07")
    answer = base / "nvidia-ocsp" / "go-nvattest--test_gpu_certificate_l2_base64encoded_ocsp_response.dat"
    certificates = x509.load_pem_x509_certificates(pem)
    yield _ocsp("recorded", base64.b64decode(answer.read_bytes()), certificates, Endorsements, GPU_AT)
    yield _machine(base / "composite" / "chutes_zai-org_glm-5-tee_20260520_021819__9034c7a4")


def _quote(folder: Path, collateral: str, kind: TEEKind) -> Case:
    meta = json.loads((folder / "meta.json").read_bytes())
    at = next(one["verify_at_unix"] for one in meta["verdicts"] if one["collateral"] == collateral)
    quote, statements = (folder / "quote.bin").read_bytes(), (folder / collateral).read_bytes()
    return _intel("recorded", quote, statements, kind, datetime.fromtimestamp(at, UTC))


def _report(base: Path) -> Case:
    folder = base / "snp" / "v3_4ae0e73ab3"
    names = ("SEV-Genoa_5464738c", "ARK-Genoa_4c6598d1")
    ders = [(folder / "leaf.der").read_bytes(), *((base / "amd-ca" / f"{name}.der").read_bytes() for name in names)]
    return _snp("recorded", (folder / "report.bin").read_bytes(), ders, SNPVerifier, SNP_AT)


def _machine(folder: Path) -> Case:
    meta = json.loads((folder / "meta.json").read_bytes())
    quote, statements = (folder / "tdx_quote.bin").read_bytes(), (folder / "collateral.json").read_bytes()
    devices = [
        ((folder / f"gpu{n}.report.bin").read_bytes(), (folder / f"gpu{n}.chain.pem").read_bytes()) for n in range(8)
    ]
    at = datetime.fromtimestamp(meta["verify_at_unix"], UTC)
    cpu = _intel("recorded", quote, statements, TEEKind.TDX, at)
    return _both(cpu, _gpus("", "recorded", devices, NVIDIAVerifier, at))


# ---- minted ----------------------------------------------------------------------------------------------------------


def minted() -> Iterator[Case]:
    """The same of fake vendors."""
    for kind in (TEEKind.TDX, TEEKind.SGX):
        yield _minted_quote(kind)
    world = fake_amd.good()
    ders = _leaf_first(world.collateral)
    yield _snp("minted", world.evidence.data, ders, lambda: world.verifier, fake_amd.NOW)
    nvidia, now = FakeNVIDIA(), fake_nvidia.NOW
    devices = [(gpu.report(), gpu.chain.data) for gpu in (nvidia.gpu() for _ in range(8))]
    yield _gpus("GPU report", "minted", devices[:1], nvidia.verifier, now)
    fresh = partial(Endorsements, roots=nvidia.roots, rim_roots=nvidia.rim_maker.roots)
    yield _rim("minted", nvidia.rims()[0].data, fresh, DRIVER_VERSION)
    gpu = nvidia.gpu()
    levels = [level.certificate for level in gpu.levels]
    yield _ocsp("minted", nvidia.statements(gpu)[0].data, levels, fresh, now)
    yield _both(_minted_quote(TEEKind.TDX), _gpus("", "minted", devices, nvidia.verifier, now))


def _minted_quote(kind: TEEKind) -> Case:
    world = fake_intel.mint(kind)
    pem = world.statements["tcb_info_issuer_chain"].encode()
    root = x509.load_pem_x509_certificates(pem)[-1].public_bytes(Encoding.DER)
    return _intel("minted", world.evidence.data, world.collateral.data, kind, world.now, world.roots, root)


def tpm() -> Case:
    """A quote by a P-256 key, an RSA endorsement key, and an issuer of that."""
    world = fake_tpm.good()
    key, parts = fake_tpm.private("p256-ak").public_key(), world.parts
    sizes = int.from_bytes(parts.signature[4:6], "big")
    r, s = parts.signature[6 : 6 + sizes], parts.signature[8 + sizes :]
    ders = (parts.ek_certificate, *(item.data for item in world.collateral))
    numbers = int.from_bytes(r, "big"), int.from_bytes(s, "big")
    act = partial(bare.tpm, parts.attest, key, *numbers, ders)
    fresh = partial(_verifying, lambda: world.verifier, [world.evidence], world.collateral, fake_tpm.NOW)
    return Case(name="TPM quote", source="minted", fresh=fresh, bare=act, bare_name="cryptography")


def azure() -> Case:
    """A vTPM's quote, and the SEV-SNP report that vouches for its key."""
    world = fake_azure.good()
    report = world.parts.hcl_report[32 : 32 + 1184]
    ders = _leaf_first(world.collateral)
    quoted = partial(bare.rsa_quote, world.parts.attest, fake_azure.ak().public_key(), world.parts.signature[6:])
    fresh = partial(_verifying, lambda: world.verifier, [world.evidence], world.collateral, fake_azure.NOW)
    act = partial(_all, [partial(bare.snp, report, ders), quoted])
    return Case(name="Azure vTPM quote", source="minted", fresh=fresh, bare=act, bare_name="cryptography")


# ---- one kind each ---------------------------------------------------------------------------------------------------


def _intel(
    source: str,
    quote: bytes,
    statements: bytes,
    kind: TEEKind,
    now: datetime,
    roots: frozenset[bytes] | None = None,
    root_der: bytes | None = None,
) -> Case:
    tdx = kind is TEEKind.TDX
    pinned = {"roots": roots} if roots else {}
    make = partial(TDXVerifier if tdx else SGXVerifier, **pinned)
    evidence = Evidence(kind=kind, format=TDX_FORMAT if tdx else SGX_FORMAT, data=quote)
    collateral = [Collateral(kind="intel-dcap-json", data=statements)]
    return Case(
        name="TDX quote" if tdx else "SGX quote",
        source=source,
        fresh=partial(_verifying, make, [evidence], collateral, now),
        bare=partial(bare.dcap, quote, statements, now, root_der),
        bare_name="dcap_qvl",
    )


def _snp(source: str, report: bytes, ders: Sequence[bytes], make: Callable[[], Verifier], now: datetime) -> Case:
    evidence = Evidence(kind=TEEKind.SNP, format=EVIDENCE_FORMAT, data=report)
    collateral = [Collateral(kind="amd-certificate", data=der) for der in ders]
    return Case(
        name="SEV-SNP report",
        source=source,
        fresh=partial(_verifying, make, [evidence], collateral, now),
        bare=partial(bare.snp, report, ders),
        bare_name="cryptography",
    )


def _gpus(
    name: str, source: str, devices: Sequence[tuple[bytes, bytes]], make: Callable[[], Verifier], now: datetime
) -> Case:
    reports = [Evidence(kind=TEEKind.NVIDIA_GPU, format=GPU_FORMAT, data=report) for report, _ in devices]
    chains = [Collateral(kind="nvidia-chain", data=pem) for _, pem in devices]
    return Case(
        name=name,
        source=source,
        fresh=partial(_verifying, make, reports, chains, now),
        bare=partial(_all, [partial(bare.gpu, report, pem) for report, pem in devices]),
        bare_name="cryptography",
    )


def _rim(source: str, xml: bytes, make: Callable[[], Endorsements], version: str) -> Case:
    collateral = [Collateral(kind="nvidia-rim", data=xml)]

    def fresh() -> Act:
        endorsements = make()
        return lambda: endorsements.rims("GH100", {RIMKind.DRIVER: version}, collateral)

    return Case(name="RIM", source=source, fresh=fresh, bare=partial(bare.rim, xml), bare_name="lxml + cryptography")


def _ocsp(
    source: str, der: bytes, chain: Sequence[x509.Certificate], make: Callable[[], Endorsements], now: datetime
) -> Case:
    collateral = [Collateral(kind="nvidia-ocsp", data=der)]
    statements = make().statements(collateral)
    pairs = [chain[place : place + 2] for place in range(1, 4)]
    about = next(pair for pair in pairs if statements.stand(pair, now).until)

    def fresh() -> Act:
        endorsements = make()
        return lambda: endorsements.statements(collateral).stand(about, now)

    act = partial(bare.ocsp_answer, der, about[1])
    return Case(name="OCSP answer", source=source, fresh=fresh, bare=act, bare_name="cryptography")


def _both(cpu: Case, gpus: Case) -> Case:
    def fresh() -> Act:
        return partial(_all, [cpu.fresh(), gpus.fresh()])

    act = partial(_all, [cpu.bare, gpus.bare])
    return Case(name="8 GPUs and TDX", source=cpu.source, fresh=fresh, bare=act, bare_name="dcap_qvl + cryptography")


def _verifying(
    make: Callable[[], Verifier], evidence: Sequence[Evidence], collateral: Sequence[Collateral], now: datetime
) -> Act:
    verifier = make()
    return partial(_all, [partial(verifier.verify, part, collateral, now=now) for part in evidence])


def _all(acts: Sequence[Act]) -> None:
    for act in acts:
        act()


def _leaf_first(collateral: Sequence[Collateral]) -> list[bytes]:
    """The certificates of a minted SEV-SNP machine in the order of their chain."""
    found = [x509.load_der_x509_certificate(item.data) for item in collateral]
    issuers = {certificate.issuer for certificate in found}
    chain = [next(certificate for certificate in found if certificate.subject not in issuers)]
    while len(chain) < len(found):
        chain.append(next(certificate for certificate in found if certificate.subject == chain[-1].issuer))
    return [certificate.public_bytes(Encoding.DER) for certificate in chain]
