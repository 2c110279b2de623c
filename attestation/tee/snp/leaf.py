# SPDX-License-Identifier: Apache-2.0
"""The certificate of a report's key, VCEK or VLEK: what AMD's extensions say of chip and firmware (publication 57230).

    1.3.6.1.4.1.3704.1.2   product            IA5String "Milan-B0", "Genoa", "Turin"
    1.3.6.1.4.1.3704.1.3.n security levels    INTEGER 0..255; n = 1 bootloader, 2 tee, 3 snp, 4 to 7 unused,
                                              8 microcode, 9 fmc
    1.3.6.1.4.1.3704.1.4   hardware id (VCEK) the bare 64 bytes, on Turin 8
    1.3.6.1.4.1.3704.1.5   provider (VLEK)    IA5String

A VCEK is the key of one chip at one firmware level, a VLEK that of one cloud provider at one firmware level: exactly
one of the last two extensions is there. Nothing here is verified.
"""

import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.snp.product import CHIP_ID_BYTES, TCB_PARTS, Product
from attestation.tee.snp.report import SigningKey

_ARC: Final = "1.3.6.1.4.1.3704.1"
_PRODUCT, _CHIP, _PROVIDER = f"{_ARC}.2", f"{_ARC}.4", f"{_ARC}.5"
_LEVELS: Final = {
    "bootloader": f"{_ARC}.3.1",
    "tee": f"{_ARC}.3.2",
    "snp": f"{_ARC}.3.3",
    "spl4": f"{_ARC}.3.4",
    "spl5": f"{_ARC}.3.5",
    "spl6": f"{_ARC}.3.6",
    "spl7": f"{_ARC}.3.7",
    "microcode": f"{_ARC}.3.8",
    "fmc": f"{_ARC}.3.9",
}
_UNUSED: Final = frozenset({"spl4", "spl5", "spl6", "spl7"})
_PRODUCT_NAME: Final = re.compile(r"([A-Z][a-z]{1,15})(-[A-Z][0-9])?")
_INTEGER, _IA5_STRING = 0x02, 0x16
_MAX_TEXT: Final = 127
_NAMES: Final = {"SEV-VCEK": SigningKey.VCEK, "SEV-VLEK": SigningKey.VLEK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A report key's certificate as read. `tcb` is spelled as the product's reports spell it.

    `chip_id` is padded to 64 bytes as reports have it, and empty for a VLEK; `provider` is empty for a VCEK.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    kind: SigningKey
    product: Product
    tcb: bytes
    chip_id: bytes
    provider: str


def is_leaf(certificate: x509.Certificate) -> bool:
    """True for a certificate that calls itself a VCEK or VLEK."""
    return common_name(certificate.subject) in _NAMES


def common_name(name: x509.Name) -> str:
    """The one common name, or "" if there is not exactly one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def read_leaf(certificate: x509.Certificate) -> Leaf:
    """What a VCEK or VLEK certificate says. Raises `MalformedEvidence`, UNSUPPORTED for a product unknown here."""
    kind = _NAMES[common_name(certificate.subject)]
    values = {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    product = _product(values)
    return Leaf(
        certificate=certificate,
        key=_key(certificate),
        kind=kind,
        product=product,
        tcb=bytes(_level(values, part) for part in TCB_PARTS[product]),
        chip_id=_chip_id(values, kind, product),
        provider=_provider(values, kind),
    )


def _key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _malformed("key", "of another kind", "ec p-384")
    return key


def _product(values: dict[str, bytes]) -> Product:
    name = _text(values, _PRODUCT, "product")
    match = _PRODUCT_NAME.fullmatch(name)
    if match is None:
        raise _malformed("product", "no such name", "a line with or without a stepping")
    if match[1] not in set(Product):
        known = ", ".join(Product)
        raise MalformedEvidence(Reason.UNSUPPORTED, f"snp endorsement product is {match[1]}, want one of {known}")
    return Product(match[1])


def _level(values: dict[str, bytes], part: str) -> int:
    value = values.get(_LEVELS[part])
    if value is None and part in _UNUSED:
        return 0
    if value is None or len(value) < 3 or value[0] != _INTEGER or value[1] != len(value) - 2:
        raise _malformed(f"{part} level", "missing or no integer", "an integer 0..255")
    number = int.from_bytes(value[2:], "big", signed=True)
    if not 0 <= number <= 255 or len(value) > 4:
        raise _malformed(f"{part} level", "out of range", "an integer 0..255")
    return number


def _chip_id(values: dict[str, bytes], kind: SigningKey, product: Product) -> bytes:
    value = values.get(_CHIP)
    if kind is SigningKey.VLEK:
        if value is not None:
            raise _malformed("hardware id", "given", "absent in a vlek")
        return b""
    if value is None or len(value) != CHIP_ID_BYTES[product]:
        raise _malformed("hardware id", "missing or of another size", f"{CHIP_ID_BYTES[product]} bytes")
    return value.ljust(64, b"\0")


def _provider(values: dict[str, bytes], kind: SigningKey) -> str:
    if kind is SigningKey.VCEK:
        if _PROVIDER in values:
            raise _malformed("provider", "given", "absent in a vcek")
        return ""
    return _text(values, _PROVIDER, "provider")


def _text(values: dict[str, bytes], oid: str, field: str) -> str:
    value = values.get(oid, b"")
    text = value[2:]
    if len(value) < 3 or value[0] != _IA5_STRING or value[1] != len(text) or len(text) > _MAX_TEXT:
        raise _malformed(field, "missing or no text", f"1..{_MAX_TEXT} characters")
    if not all(0x20 <= byte < 0x7F for byte in text):
        raise _malformed(field, "not printable", "printable ascii")
    return text.decode("ascii")


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"snp endorsement {field} is {got}, want {want}")
