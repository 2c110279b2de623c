# SPDX-License-Identifier: Apache-2.0
"""A fake NVIDIA: a root of its own, GPUs and switches certified under it, their reports, OCSP answers and manifests.

`FakeNVIDIA()` is a whole world; its devices have NVIDIA's names, extensions and report forms. What may be wrong is an
argument or a function named for it. Made once per test module: keys are cheap, but not free.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count, pairwise
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.nvidia.verifier import NVIDIASwitchVerifier, NVIDIAVerifier
from tests.support.fake_nvidia_rim import DRIVER_VERSION, MADE, SWITCH_VERSION, VBIOS_VERSION, RIMMaker

NOW = MADE + timedelta(days=100)
NONCE = bytes(range(32))
DRIVER_GOLDEN = {7: [b"\x07" * 48], 9: [b"\x99" * 48, b"\x09" * 48], 35: [b"\x23" * 48]}
VBIOS_GOLDEN = {8: [b"\x08" * 48], 12: [b"\x0c" * 48]}
SWITCH_GOLDEN = {3: [b"\x03" * 48]}
_FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_SERIALS = count(1)
_PREFIXES = {"GH100": 0x41, "GB100": 0x41, "LS_10": 0x50}
_FAMILIES = {"GH100": "GH100", "GB100": "GB100", "LS_10": "GH100"}
_ENGINES = {"GH100": "GSP", "GB100": "GSP", "LS_10": "FSP"}

Status = Literal["good", "revoked", "hold", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's DER."""
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, kw_only=True)
class FakeDevice:
    """A device and its chain, leaf first. `pdi` is what others call it; `fwid` is what its leaf was issued to."""

    chip: str
    pdi: bytes
    fwid: bytes
    levels: tuple[Level, ...]

    @property
    def kind(self) -> TEEKind:
        """The kind of its evidence."""
        return TEEKind.NVIDIA_SWITCH if self.chip == "LS_10" else TEEKind.NVIDIA_GPU

    @property
    def chain(self) -> Collateral:
        """Its chain, as it travels."""
        pem = b"".join(level.certificate.public_bytes(Encoding.PEM) for level in self.levels)
        return Collateral(kind="nvidia-chain", data=pem)

    def evidence(self, report: bytes | None = None) -> Evidence:
        """A report as evidence of this device's kind; the device's plain report without one."""
        form = "nvidia-switch-spdm-1.1" if self.kind is TEEKind.NVIDIA_SWITCH else "nvidia-spdm-1.1"
        return Evidence(kind=self.kind, format=form, data=report if report is not None else self.report())

    def report(
        self,
        *,
        nonce: bytes = NONCE,
        digests: Mapping[int, bytes] | None = None,
        fields: Mapping[int, bytes | None] | None = None,
        switches: Sequence["FakeDevice"] = (),
        gpus: Sequence["FakeDevice"] = (),
    ) -> bytes:
        """A signed report; `digests` and `fields` replace single ones, a field of None is left out."""
        plain = self._switch_fields(gpus) if self.chip == "LS_10" else self._gpu_fields(switches)
        values = {index: measured(index) for index in range(31 if self.chip == "LS_10" else 64)}
        return self.sign(unsigned(nonce, {**values, **(digests or {})}, {**plain, **(fields or {})}))

    def sign(self, signed: bytes) -> bytes:
        """`signed` and this device's signature over it."""
        r, s = decode_dss_signature(self.levels[0].key.sign(signed, ec.ECDSA(SHA384())))
        return signed + r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def _gpu_fields(self, switches: Sequence["FakeDevice"]) -> dict[int, bytes]:
        links = b"".join(switch.pdi[::-1] for switch in switches)
        fields = {
            6: bytes.fromhex("00aa009901000000"),
            15: b"882\0\0",
            17: b"1010\0",
            18: b"0200\0",
            3: DRIVER_VERSION.encode() + b"\0",
            11: b"\x55",
            20: self.fwid,
            34: b"\x01\0",
            36: b"\x02\0" if links else b"\0\0",
        }
        if self.chip == "GH100":
            fields[21] = b"\xaa" if links else b"\x55"
        else:
            fields[35] = self.chip.encode() + b"\0"
        return fields | ({22: links} if links else {})

    def _switch_fields(self, gpus: Sequence["FakeDevice"]) -> dict[int, bytes]:
        pdis = b"".join(gpu.pdi for gpu in gpus).ljust(64, b"\xff")
        return {6: SWITCH_VERSION.encode(), 22: self.pdi, 25: b"\x01\0", 26: pdis + bytes(64)}


