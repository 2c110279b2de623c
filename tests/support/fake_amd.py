# SPDX-License-Identifier: Apache-2.0
"""An AMD of our own: root, intermediates, chip and provider keys per processor line, and the reports they sign.

Worlds are complete: evidence, collateral and the roots to pin. Each function is named by what is wrong with its world.
Its roots are never AMD's, so the verifier as shipped refuses everything made here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.certificates import read_certificate
from attestation.tee.snp.leaf import common_name
from attestation.tee.snp.product import CHIP_ID_BYTES, TCB_PARTS, Product
from attestation.tee.snp.verifier import SNPVerifier

Field: TypeAlias = bytes | int
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PROVIDER = "CN=cloud.example"
LEVELS = {"fmc": 1, "bootloader": 10, "tee": 2, "snp": 23, "microcode": 200}
CPUIDS = {Product.MILAN: b"\x19\x01\x01", Product.GENOA: b"\x19\x11\x01", Product.TURIN: b"\x1a\x02\x01"}
VENICE_CPUID = b"\x1a\x50\x00"
SIGNED, SIGNATURE = 0x2A0, 0x2A0
AT = {
    "version": 0x000,
    "guest_svn": 0x004,
    "policy": 0x008,
    "vmpl": 0x030,
    "algorithm": 0x034,
    "current_tcb": 0x038,
    "platform_info": 0x040,
    "key_info": 0x048,
    "report_data": 0x050,
    "measurement": 0x090,
    "host_data": 0x0C0,
    "id_key_digest": 0x0E0,
    "author_key_digest": 0x110,
    "report_id_ma": 0x160,
    "reported_tcb": 0x180,
    "cpuid": 0x188,
    "chip_id": 0x1A0,
    "committed_tcb": 0x1E0,
    "firmware": 0x1E8,
    "committed_firmware": 0x1EC,
    "launch_tcb": 0x1F0,
    "launch_mitigations": 0x1F8,
    "current_mitigations": 0x200,
}
"""Where each field of a report starts."""

_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_ARC = "1.3.6.1.4.1.3704.1"
_LEVEL_OIDS = {
    "bootloader": 1,
    "tee": 2,
    "snp": 3,
    "spl4": 4,
    "spl5": 5,
    "spl6": 6,
    "spl7": 7,
    "microcode": 8,
    "fmc": 9,
}


@dataclass(frozen=True, kw_only=True)
class SNPWorld:
    """A report with all that a verifier needs to judge it, and the roots that make this AMD known to it."""

    evidence: Evidence
    collateral: tuple[Collateral, ...]
    roots: Mapping[bytes, Product]

    @property
    def verifier(self) -> SNPVerifier:
        return SNPVerifier(roots=self.roots)

    def without(self, *names: str) -> "SNPWorld":
        """The world less the certificates whose subjects have these common names."""
        kept = tuple(item for item in self.collateral if item.kind != "amd-certificate" or _subject(item) not in names)
        return replace(self, collateral=kept)

    def adding(self, *items: Collateral) -> "SNPWorld":
        return replace(self, collateral=self.collateral + items)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One RSA key per name and test session; 2048 bits, as the size is not what is tested."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def chip_key(name: str) -> ec.EllipticCurvePrivateKey:
    """One P-384 key per name and test session."""
    return ec.generate_private_key(ec.SECP384R1())


def tcb(product: Product, **levels: int) -> bytes:
    """A TCB version as the product spells it."""
    values = LEVELS | levels
    return bytes(values.get(part, 0) for part in TCB_PARTS[product])


def chip_id(product: Product, name: str = "chip") -> bytes:
    """The 64 bytes of a report's CHIP_ID."""
    return hashlib.sha512(name.encode()).digest()[: CHIP_ID_BYTES[product]].ljust(64, b"\0")


@cache
def ark(product: Product, house: str = "AMD") -> bytes:
    """The self-signed root certificate of a line, DER."""
    return _authority(f"ARK-{product}", f"ARK-{product}", house, serial=0x10000)


@cache
def intermediate(product: Product, prefix: str = "SEV-", house: str = "AMD") -> bytes:
    """The ASK (`SEV-`) or ASVK (`SEV-VLEK-`) certificate of a line, DER."""
    return _authority(f"{prefix}{product}", f"ARK-{product}", house, serial=0x10001)


@dataclass(frozen=True, kw_only=True)
class LeafOptions:
    """What a VCEK or VLEK certificate says."""

    product_name: str = ""
    levels: Mapping[str, int] | None = None
    chip: str = "chip"
    provider: str = PROVIDER
    key: str = "chip"
    days: int = 365 * 7
    issuer: str = ""
    signer: str = ""
    house: str = "AMD"
    extensions: Mapping[str, bytes | None] | None = None
    curve: type[ec.EllipticCurve] = ec.SECP384R1
    sha256: bool = False


