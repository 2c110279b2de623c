# SPDX-License-Identifier: Apache-2.0
"""What a file is that an auditor hands over: evidence of some kind, an endorsement, or something that only accompanies.

Told by the bytes, and only where they say nothing by the name. Nothing is verified here: a file that looks like a quote
is handed to the verifier of quotes, which says whether it is one. Bytes that look like nothing known are unknown, not
malformed, unless the name claims a kind.

    evidence    TDX and SGX quotes, SEV-SNP reports, SPDM reports of GPUs and switches, RA-TLS certificates
    collateral  Intel's JSON, AMD and NVIDIA certificates, RIM XML, OCSP responses (DER or base64), CRLs, event logs
    recorded    Azure's paravisor reports, vTPM quotes, bare TPM quotes and their keys (`attestation.audit.vtpm`)
    bundle      an archived `EvidenceBundle` (docs/spec.md, 3.9)
    beside      meta.json, raw answers and texts: read where a capture needs them, never judged
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from attestation.audit.ra_tls import carries_quote, quote_in
from attestation.audit.vtpm import Form, form_of
from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence
from attestation.tee.certificates import der_of, read_certificate, read_crl, read_pem_chain

QUOTE_FORMATS: Final = {TEEKind.TDX: "tdx-quote", TEEKind.SGX: "sgx-quote"}
SNP_FORMAT: Final = "snp-report"
GPU_FORMAT: Final = "nvidia-spdm-1.1"
SWITCH_FORMAT: Final = "nvidia-switch-spdm-1.1"

_INTEL_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_SNP_BYTES: Final = 0x4A0
_SWITCH_BLOCKS: Final = 31
_EVENT_LOG: Final = b"Spec ID Event03"
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\s]{64,}={0,2}\s*")
_NAMES: Final = (
    (re.compile(r"tdx.*quote"), TEEKind.TDX),
    (re.compile(r"sgx.*quote"), TEEKind.SGX),
    (re.compile(r"snp.*report"), TEEKind.SNP),
    (re.compile(r"gpu\d*\.report"), TEEKind.NVIDIA_GPU),
    (re.compile(r"switch\d*\.report"), TEEKind.NVIDIA_SWITCH),
)
_FORMATS: Final = {
    **QUOTE_FORMATS,
    TEEKind.SNP: SNP_FORMAT,
    TEEKind.NVIDIA_GPU: GPU_FORMAT,
    TEEKind.NVIDIA_SWITCH: SWITCH_FORMAT,
}


class Beside(StrEnum):
    """Files that accompany evidence and are never judged."""

    META = "meta"
    DOCUMENT = "document"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What one file is. `committed` is what its evidence's report data must begin with, for RA-TLS certificates."""

    name: str
    evidence: Evidence | None = None
    collateral: tuple[Collateral, ...] = ()
    recorded: tuple[Form, bytes] | None = None
    beside: Beside | None = None
    bundle: bytes | None = None
    committed: bytes | None = None
    key_named: bool = True


def recognise(name: str, data: bytes) -> Recognised:
    """What the file called `name` is. Never raises: what nobody knows is `Beside.UNKNOWN`."""
    for test in _TESTS:
        found = test(name, data)
        if found is not None:
            return found
    return Recognised(name=name, beside=Beside.UNKNOWN)


_BUNDLE: Final = b"sealbid/bundle/1"


def _bundle(name: str, data: bytes) -> Recognised | None:
    # Key 0 and its label lead every structure of ours.
    return Recognised(name=name, bundle=data) if _BUNDLE in data[: len(_BUNDLE) + 4] else None


def _quote(name: str, data: bytes) -> Recognised | None:
    if data[12:28] != _INTEL_VENDOR:
        return None
    # Version 3 knows SGX alone and reserves the field that later says which.
    trusted_domain = int.from_bytes(data[:2], "little") > 3 and data[4:8] == b"\x81\0\0\0"
    return _evidence(name, TEEKind.TDX if trusted_domain else TEEKind.SGX, data)


def _recorded(name: str, data: bytes) -> Recognised | None:
    form = form_of(data)
    return None if form is None else Recognised(name=name, recorded=(form, data))


def _snp(name: str, data: bytes) -> Recognised | None:
    ecdsa = data[0x34:0x38] == b"\x01\0\0\0"
    return _evidence(name, TEEKind.SNP, data) if len(data) == _SNP_BYTES and ecdsa else None


def _device(name: str, data: bytes) -> Recognised | None:
    if data[:2] != b"\x11\xe0" or data[37:39] != b"\x11\x60":
        return None
    blocks = data[41] if len(data) > 41 else 0
    return _evidence(name, TEEKind.NVIDIA_SWITCH if blocks == _SWITCH_BLOCKS else TEEKind.NVIDIA_GPU, data)


