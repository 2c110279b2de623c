# SPDX-License-Identifier: Apache-2.0
"""Recordings of Azure's vTPM and of bare TPM quotes, in the forms in which others keep them.

    paravisor report   "HCLA" ..            as in the vTPM's NV index 0x01400001 (`attestation.tee.azure_hcl.hcl`)
    vTPM quote         size u64, signature, size u64, TPMS_ATTEST, count u64, count x SHA-256 PCR value; little-endian,
                       RSASSA over SHA-256                                                  (azure-cvm-tooling)
    bare attest        TPMS_ATTEST without signature and key
    public key         SubjectPublicKeyInfo in PEM: an attestation key, of whoever says so

A paravisor's report and a vTPM quote in one folder are judged as the evidence they are in admission ("azure-hcl-v1").
By itself a report is as genuine as its hardware's, and a quote stays undecided at best: its signature can be refuted,
but without an EK certificate or a paravisor's report that names its key nothing says that a TPM made it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.codec.labels import equal
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT, AzureHCLEvidence
from attestation.tee.azure_hcl.hcl import read_hcl
from attestation.tee.azure_hcl.runtime import read_runtime_data
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.interface import Verifier
from attestation.tee.reader import Reader
from attestation.tee.tpm.attest import PCR_COUNT, read_quote
from attestation.tee.tpm.pcrs import check_pcrs
from attestation.tee.tpm.public import TPMKey
from attestation.tee.tpm.signature import TPMSignature, check_signature

_RSASSA_SHA256: Final = b"\x00\x14\x00\x0b"
_PCR_BYTES: Final = 32
_MAX_FIELD: Final = 1024
_QUOTE_MAGIC: Final = b"\xff\x54\x43\x47\x80\x18"
_MAX_PEM: Final = 4096


class Form(StrEnum):
    """The recorded forms."""

    PARAVISOR_REPORT = "azure-hcl-report"
    VTPM_QUOTE = "azure-vtpm-quote"
    ATTEST = "tpms-attest"
    PUBLIC_KEY = "public-key"


def form_of(data: bytes) -> Form | None:
    """Which of the forms these bytes begin like."""
    if data[:4] == b"HCLA":
        return Form.PARAVISOR_REPORT
    if data[:6] == _QUOTE_MAGIC:
        return Form.ATTEST
    if data.lstrip().startswith(b"-----BEGIN PUBLIC KEY-----"):
        return Form.PUBLIC_KEY
    attest = 16 + int.from_bytes(data[:8], "little")
    return Form.VTPM_QUOTE if attest <= 16 + _MAX_FIELD and data[attest : attest + 6] == _QUOTE_MAGIC else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedQuote:
    """A vTPM quote as recorded."""

    signature: bytes
    attest: bytes
    values: tuple[bytes, ...]


def read_recorded_quote(data: bytes) -> RecordedQuote:
    """The quote of exactly these bytes. Raises `MalformedEvidence`."""
    reader = Reader(data, "vtpm quote")
    signature, attest = (_sized(reader, field) for field in ("signature", "attest"))
    count = reader.little(8, "pcr count")
    if count > PCR_COUNT:
        raise reader.malformed("pcr count", str(count), f"at most {PCR_COUNT}")
    values = tuple(reader.take(_PCR_BYTES, "pcr value") for _ in range(count))
    reader.end()
    return RecordedQuote(signature=signature, attest=attest, values=values)


def as_admitted(report: bytes, quote: bytes, td_quote: bytes) -> Evidence:
    """Report and quote of one VM as the evidence they are in admission. Raises `MalformedEvidence`."""
    recorded = read_recorded_quote(quote)
    selected = read_quote(recorded.attest).pcrs
    if len(selected) != len(recorded.values):
        got = f"{len(recorded.values)} values for {len(selected)} registers"
        raise MalformedEvidence(Reason.MALFORMED, f"vtpm quote has {got}, want one for each")
    parts = AzureHCLEvidence(
        hcl_report=report,
        attest=recorded.attest,
        signature=_RSASSA_SHA256 + len(recorded.signature).to_bytes(2, "big") + recorded.signature,
        pcrs=dict(zip(selected, recorded.values, strict=True)),
        td_quote=td_quote,
    )
    return Evidence(kind=TEEKind.AZURE_HCL, format=EVIDENCE_FORMAT, data=parts.encode())


def verify_report(
    verifier: Verifier, data: bytes, collateral: Sequence[Collateral], *, now: datetime
) -> EvidenceClaims:
    """What the hardware under a paravisor's report says. Raises as `AzureHCLVerifier.verify_hardware`."""
    report = read_hcl(data)
    if not isinstance(verifier, AzureHCLVerifier):
        raise MalformedEvidence(Reason.UNSUPPORTED, "evidence kind is azure-hcl, want one there is a verifier for")
    return verifier.verify_hardware(report, b"", collateral, now=now)


def refute_quote(data: bytes, keys: Iterable[TPMKey], nonce: bytes | None) -> NoReturn:
    """Looks for what disproves a quote that stands alone; it can never be shown to be genuine.

    Raises:
        MalformedEvidence: it does not parse.
        NotGenuine: NONCE_MISMATCH; SIGNATURE_INVALID if none of `keys` signed it, or it is not of these PCR values.
        CollateralUnavailable: ENDORSEMENT_MISSING, otherwise.
    """
    bare = form_of(data) is Form.ATTEST
    recorded = RecordedQuote(signature=b"", attest=data, values=()) if bare else read_recorded_quote(data)
    quote = read_quote(recorded.attest)
    if nonce is not None and not equal(quote.extra_data, nonce):
        message = f"tpm quote extra data is {quote.extra_data.hex()}, want {nonce.hex()}"
        raise NotGenuine(Reason.NONCE_MISMATCH, message)
    missing = "ek certificate is missing, want one that ties the key to a tpm"
    if bare:
        missing = "signature and key are missing, want the whole quote"
    elif not (offered := list(keys)):
        missing = "attestation key is missing, want it with what ties it to a tpm"
    else:
        _check(recorded, offered)
        check_pcrs(quote, dict(zip(quote.pcrs, recorded.values, strict=False)), "sha256")
    raise CollateralUnavailable(Reason.ENDORSEMENT_MISSING, missing)


def keys_in(form: Form, data: bytes) -> Iterator[TPMKey]:
    """The attestation keys a recording names: a public key's own, a paravisor report's; none in what does not parse."""
    try:
        if form is Form.PARAVISOR_REPORT:
            yield read_runtime_data(read_hcl(data).runtime_data).key
        elif form is Form.PUBLIC_KEY:
            yield from _public_key(data)
    except MalformedEvidence:
        return


def _public_key(data: bytes) -> Iterator[TPMKey]:
    if len(data) > _MAX_PEM:
        return
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return
    if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        yield key


def _check(recorded: RecordedQuote, keys: Sequence[TPMKey]) -> None:
    signature = TPMSignature(scheme="rsassa", algorithm="sha256", data=recorded.signature)
    for key in keys[:-1]:
        try:
            return check_signature(signature, key, recorded.attest, "vtpm quote")
        except NotGenuine:
            continue
    return check_signature(signature, keys[-1], recorded.attest, "vtpm quote")


def _sized(reader: Reader, field: str) -> bytes:
    size = reader.little(8, f"{field} size")
    if not 0 < size <= _MAX_FIELD:
        raise reader.malformed(f"{field} size", str(size), f"1..{_MAX_FIELD}")
    return reader.take(size, field)
