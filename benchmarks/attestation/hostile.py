# SPDX-License-Identifier: Apache-2.0
"""The worst that an authenticated provider can make a registry do with one bundle, by the fake vendors' machines.

    python -m benchmarks.attestation.hostile [--rounds N]

Each bundle is admissible: within `attestation.bundle`'s limits, and from a provider that really owns one genuine
machine, whose evidence verifies, so that the verifiers go on to what lies behind it. Printed are the median of a
verifier with nothing remembered, and what it ends in. A registry judges `per_minute` bundles of an account at most.
"""

import argparse
import json
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.bundle import MAX_BUNDLE_BYTES, MAX_COLLATERAL, MAX_COLLATERAL_BYTES, Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import AttestationError
from attestation.tee.dcap.verifier import TDXVerifier
from attestation.tee.interface import Verifier
from attestation.tee.snp.product import Product
from benchmarks.attestation.table import milliseconds
from tests.support import fake_amd, fake_intel, fake_nvidia, fake_tpm
from tests.support.fake_amd import LeafOptions
from tests.support.fake_nvidia import FakeNVIDIA

REPORTS = 31
"""Beside one CPU's evidence."""

WORST_EXPONENT = (1 << 64) - 1
ENTRIES, EVENTS = 75_000, 11_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One bundle, what is bad about it, and who verifies it."""

    name: str
    make: Callable[[], Verifier]
    evidence: Sequence[Evidence]
    collateral: Sequence[Collateral]
    now: datetime

    def __post_init__(self) -> None:
        """It must be one that reaches a verifier."""
        assert len(self.collateral) <= MAX_COLLATERAL
        assert all(len(item.data) <= MAX_COLLATERAL_BYTES for item in self.collateral)
        sizes = [len(part.data) for part in self.evidence] + [len(item.data) for item in self.collateral]
        assert sum(sizes) <= MAX_BUNDLE_BYTES

    def run(self, verifier: Verifier) -> str:
        """Verifies as a bundle is verified, up to the first refusal."""
        try:
            for part in self.evidence:
                verifier.verify(part, self.collateral, now=self.now)
        except AttestationError as error:
            return error.reason.value
        return "genuine"


def bundles() -> Iterator[Hostile]:
    """All of them."""
    yield from nvidia()
    yield from intel()
    yield from amd()
    yield from tpm()


def nvidia() -> Iterator[Hostile]:
    """One GPU that answered 31 times, beside what makes each answer dear."""
    vendor = FakeNVIDIA()
    gpu = vendor.gpu()
    answers = [gpu.evidence(gpu.report(fields={22: secrets.token_bytes(8)})) for _ in range(REPORTS)]
    fake = FakeNVIDIA()
    forged = [fake.device("GH100").chain for _ in range(REPORTS)]
    good = [gpu.chain, *vendor.rims(), *vendor.statements(gpu)]

    def case(name: str, *collateral: Collateral) -> Hostile:
        chains = (*collateral, *good)
        return Hostile(name=name, make=vendor.verifier, evidence=answers, collateral=chains, now=fake_nvidia.NOW)

    yield case("nvidia: 31 answers of one gpu, nothing else")
    yield case("nvidia: 31 forged chains before its own", *forged)
    yield case("nvidia: 16 MiB of manifests that nearly name its versions", *_near_manifests())
    yield case("nvidia: 3 revocation lists of 75,000 entries by others", *(_revocations(n) for n in range(3)))
    levels = (gpu.levels[1], gpu.levels[2])
    told = [fake_nvidia.answer(*levels, at=fake_nvidia.NOW - timedelta(minutes=n)) for n in range(85)]
    yield case("nvidia: 85 true answers about one certificate", *told)


def intel() -> Iterator[Hostile]:
    """A TD beside eight collaterals of two MiB, seven for nothing, and beside logs of the largest size."""
    world = fake_intel.mint(TEEKind.TDX)
    crl = _revocations(0).data[: 1 << 20].hex()
    padded = [fake_intel.pack({**world.statements, "root_ca_crl": crl, "api": n}) for n in range(7)]
    other = json.loads(world.statements["tcb_info"])
    other["fmspc"] = "00" * 6
    padded = [
        fake_intel.pack({**json.loads(item.data), "tcb_info": json.dumps({**other, "tcbLevels": _levels(other)})})
        for item in padded
    ]
    yield Hostile(
        name="tdx: 8 collaterals, 7 for another platform, of 256 levels and 2 MiB each",
        make=lambda: _tdx(world),
        evidence=[world.evidence],
        collateral=[*padded, world.collateral],
        now=world.now,
    )
    event = {"imr": 3, "event_type": 1, "digest": "00" * 48, "event": "x", "event_payload": "00"}
    log = Collateral(kind="event-log-dstack", data=json.dumps([event] * EVENTS).encode())
    yield Hostile(
        name=f"tdx: an event log of {EVENTS:,} events",
        make=lambda: _tdx(world),
        evidence=[world.evidence],
        collateral=[world.collateral, log],
        now=world.now,
    )


def amd() -> Iterator[Hostile]:
    """A guest beside 14 certificates that look like its key's and 15 that look like their issuer."""
    world = fake_amd.good()
    ask = _loaded(fake_amd.intermediate(Product.GENOA))
    for bits in (4096, 16_384):
        options = [LeafOptions(key=f"forged {n}") for n in range(14)]
        keys = [_resigned(fake_amd.leaf(Product.GENOA, "VCEK", one), bits // 8) for one in options]
        issuers = [_authority(ask.subject, ask.issuer, bits) for _ in range(15)]
        yield Hostile(
            name=f"snp: 14 forged keys by 15 forged issuers of {bits:,} bits",
            make=lambda: world.verifier,
            evidence=[world.evidence],
            collateral=[*map(fake_amd.certificate, (*keys, *issuers)), *world.collateral],
            now=fake_amd.NOW,
        )


def tpm() -> Iterator[Hostile]:
    """A TPM's quote under a certificate that anyone of 15 issuers may have signed, and lists that nobody needs."""
    world = fake_tpm.good()
    certificate = _resigned(world.parts.ek_certificate, 2048)
    name = _loaded(certificate).issuer
    forged = [fake_tpm.issuer_collateral(_loaded(_authority(name, name, 16_384))) for _ in range(15)]
    yield Hostile(
        name="tpm: 15 forged issuers of 16,384 bits",
        make=lambda: world.verifier,
        evidence=[world.changed(ek_certificate=certificate).evidence],
        collateral=forged,
        now=fake_tpm.NOW,
    )
    yield Hostile(
        name="tpm: 3 revocation lists of 75,000 entries by others",
        make=lambda: world.verifier,
        evidence=[world.evidence],
        collateral=[*world.collateral, *(_revocations(n) for n in range(3))],
        now=fake_tpm.NOW,
    )


def _tdx(world: fake_intel.World) -> Verifier:
    return TDXVerifier(roots=world.roots)


def _levels(info: dict[str, object]) -> list[object]:
    levels = info["tcbLevels"]
    assert isinstance(levels, list)
    return (levels * 256)[:256]


def _near_manifests() -> list[Collateral]:
    near = b"999.10.0" * (MAX_COLLATERAL_BYTES // 8 - 1)
    return [Collateral(kind="nvidia-rim", data=near + b"%04d" % n) for n in range(3)]


def _revocations(number: int) -> Collateral:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Somebody {number}")])
    one = x509.RevokedCertificateBuilder().revocation_date(fake_nvidia.NOW)
    entries = [one.serial_number(place + 1).build() for place in range(ENTRIES)]
    ends = fake_nvidia.NOW + timedelta(days=30)
    builder = x509.CertificateRevocationListBuilder(name, fake_nvidia.NOW, ends, [], entries)
    return Collateral(kind="x509-crl", data=builder.sign(key, hashes.SHA384()).public_bytes(Encoding.DER))


def _resigned(der: bytes, size: int) -> bytes:
    """The certificate with a signature of nobody's of this size, which is the size of its issuer's key."""
    certificate = _loaded(der)
    tbs = certificate.tbs_certificate_bytes
    start = der.index(tbs) + len(tbs)
    algorithm = der[start : start + 2 + der[start + 1]]
    signature = b"\0\x7f" + secrets.token_bytes(size - 1)
    content = tbs + algorithm + _tlv(0x03, signature)
    return _tlv(0x30, content)


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def _authority(subject: x509.Name, issuer: x509.Name, bits: int) -> bytes:
    """A certificate in a CA's name over the dearest key of this size, signed by nobody who matters."""
    modulus = secrets.randbits(bits) | 1 << (bits - 1) | 1
    key = rsa.RSAPublicNumbers(WORST_EXPONENT, modulus).public_key()
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(fake_amd.NOW - timedelta(days=9))
    builder = builder.not_valid_after(fake_amd.NOW + timedelta(days=999))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)  # as AMD has it; it is looked at before any signature
    made = builder.sign(fake_amd.rsa_key("nobody"), hashes.SHA384(), rsa_padding=pss)
    return made.public_bytes(Encoding.DER)


def _loaded(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="The dearest bundles a provider may send.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per bundle (default 5)")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    for bundle in bundles():
        ends: set[str] = set()
        times = [milliseconds(lambda: ends.add(bundle.run(bundle.make()))) for _ in range(chosen.rounds)]  # noqa: B023
        print(f"{median(times):>9.0f} ms  {', '.join(sorted(ends)):<24}{bundle.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