def _xml(name: str, data: bytes) -> Recognised | None:
    return _endorsement(name, "nvidia-rim", data) if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<" else None


def _json(name: str, data: bytes) -> Recognised | None:
    start = data.lstrip()[:1]
    if start not in (b"{", b"["):
        return None
    if b'"tcb_info"' in data and b'"qe_identity"' in data:
        return _endorsement(name, "intel-dcap-json", data)
    if start == b"[" and b'"imr"' in data:
        return _endorsement(name, "event-log-dstack", data)
    known = name in ("meta.json", "gpu_raw.json")
    return Recognised(name=name, beside=Beside.META) if known else None


def _event_log(name: str, data: bytes) -> Recognised | None:
    return _endorsement(name, "event-log-tcg2", data) if data[32 : 32 + len(_EVENT_LOG)] == _EVENT_LOG else None


def _pem(name: str, data: bytes) -> Recognised | None:
    if not data.lstrip().startswith(b"-----BEGIN CERTIFICATE-----"):
        return None
    try:
        chain = read_pem_chain(data, name)
    except MalformedEvidence:
        return Recognised(name=name, beside=Beside.UNKNOWN)
    if _subject(chain[0], NameOID.ORGANIZATION_NAME).startswith("NVIDIA"):
        return _endorsement(name, "nvidia-chain", data)
    if len(chain) == 1:
        return _certificate(name, chain[0])
    kind = _certificate_kind(chain[0])
    return Recognised(name=name, collateral=tuple(Collateral(kind=kind, data=der_of(one)) for one in chain))


def _der(name: str, data: bytes) -> Recognised | None:
    if data[:1] != b"\x30":
        return None
    if _is_ocsp(data):
        return _endorsement(name, "nvidia-ocsp", data)
    try:
        return _certificate(name, read_certificate(data, name))
    except MalformedEvidence:
        pass
    try:
        issuers = read_crl(data, name).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except MalformedEvidence:
        return None
    amd = any(str(issuer.value).startswith(("ARK-", "SEV-")) for issuer in issuers)
    return _endorsement(name, "amd-crl" if amd else "x509-crl", data)


def _base64(name: str, data: bytes) -> Recognised | None:
    if not _BASE64.fullmatch(data):
        return None
    try:
        inner = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return None
    return _endorsement(name, "nvidia-ocsp", inner) if _is_ocsp(inner) else None


def _document(name: str, data: bytes) -> Recognised | None:
    text = name.lower().endswith((".md", ".txt")) and b"\0" not in data
    return Recognised(name=name, beside=Beside.DOCUMENT) if text else None


def _named(name: str, data: bytes) -> Recognised | None:
    kind = next((kind for pattern, kind in _NAMES if pattern.search(name.lower())), None)
    return None if kind is None or not data else _evidence(name, kind, data)


_TESTS: Final[tuple[Callable[[str, bytes], Recognised | None], ...]] = (
    _bundle,
    _quote,
    _device,
    _event_log,
    _recorded,
    _snp,
    _pem,
    _der,
    _document,
    _json,
    _xml,
    _base64,
    _named,
)
"""In this order: from the marks that cannot be mistaken to the names."""


def _evidence(name: str, kind: TEEKind, data: bytes) -> Recognised:
    return Recognised(name=name, evidence=Evidence(kind=kind, format=_FORMATS[kind], data=data))


def _endorsement(name: str, kind: str, data: bytes) -> Recognised:
    return Recognised(name=name, collateral=(Collateral(kind=kind, data=data),))


def _certificate(name: str, certificate: x509.Certificate) -> Recognised:
    if not carries_quote(certificate):
        return _endorsement(name, _certificate_kind(certificate), der_of(certificate))
    try:
        carried = quote_in(certificate)
    except MalformedEvidence:
        return Recognised(name=name, beside=Beside.UNKNOWN)
    inner = _quote(name, carried.quote)
    if inner is None:
        return Recognised(name=name, beside=Beside.UNKNOWN)
    return Recognised(name=name, evidence=inner.evidence, committed=carried.report_data, key_named=carried.names_key)


def _certificate_kind(certificate: x509.Certificate) -> str:
    # AMD calls its authorities ARK-<product> and SEV-<product>, and its leaves SEV-VCEK and SEV-VLEK.
    amd = _subject(certificate, NameOID.COMMON_NAME).startswith(("ARK-", "SEV-"))
    return "amd-certificate" if amd else "tpm-certificate"


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    names = certificate.subject.get_attributes_for_oid(oid)
    return str(names[0].value) if names else ""


def _is_ocsp(data: bytes) -> bool:
    """True for SEQUENCE { responseStatus ENUMERATED, .. }, which no certificate or list begins with."""
    try:
        long = data[1] & 0x80
        return data[:1] == b"\x30" and data[2 + (data[1] & 0x7F if long else 0)] == 0x0A
    except IndexError:
        return False
