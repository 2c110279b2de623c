# SPDX-License-Identifier: Apache-2.0
"""A DCAP quote as it arrives: header, report, signature and the chain of the key that certified it. Verifies nothing.

    quote v3 (SGX), v4 (TDX) = header body auth               quote v5 (TDX) = header u16 type u32 size body auth
    header (48)  = u16 version, u16 key type 2, u32 tee type, 4 bytes, 16 bytes of QE vendor, 20 bytes of user data
    tee type     = 0 SGX | 0x81 TDX            body type in v5 = 2 TD 1.0 (584 bytes) | 3 TD 1.5 (648 bytes)
    auth         = u32 size, 64 bytes signature, 64 bytes attestation key, certified
    certified v3 = qe
    certified v4, v5 = u16 6, u32 size, qe
    qe           = 384 bytes QE report, 64 bytes signature, u16 32, 32 bytes auth data, u16 5, u32 size,
                   PEM of PCK, CA and root

Little-endian; keys and signatures are big-endian pairs. The signature covers all bytes before `auth`. After `auth` only
zero bytes may follow: configfs returns quotes in buffers of fixed size. Every size must be used up exactly, and the PEM
must be the canonical spelling of its three certificates, then zero bytes. One byte of a quote is free: the newline that
ends the PEM may be missing or be a zero byte, as hosts count the end of the text differently.

Refused as unsupported, not as bad: other versions, tee types, body types (v5 type 4), key types, QE vendors, and
certification data other than a PCK chain. Source: Intel TDX DCAP Quote Generation Library, appendix A.3 and A.4; Intel
SGX ECDSA Quote Library Reference, appendix A.4.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.tee.certificates import read_pem_chain
from attestation.tee.dcap.reports import ENCLAVE_BYTES, TD10_BYTES, TD15_BYTES
from attestation.tee.reader import Reader

MAX_QUOTE_BYTES: Final = 64 << 10
"""Real quotes are about 5 KiB; configfs buffers are 8 KiB and 16 KiB."""

HEADER_BYTES: Final = 48
QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
AUTH_DATA_BYTES: Final = 32
_ECDSA_P256: Final = 2
_TEE_TYPES: Final = {0: TEEKind.SGX, 0x81: TEEKind.TDX}
_VERSIONS: Final = {TEEKind.SGX: (3,), TEEKind.TDX: (4, 5)}
_BODY_TYPES: Final = {2: TD10_BYTES, 3: TD15_BYTES}
_QE_CERTIFIED: Final = 6
_PCK_CHAIN: Final = 5
_CHAIN_LENGTH: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote's parts; `data` is the quote without padding, `signed` the bytes its signature covers."""

    kind: TEEKind
    version: int
    data: bytes
    signed: bytes
    body: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    pck_pem: bytes
    pck_chain: tuple[x509.Certificate, ...]

    @property
    def chain_sha256(self) -> bytes:
        """The digest of the PCK chain's bytes."""
        return hashlib.sha256(self.pck_pem).digest()


def read_quote(data: bytes, kind: TEEKind) -> Quote:
    """The quote of `kind` in exactly these bytes, padding aside. Raises `MalformedEvidence`."""
    if len(data) > MAX_QUOTE_BYTES:
        raise MalformedEvidence(Reason.MALFORMED, f"quote has {len(data)} bytes, want at most {MAX_QUOTE_BYTES}")
    reader = Reader(data, "quote")
    version = _read_header(reader, kind)
    body = reader.take(_body_size(reader, kind, version), "body")
    signed = data[: reader.offset]
    auth = Reader(reader.take(reader.little(4, "auth size"), "auth"), "quote auth")
    end = reader.offset
    if any(reader.take(reader.left, "padding")):
        raise reader.malformed("padding", "not zero", "zero bytes only")
    signature, key = auth.take(64, "signature"), auth.take(64, "attestation key")
    qe = _read_certified(auth) if version > 3 else auth
    qe_report, qe_signature = qe.take(ENCLAVE_BYTES, "qe report"), qe.take(64, "qe signature")
    qe_auth = qe.take(qe.little(2, "qe auth size"), "qe auth")
    if len(qe_auth) != AUTH_DATA_BYTES:
        raise qe.malformed("qe auth size", str(len(qe_auth)), str(AUTH_DATA_BYTES))
    pem, chain = _read_chain(qe)
    return Quote(
        kind=kind,
        version=version,
        data=data[:end],
        signed=signed,
        body=body,
        signature=signature,
        attestation_key=key,
        qe_report=qe_report,
        qe_signature=qe_signature,
        qe_auth=qe_auth,
        pck_pem=pem,
        pck_chain=chain,
    )


def _read_header(reader: Reader, kind: TEEKind) -> int:
    header = Reader(reader.take(HEADER_BYTES, "header"), "quote header")
    version, key_type, tee_type = header.little(2, "version"), header.little(2, "key type"), header.little(4, "tee")
    if version not in _VERSIONS[kind]:
        raise _unsupported("version", version, f"one of {_VERSIONS[kind]} for {kind.value}")
    if _TEE_TYPES.get(tee_type) is not kind:
        raise _unsupported("tee type", tee_type, f"that of {kind.value}")
    if key_type != _ECDSA_P256:
        raise _unsupported("attestation key type", key_type, f"{_ECDSA_P256} for ecdsa p-256")
    header.take(4, "svns")
    vendor = header.take(len(QE_VENDOR), "qe vendor")
    if vendor != QE_VENDOR:
        raise _unsupported("qe vendor", vendor.hex(), "intel's")
    return version


def _body_size(reader: Reader, kind: TEEKind, version: int) -> int:
    if version < 5:
        return ENCLAVE_BYTES if kind is TEEKind.SGX else TD10_BYTES
    body_type, size = reader.little(2, "body type"), reader.little(4, "body size")
    if body_type not in _BODY_TYPES:
        raise _unsupported("body type", body_type, "2 for td 1.0 or 3 for td 1.5")
    if size != _BODY_TYPES[body_type]:
        raise reader.malformed("body size", str(size), str(_BODY_TYPES[body_type]))
    return size


def _read_certified(auth: Reader) -> Reader:
    kind, size = auth.little(2, "certification type"), auth.little(4, "certification size")
    if kind != _QE_CERTIFIED:
        raise _unsupported("certification type", kind, f"{_QE_CERTIFIED} for a qe report")
    certified = Reader(auth.take(size, "certification data"), "quote certification data")
    auth.end()
    return certified


def _read_chain(qe: Reader) -> tuple[bytes, tuple[x509.Certificate, ...]]:
    kind, size = qe.little(2, "chain type"), qe.little(4, "chain size")
    if kind != _PCK_CHAIN:
        raise _unsupported("qe certification type", kind, f"{_PCK_CHAIN} for a pck chain in pem")
    pem = qe.take(size, "pck chain")
    qe.end()
    chain = read_pem_chain(pem, "pck chain")
    canonical = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain).rstrip(b"\n")
    tail = pem.removeprefix(canonical).rstrip(b"\0")
    if len(chain) != _CHAIN_LENGTH or not pem.startswith(canonical) or tail not in {b"", b"\n"}:
        raise qe.malformed("pck chain", "spelled otherwise", f"the canonical pem of {_CHAIN_LENGTH} certificates")
    return pem, chain


def _unsupported(field: str, got: int | str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.UNSUPPORTED, f"quote {field} is {got}, want {want}")
