# SPDX-License-Identifier: Apache-2.0
"""The certificate chain of an NVIDIA device: five certificates whose names say what kind of device it is.

    leaf      CN `<chip> <stepping> <engine> FMC LF`     signs reports; carries the FWID its firmware was measured as
    BROM      CN `<chip> <stepping> <engine> BROM`       one per device; serialNumber = kind u8 || PDI(8), in hex
    ICA       CN `NVIDIA <chip> Provisioner ICA <n>`
    Identity  CN `NVIDIA <family> Identity`
    root      CN `NVIDIA Device Identity CA`             pinned by the SHA-256 of its DER

The chains of GPUs and of LS10 switches meet in `NVIDIA GH100 Identity`, so a good signature does not say which of the
two a device is: every name must fit one line of the table below. The FWID is in extension 2.23.133.5.4.1 on Hopper and
LS10, in the TcbInfo 2.23.133.5.4.1.1 on Blackwell (TCG DICE Attestation Architecture 1.1, 6.1.1).

Refused: another number of certificates, another root (ROOT_REFUSED), names of no known device (UNSUPPORTED) or of
different ones, a leaf that may not sign or is no P-384 key (CHAIN_INVALID). Revocation is checked in `ocsp`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import NameOID

from attestation.claims import ComponentID, ComponentKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import VerifiedChain, der_of, read_pem_chain, verify_chain
from attestation.tee.nvidia.fwid import (
    COMPOSITE_DEVICE_ID,
    TCB_INFO,
    FirmwareID,
    read_composite_device_id,
    read_tcb_info,
)
from attestation.tee.nvidia.spdm import MeasurementExchange

DEVICE_ROOTS: Final = frozenset({bytes.fromhex("102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48")})
"""NVIDIA Device Identity CA, valid from 2021-11-05, SHA-256 of its DER."""

CHAIN_LENGTH: Final = 5
_SERIAL: Final = re.compile(r"([0-9A-F]{2}){9}")
_WORD: Final = re.compile(r"([A-Z0-9_]{1,16}) ([A-Z][0-9]{2}) ([A-Z]{3}) FMC LF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a chip's chain must say: its kind, the engine that attests, the identity CA, and where the FWID is."""

    component: ComponentKind
    architecture: str
    product: str
    """The chip's name in reference manifests."""

    engine: str
    identity: str
    prefix: int
    """The first byte of the BROM serialNumber, as on every recorded chain of this kind."""

    fwid: x509.ObjectIdentifier


DEVICES: Final[Mapping[str, Device]] = {
    "GH100": Device(
        component=ComponentKind.GPU,
        architecture="hopper",
        product="GH100",
        engine="GSP",
        identity="GH100",
        prefix=0x41,
        fwid=COMPOSITE_DEVICE_ID,
    ),
    "GB100": Device(
        component=ComponentKind.GPU,
        architecture="blackwell",
        product="GB100",
        engine="GSP",
        identity="GB100",
        prefix=0x41,
        fwid=TCB_INFO,
    ),
    "LS_10": Device(
        component=ComponentKind.SWITCH,
        architecture="ls10",
        product="LS10",
        engine="FSP",
        identity="GH100",
        prefix=0x50,
        fwid=COMPOSITE_DEVICE_ID,
    ),
}
"""The chips whose evidence is understood, by the name their certificates use."""


@dataclass(frozen=True, kw_only=True)
class DeviceChain:
    """The five certificates of one device, parsed; `verify` says whether they are NVIDIA's."""

    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def read(cls, pem: bytes) -> "DeviceChain":
        """Exactly five certificates in PEM, leaf first. Raises `MalformedEvidence`."""
        certificates = read_pem_chain(pem, "nvidia")
        if len(certificates) != CHAIN_LENGTH:
            message = f"nvidia chain is {len(certificates)} long, want {CHAIN_LENGTH}"
            raise MalformedEvidence(Reason.MALFORMED, message)
        return cls(certificates=certificates)

    @cached_property
    def leaf_der(self) -> bytes:
        """The leaf's DER."""
        return der_of(self.certificates[0])

    def signed(self, exchange: MeasurementExchange) -> bool:
        """Whether the leaf's key signed the exchange."""
        key = self.certificates[0].public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            return False
        half = len(exchange.signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (exchange.signature[:half], exchange.signature[half:]))
        try:
            key.verify(encode_dss_signature(r, s), exchange.signed, ec.ECDSA(SHA384()))
        except InvalidSignature:
            return False
        return True

    def verify(self, roots: Collection[bytes]) -> "VerifiedDevice":
        """The device the chain belongs to, if every signature and every name fits; judges no time.

        Raises:
            NotGenuine: CHAIN_INVALID or ROOT_REFUSED.
            MalformedEvidence: UNSUPPORTED for a chip that is not in `DEVICES`; MALFORMED for its extensions.
        """
        critical = (COMPOSITE_DEVICE_ID, TCB_INFO)
        chain = verify_chain(self.certificates, roots=roots, name="nvidia", critical=critical)
        chip = _chip(chain)
        device = DEVICES[chip]
        _check_signer(chain.leaf)
        serial = _serial(chain.certificates[1], device)
        return VerifiedDevice(
            chain=chain, chip=chip, device=device, serial=serial, firmware=_firmware(chain.leaf, device)
        )