def leaf(product: Product, kind: str = "VCEK", options: LeafOptions | None = None) -> bytes:
    """A VCEK or VLEK certificate, DER, with serial number 0 as every real one."""
    options = options or LeafOptions()
    issuer = options.issuer or ("SEV-" if kind == "VCEK" else "SEV-VLEK-") + product
    signer = options.signer or issuer
    key = chip_key(options.key) if options.curve is ec.SECP384R1 else ec.generate_private_key(options.curve())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(f"SEV-{kind}"))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=100))
        .not_valid_after(NOW - timedelta(days=100) + timedelta(days=options.days))
    )
    for oid, value in _extensions(product, kind, options).items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    signing = rsa_key(f"{options.house} {signer}")
    made = builder.sign(signing, hashes.SHA256() if options.sha256 else hashes.SHA384(), rsa_padding=_PSS)
    return _der(made) if options.sha256 else _with_serial_zero(made, signing)


def crl(
    product: Product,
    *,
    revoked: Sequence[int] = (),
    issued: timedelta = -timedelta(days=1),
    lasts: timedelta = timedelta(days=30),
    signer: str = "",
    house: str = "AMD",
) -> Collateral:
    """A revocation list of the line's root; 0x10001 is the serial number of every intermediate made here."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_name(f"ARK-{product}"))
        .last_update(NOW + issued)
        .next_update(NOW + issued + lasts)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW + issued).build()
        builder = builder.add_revoked_certificate(entry)
    signing = rsa_key(f"{house} {signer or f'ARK-{product}'}")
    made = builder.sign(signing, hashes.SHA384(), rsa_padding=_PSS)
    return Collateral(kind="amd-crl", data=made.public_bytes(Encoding.DER))


def certificate(der: bytes) -> Collateral:
    """One certificate as collateral."""
    return Collateral(kind="amd-certificate", data=der)


def report(
    product: Product = Product.GENOA, version: int = 3, fields: Mapping[str, Field] | None = None, *, key: str = "chip"
) -> bytes:
    """A signed report; `fields` overwrite those of `AT` before it is signed."""
    data = bytearray(0x4A0)
    now = tcb(product)
    values: dict[str, Field] = {
        "launch_mitigations": 0x3F if version >= 5 else 0,
        "current_mitigations": 0x3F if version >= 5 else 0,
        "version": version,
        "policy": 0x30000,
        "algorithm": 1,
        "current_tcb": now,
        "platform_info": 0x25 if version > 2 else 0x01,
        "report_data": hashlib.sha512(b"report data").digest(),
        "measurement": hashlib.sha384(b"launch").digest(),
        "report_id_ma": b"\xff" * 32,
        "reported_tcb": now,
        "cpuid": CPUIDS[product] if version > 2 else b"\0\0\0",
        "chip_id": chip_id(product),
        "committed_tcb": now,
        "firmware": b"\x29\x37\x01",
        "committed_firmware": b"\x29\x37\x01",
        "launch_tcb": now,
    }
    for name, value in (values | dict(fields or {})).items():
        raw = value if isinstance(value, bytes) else value.to_bytes(_width(name), "little")
        data[AT[name] : AT[name] + len(raw)] = raw
    return sign(bytes(data), key)


def sign(data: bytes, key: str = "chip") -> bytes:
    """The report with a signature of this chip's key over its signed part."""
    r, s = decode_dss_signature(chip_key(key).sign(data[:SIGNED], ec.ECDSA(hashes.SHA384())))
    return data[:SIGNED] + b"".join(n.to_bytes(72, "little") for n in (r, s)) + bytes(0x4A0 - SIGNED - 144)


def good(product: Product = Product.GENOA, version: int = 3, **fields: Field) -> SNPWorld:
    """A report of a chip, its VCEK, ASK and ARK; `fields` overwrite the report's before it is signed."""
    return world(product, report(product, version, fields), leaf(product))


def of_a_provider(product: Product = Product.GENOA, **fields: Field) -> SNPWorld:
    """A report signed by a provider's VLEK on a host that masks its chip id."""
    signed = report(product, 3, {"key_info": 1 << 2, "chip_id": bytes(64), **fields}, key="provider")
    return world(product, signed, leaf(product, "VLEK", LeafOptions(key="provider")), "SEV-VLEK-")


def debug() -> SNPWorld:
    """The guest's policy lets the host read its memory."""
    return good(policy=0x30000 | 1 << 19)