@dataclass(frozen=True, kw_only=True)
class FakeNVIDIA:
    """One NVIDIA. `roots` and `rim_roots` are what a verifier pins to trust it."""

    root: Level = field(default_factory=lambda: issue("NVIDIA Device Identity CA"))
    rim_maker: RIMMaker = field(default_factory=RIMMaker)

    @property
    def roots(self) -> frozenset[bytes]:
        """The device root."""
        return frozenset({self.root.certificate.fingerprint(SHA256())})

    def verifier(self) -> NVIDIAVerifier:
        """A new verifier of this NVIDIA's GPUs, with nothing remembered."""
        return NVIDIAVerifier(roots=self.roots, rim_roots=self.rim_maker.roots)

    def switch_verifier(self) -> NVIDIASwitchVerifier:
        """A new verifier of its switches."""
        return NVIDIASwitchVerifier(roots=self.roots, rim_roots=self.rim_maker.roots)

    @cached_property
    def identities(self) -> dict[str, Level]:
        """The identity CAs by family."""
        return {name: issue(f"NVIDIA {name} Identity", self.root) for name in ("GH100", "GB100")}

    @cached_property
    def provisioners(self) -> dict[str, Level]:
        """The provisioning CAs by chip."""
        return {chip: issue(f"NVIDIA {chip} Provisioner ICA 1", self.identities[_FAMILIES[chip]]) for chip in _FAMILIES}

    def gpu(self, chip: str = "GH100") -> FakeDevice:
        """A good GPU."""
        return self.device(chip)

    def switch(self) -> FakeDevice:
        """A good LS10 switch."""
        return self.device("LS_10")

    def device(
        self,
        chip: str,
        *,
        leaf_name: str | None = None,
        brom_name: str | None = None,
        serial: str | None = None,
        fwid_extension: x509.UnrecognizedExtension | None = None,
        leaf_signs_certificates: bool = False,
        debug: bool = False,
        ends: datetime = _FOREVER,
        brom_issuer: Level | None = None,
    ) -> FakeDevice:
        """A device; everything is as NVIDIA has it unless said otherwise."""
        provisioner = brom_issuer or self.provisioners[chip]
        pdi = hashlib.sha256(f"{chip} {next(_SERIALS)}".encode()).digest()[:8]
        fwid = hashlib.sha384(f"{chip} firmware".encode()).digest()
        engine = _ENGINES[chip]
        number = serial if serial is not None else f"{_PREFIXES[chip]:02X}{pdi.hex().upper()}"
        brom = issue(brom_name or f"{chip} A01 {engine} BROM", provisioner, serial=number, ends=ends)
        leaf = issue(
            leaf_name or f"{chip} A01 {engine} FMC LF",
            brom,
            authority=leaf_signs_certificates,
            extension=fwid_extension or fwid_of(chip, fwid, debug=debug),
        )
        above = (self.identities[_FAMILIES[chip]], self.root)
        return FakeDevice(chip=chip, pdi=pdi, fwid=fwid, levels=(leaf, brom, provisioner, *above))

    def rims(self, product: str = "GH100") -> tuple[Collateral, Collateral]:
        """The driver's and the VBIOS's manifests that the plain report of a GPU matches."""
        return (
            self.rim(kind="driver", product=product, version=DRIVER_VERSION, golden=DRIVER_GOLDEN),
            self.rim(kind="vbios", product=product, version=VBIOS_VERSION, golden=VBIOS_GOLDEN),
        )

    def switch_rim(self) -> Collateral:
        """The manifest that the plain report of a switch matches."""
        return self.rim(kind="switch", product="LS10", version=SWITCH_VERSION, golden=SWITCH_GOLDEN)

    def rim(
        self, *, kind: str, product: str, version: str, golden: Mapping[int, Sequence[bytes]], revision: str = "r1"
    ) -> Collateral:
        """One manifest by this NVIDIA's signer."""
        made = self.rim_maker.rim(kind=kind, product=product, version=version, golden=golden, revision=revision)
        return Collateral(kind="nvidia-rim", data=made)

    def statements(self, device: FakeDevice, at: datetime = NOW) -> list[Collateral]:
        """Good answers about a device's BROM, ICA and Identity, made at `at`."""
        return [answer(below, above, at=at) for below, above in pairwise(device.levels[1:])]

    def rim_statements(self, at: datetime = NOW) -> list[Collateral]:
        """Good answers about the signers of the manifests."""
        levels = [Level(key=level.key, certificate=level.certificate) for level in self.rim_maker.chain]
        return [answer(below, above, at=at) for below, above in pairwise(levels)]


def measured(index: int) -> bytes:
    """What plain reports measure at a golden index."""
    return bytes([index]) * 48