@dataclass(frozen=True, kw_only=True)
class VerifiedDevice:
    """A device that NVIDIA certified: which chip, its serial number, and the firmware its leaf was issued to."""

    chain: VerifiedChain
    chip: str
    device: Device
    serial: bytes
    firmware: FirmwareID

    @property
    def pdi(self) -> bytes:
        """The 8 bytes by which devices name each other."""
        return self.serial[1:]

    @cached_property
    def identity(self) -> ComponentID:
        """Its hardware identity."""
        return ComponentID(kind=self.device.component, value=self.serial)

    def check(self, component: ComponentKind, now: datetime) -> None:
        """Raises `NotGenuine`: CHIP_MISMATCH for a device of another kind, CERTIFICATE_EXPIRED outside its validity."""
        if self.device.component is not component:
            got = f"a {self.device.component.value} ({self.chip})"
            raise NotGenuine(Reason.CHIP_MISMATCH, f"nvidia chain belongs to {got}, want a {component.value}")
        self.chain.check_time(now)


def peer(component: ComponentKind, pdi: bytes) -> ComponentID:
    """The identity of the device of this kind that others name by `pdi`."""
    prefixes = {device.component: device.prefix for device in DEVICES.values()}
    return ComponentID(kind=component, value=bytes([prefixes[component]]) + pdi)


def _chip(chain: VerifiedChain) -> str:
    leaf, brom, ica, identity, root = (_common_name(certificate) for certificate in chain.certificates)
    words = _WORD.fullmatch(leaf)
    if words is None or words[1] not in DEVICES:
        known = ", ".join(DEVICES)
        raise MalformedEvidence(Reason.UNSUPPORTED, f"nvidia leaf is {leaf[:64]!r}, want one of {known}")
    chip, stepping, engine = words.groups()
    device = DEVICES[chip]
    fits = (
        engine == device.engine
        and brom == f"{chip} {stepping} {engine} BROM"
        and re.fullmatch(rf"NVIDIA {chip} Provisioner ICA [0-9]{{1,8}}", ica) is not None
        and identity == f"NVIDIA {device.identity} Identity"
        and root == "NVIDIA Device Identity CA"
    )
    if not fits:
        raise NotGenuine(Reason.CHAIN_INVALID, f"nvidia chain names do not fit a {chip}, want all of one device")
    return chip


def _common_name(certificate: x509.Certificate) -> str:
    return _attribute(certificate, NameOID.COMMON_NAME)


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _check_signer(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise NotGenuine(Reason.CHAIN_INVALID, "nvidia leaf may not sign reports, want a key for signatures only")


def _serial(brom: x509.Certificate, device: Device) -> bytes:
    text = _attribute(brom, NameOID.SERIAL_NUMBER)
    serial = bytes.fromhex(text) if _SERIAL.fullmatch(text) else b""
    if not serial or serial[0] != device.prefix:
        want = f"9 bytes in hex after {device.prefix:02x}"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"nvidia device serial is of another form, want {want}")
    return serial


def _firmware(leaf: x509.Certificate, device: Device) -> FirmwareID:
    try:
        extension = leaf.extensions.get_extension_for_oid(device.fwid).value
    except x509.ExtensionNotFound:
        oid = device.fwid.dotted_string
        raise NotGenuine(Reason.CHAIN_INVALID, f"nvidia leaf has no extension {oid}, want its firmware id") from None
    assert isinstance(extension, x509.UnrecognizedExtension)  # the library has no class for either
    return read_tcb_info(extension.value) if device.fwid == TCB_INFO else read_composite_device_id(extension.value)