def wrong_tcb() -> SNPWorld:
    """The key's certificate is for older firmware than the report reports, though the same key signed."""
    return world(Product.GENOA, report(), leaf(Product.GENOA, options=LeafOptions(levels={"snp": LEVELS["snp"] - 1})))


def wrong_chip() -> SNPWorld:
    """The key's certificate is another chip's, though the same key signed."""
    return world(Product.GENOA, report(), leaf(Product.GENOA, options=LeafOptions(chip="another")))


def masked_chip() -> SNPWorld:
    """The host masks the chip id, and the chip's own key signs all the same."""
    return good(chip_id=bytes(64))


def swapped_signature() -> SNPWorld:
    """The report carries the signature of another report by the same key."""
    mine, other = report(), report(fields={"guest_svn": 9})
    return world(Product.GENOA, mine[:SIGNATURE] + other[SIGNATURE:], leaf(Product.GENOA))


def unknown_product() -> SNPWorld:
    """The report says its processor is of a line this verifier does not know."""
    return good(cpuid=VENICE_CPUID)


def of_version(version: int) -> SNPWorld:
    """The report says it is of this version of the format."""
    return good(version=version)


def of_another_house() -> SNPWorld:
    """Everything fits, and the root is nobody's."""
    house = "nobody"
    options = LeafOptions(house=house)
    certificates = (leaf(Product.GENOA, options=options), intermediate(Product.GENOA, house=house))
    collateral = (*map(certificate, certificates), certificate(ark(Product.GENOA, house)))
    return SNPWorld(evidence=evidence(report()), collateral=collateral, roots=roots())


def world(product: Product, data: bytes, key_certificate: bytes, prefix: str = "SEV-") -> SNPWorld:
    """This report with this key's certificate under the line's own chain."""
    chain = (ark(product), key_certificate, intermediate(product, prefix))  # in no order anybody relies on
    return SNPWorld(evidence=evidence(data), collateral=tuple(map(certificate, chain)), roots=roots())


def evidence(data: bytes) -> Evidence:
    """A report as evidence."""
    return Evidence(kind=TEEKind.SNP, format="snp-report", data=data)


def roots() -> dict[bytes, Product]:
    """This AMD's roots by the SHA-256 of their certificates, as the verifier takes them."""
    return {hashlib.sha256(ark(product)).digest(): product for product in Product}


def _width(name: str) -> int:
    return 8 if name in {"policy", "platform_info", "launch_mitigations", "current_mitigations"} else 4


def _extensions(product: Product, kind: str, options: LeafOptions) -> dict[str, bytes]:
    levels = LEVELS | dict(options.levels or {})
    named = {"VCEK": f"{product}-B0" if product is Product.MILAN else product.value, "VLEK": product.value}[kind]
    values: dict[str, bytes | None] = {
        f"{_ARC}.1": b"\x02\x01\x01",
        f"{_ARC}.2": _ia5(options.product_name or named),
        **{f"{_ARC}.3.{_LEVEL_OIDS[part]}": _integer(levels.get(part, 0)) for part in TCB_PARTS[product]},
    }
    if kind == "VCEK":
        values[f"{_ARC}.4"] = chip_id(product, options.chip)[: CHIP_ID_BYTES[product]]
    else:
        values[f"{_ARC}.5"] = _ia5(options.provider)
    values |= {f"{_ARC}.{arc}": value for arc, value in (options.extensions or {}).items()}
    return {oid: value for oid, value in values.items() if value is not None}


def _integer(value: int) -> bytes:
    body = value.to_bytes(1 if value < 128 else 2, "big")
    return bytes((2, len(body))) + body


def _ia5(text: str) -> bytes:
    return bytes((0x16, len(text))) + text.encode()


def _authority(subject: str, issuer: str, house: str, *, serial: int) -> bytes:
    key = rsa_key(f"{house} {subject}")
    root = subject == issuer
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=root,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - timedelta(days=1000))
        .not_valid_after(NOW + timedelta(days=8000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None if root else 0), critical=True)
        .add_extension(usage, critical=True)
        .sign(rsa_key(f"{house} {issuer}"), hashes.SHA384(), rsa_padding=_PSS)
    )
    return _der(made)


def _with_serial_zero(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> bytes:
    # The library makes no certificate with serial number 0: the signed part is patched and signed again.
    der, signed = _der(certificate), certificate.tbs_certificate_bytes
    patched = signed.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)
    signature = key.sign(patched, _PSS, hashes.SHA384())
    return der.replace(signed, patched)[: -len(signature)] + signature


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Advanced Micro Devices of the tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _subject(item: Collateral) -> str:
    return common_name(read_certificate(item.data, "certificate").subject)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