def unsigned(nonce: bytes, digests: Mapping[int, bytes], fields: Mapping[int, bytes | None]) -> bytes:
    """A request and its response up to the signature."""
    record = b"".join(bytes((index + 1, 1, 51, 0, 1, 48, 0)) + digests[index] for index in sorted(digests))
    opaque = b"".join(
        kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
        for kind, value in fields.items()
        if value is not None
    )
    head = bytes.fromhex("11e001ff") + nonce + b"\0" + bytes.fromhex("11600000") + bytes([len(digests)])
    return b"".join(
        (head, len(record).to_bytes(3, "little"), record, bytes(32), len(opaque).to_bytes(2, "little"), opaque)
    )


def answer(
    subject: Level,
    issuer: Level,
    *,
    at: datetime = NOW,
    status: Status = "good",
    life: timedelta = timedelta(days=1),
    responder: Level | None = None,
) -> Collateral:
    """An OCSP answer about `subject`, by a responder `issuer` delegated to unless another is given."""
    signer = responder or delegate(issuer)
    revoked = status in ("revoked", "hold")
    certificate_status = {
        "good": ocsp.OCSPCertStatus.GOOD,
        "unknown": ocsp.OCSPCertStatus.UNKNOWN,
    }.get(status, ocsp.OCSPCertStatus.REVOKED)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=subject.certificate,
        issuer=issuer.certificate,
        algorithm=SHA384(),
        cert_status=certificate_status,
        this_update=at,
        next_update=at + life,
        revocation_time=at if revoked else None,
        revocation_reason=x509.ReasonFlags.certificate_hold if status == "hold" else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    response = builder.certificates([signer.certificate]).sign(signer.key, SHA384())
    return Collateral(kind="nvidia-ocsp", data=response.public_bytes(Encoding.DER))


def unsuccessful() -> Collateral:
    """What NVIDIA answers about a leaf: unauthorized."""
    response = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    return Collateral(kind="nvidia-ocsp", data=response.public_bytes(Encoding.DER))


def delegate(issuer: Level, *, ends: datetime = _FOREVER, may_answer: bool = True) -> Level:
    """A responder certified by `issuer`, which may answer for it unless said otherwise."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    return issue("Fake OCSP Responder", issuer, authority=False, extension=usage if may_answer else None, ends=ends)


def revocation_list(
    issuer: Level,
    *,
    revoked: Sequence[Level] = (),
    hold: Sequence[Level] = (),
    at: datetime = NOW,
    life: timedelta = timedelta(days=30),
    signer: Level | None = None,
) -> Collateral:
    """A CRL of `issuer`, signed by it unless another signer is given."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(at).next_update(at + life)
    for levels, reason in ((revoked, None), (hold, x509.ReasonFlags.certificate_hold)):
        for level in levels:
            entry = x509.RevokedCertificateBuilder().serial_number(level.certificate.serial_number).revocation_date(at)
            if reason:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
    der = builder.sign((signer or issuer).key, SHA384()).public_bytes(Encoding.DER)
    return Collateral(kind="x509-crl", data=der)


def fwid_of(chip: str, fwid: bytes, *, debug: bool = False) -> x509.UnrecognizedExtension:
    """The extension in which a leaf of this chip carries its firmware's digest."""
    one = bytes.fromhex("303d06096086480165030402020430") + fwid
    if chip == "GB100":
        empty = bytes.fromhex("303d06096086480165030402020430") + bytes(48)
        fwids = b"\xa6\x7e" + one + empty
        flags = bytes.fromhex("870500") + bytes([0x90 if debug else 0x80]) + bytes(3)
        body = (
            b"\x80\x06NVIDIA" + b"\x81\x0dGB100 A01 GSP" + bytes.fromhex("82023031830101840100850100") + fwids + flags
        )
        oid, value = "2.23.133.5.4.1.1", b"\x30\x81" + bytes([len(body)]) + body
    else:
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        body = bytes.fromhex("020101") + spki + one
        oid, value = "2.23.133.5.4.1", b"\x30\x81" + bytes([len(body)]) + body
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def issue(
    name: str,
    issuer: Level | None = None,
    *,
    serial: str | None = None,
    authority: bool = True,
    extension: x509.ExtensionType | None = None,
    ends: datetime = _FOREVER,
) -> Level:
    """A P-384 key and its certificate; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP384R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    parts += [x509.NameAttribute(NameOID.SERIAL_NUMBER, serial)] if serial is not None else []
    subject = x509.Name(parts)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(next(_SERIALS))
        .not_valid_before(datetime(2022, 1, 1, tzinfo=UTC))
        .not_valid_after(ends)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), True
        )
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    if extension is not None:
        builder = builder.add_extension(extension, False)
    return Level(key=key, certificate=builder.sign((issuer.key if issuer else key), SHA384()))
