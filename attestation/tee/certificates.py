# SPDX-License-Identifier: Apache-2.0
"""X.509 chains of TEE vendors: read within bounds, verified to a root that is known by its SHA-256 (RFC 5280).

A chain is leaf first. Each certificate must be signed by the next, name it as issuer, be within its validity at the
given time, and every issuer must be a CA that may sign certificates. The last is self-signed and its DER's SHA-256 is
among the roots given. Revocation is a separate step (`check_revocation`), because vendors publish it separately.

What is not checked: name constraints and policies, which none of these vendors uses; a critical extension that is not
named by the caller or understood here refuses the chain.
"""

import base64
import binascii
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from threading import RLock
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason

MAX_CERTIFICATE_BYTES: Final = 16 << 10
MAX_CHAIN: Final = 8
MAX_PEM_BYTES: Final = MAX_CHAIN * 2 * MAX_CERTIFICATE_BYTES
MAX_CRL_BYTES: Final = 4 << 20
MAX_RSA_BITS: Final = 4096
"""No vendor's keys are larger, and one check under the largest the library takes costs four milliseconds."""

_FILTERS: Final = RLock()
_SKEW: Final = timedelta(minutes=5)
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for bytes that are no certificate or revocation list."""

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_NAME_LENGTHS: Final = {
    NameOID.COUNTRY_NAME: (2, 2),
    NameOID.JURISDICTION_COUNTRY_NAME: (2, 2),
    NameOID.COMMON_NAME: (1, 64),
}
_UNDERSTOOD_IN_LISTS: Final = frozenset({ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """A chain whose signatures hold up to a pinned root; `check_time` asks for its validity at every use."""

    name: str
    certificates: tuple[x509.Certificate, ...]
    root_sha256: bytes
    not_before: datetime
    not_after: datetime

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate whose key signed the evidence."""
        return self.certificates[0]

    def check_time(self, now: datetime) -> None:
        """Raises `NotGenuine` (CERTIFICATE_EXPIRED) unless every certificate is valid at `now`."""
        if not self.not_before <= now <= self.not_after:
            got = f"valid {self.not_before:%Y-%m-%d} to {self.not_after:%Y-%m-%d}"
            raise NotGenuine(Reason.CERTIFICATE_EXPIRED, f"{self.name} chain is {got}, want valid at {now:%Y-%m-%d}")


@contextmanager
def quietly() -> Iterator[None]:
    """Without the library's warnings: every AMD VCEK has serial number 0, of which it warns, as it does of odd names.

    Filters are the whole process's, so one thread at a time sets and restores them.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def read_certificate(der: bytes, name: str) -> x509.Certificate:
    """One DER certificate of at most 16 KiB. Raises `MalformedEvidence` for anything else, also for bytes after it, and
    UNSUPPORTED for a key of another type than RSA and EC, or larger than any vendor's."""
    if not 0 < len(der) <= MAX_CERTIFICATE_BYTES:
        raise _malformed(name, f"{len(der)} bytes", f"1..{MAX_CERTIFICATE_BYTES}")
    try:
        with quietly():
            certificate = x509.load_der_x509_certificate(der)
            key = _read_lazy_parts(certificate)
    except _UNREADABLE as error:
        raise _malformed(name, f"no certificate ({type(error).__name__})", "one DER certificate") from None
    except UnsupportedAlgorithm:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"{name} is of an unknown key type, want RSA or EC") from None
    if isinstance(key, RSAPublicKey) and key.key_size > MAX_RSA_BITS:
        message = f"{name} key is rsa of {key.key_size} bits, want at most {MAX_RSA_BITS}"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    _check_whole_bytes(der, certificate.signature, name)
    return certificate


def read_pem_chain(data: bytes, name: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text, in its order, 1..8. Text around the blocks is refused but for white space."""
    if len(data) > MAX_PEM_BYTES:
        raise _malformed(name, f"{len(data)} bytes", f"at most {MAX_PEM_BYTES}")
    data = data.rstrip(b"\0")
    blocks = _PEM.findall(data)
    if not 0 < len(blocks) <= MAX_CHAIN or _PEM.sub(b"", data).strip():
        raise _malformed(name, f"{len(blocks)} PEM certificates or other text", f"1..{MAX_CHAIN} certificates only")
    return tuple(read_certificate(_der(block, name), name) for block in blocks)


def verify_chain(
    chain: Sequence[x509.Certificate],
    *,
    roots: Collection[bytes],
    name: str,
    critical: Collection[x509.ObjectIdentifier] = (),
) -> VerifiedChain:
    """The chain, leaf first and root last, if every signature holds; `critical` names extensions the caller reads.

    Raises:
        NotGenuine: CHAIN_INVALID for a link that does not hold, ROOT_REFUSED for a root not in `roots` (DER SHA-256).
    """
    if not 1 < len(chain) <= MAX_CHAIN:
        raise NotGenuine(Reason.CHAIN_INVALID, f"{name} chain is {len(chain)} long, want 2..{MAX_CHAIN}")
    root = chain[-1].fingerprint(SHA256())
    if root not in roots:
        raise NotGenuine(Reason.ROOT_REFUSED, f"{name} root is {root.hex()}, want a pinned one")
    for place, (certificate, issuer) in enumerate(pairwise((*chain, chain[-1]))):
        _check_link(certificate, issuer, name)
        _check_extensions(certificate, name, critical, below=place)
    return VerifiedChain(
        name=name,
        certificates=tuple(chain),
        root_sha256=root,
        not_before=max(certificate.not_valid_before_utc for certificate in chain),
        not_after=min(certificate.not_valid_after_utc for certificate in chain),
    )


def der_of(certificate: x509.Certificate) -> bytes:
    """The certificate's DER bytes."""
    return certificate.public_bytes(Encoding.DER)


def read_crl(der: bytes, name: str) -> x509.CertificateRevocationList:
    """One DER revocation list of at most 4 MiB. Raises `MalformedEvidence`."""
    if not 0 < len(der) <= MAX_CRL_BYTES:
        raise _malformed(name, f"{len(der)} bytes", f"1..{MAX_CRL_BYTES}")
    try:
        with quietly():
            crl = x509.load_der_x509_crl(der)
            _ = crl.extensions, crl.last_update_utc, crl.next_update_utc  # parsed when they are asked for
            issuer = crl.issuer
    except _UNREADABLE as error:
        raise _malformed(name, f"no revocation list ({type(error).__name__})", "one DER revocation list") from None
    _check_whole_bytes(der, crl.signature, name)
    if not is_plain(issuer):
        raise _malformed(f"{name} issuer", "of an odd name", "one of the lengths that X.520 allows")
    return crl


def is_plain(name: x509.Name) -> bool:
    """Whether the library reads the name without a warning: those of lists and responses it reads anew at each look."""
    return all(
        least <= len(str(attribute.value).encode()) <= most
        for attribute in name
        for least, most in [_NAME_LENGTHS.get(attribute.oid, (0, MAX_CRL_BYTES))]
    )


def check_revocation(
    certificate: x509.Certificate,
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    *,
    now: datetime,
    name: str,
) -> datetime:
    """Until when `crl`, issued by `issuer` and current at `now`, says that `certificate` is not revoked.

    Raises:
        NotGenuine: CHAIN_INVALID if the list is not the issuer's, CERTIFICATE_REVOKED if the certificate is on it.
        CollateralUnavailable: COLLATERAL_EXPIRED if the list is not current at `now`.
        MalformedEvidence: UNSUPPORTED for a list that says nothing of such a certificate (RFC 5280, 5.2): a delta, one
            for other certificates or for some reasons only, one with a critical extension unknown here.
    """
    if crl.issuer != issuer.subject or not _signed(crl, issuer):
        raise NotGenuine(Reason.CHAIN_INVALID, f"{name} revocation list is not signed by its issuer, want such")
    ends = crl.next_update_utc
    if ends is None or not crl.last_update_utc - _SKEW <= now <= ends:
        message = f"{name} revocation list is outside its validity, want one current at {now:%Y-%m-%d}"
        raise CollateralUnavailable(Reason.COLLATERAL_EXPIRED, message)
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise NotGenuine(Reason.CERTIFICATE_REVOKED, f"{name} certificate is revoked, want one that is not")
    if not all(_speaks_of(certificate, extension) for extension in crl.extensions):
        message = f"{name} revocation list is of a part only, want a whole one for such certificates"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    return ends


def _speaks_of(certificate: x509.Certificate, extension: x509.Extension[x509.ExtensionType]) -> bool:
    """Whether a list with this extension is about `certificate` as a list without it would be."""
    scope = extension.value
    if not isinstance(scope, x509.IssuingDistributionPoint):
        harmless = not extension.critical or extension.oid in _UNDERSTOOD_IN_LISTS
        return harmless and not isinstance(scope, x509.DeltaCRLIndicator)
    partial = scope.indirect_crl or scope.only_contains_attribute_certs or scope.only_some_reasons
    wrong_kind = scope.only_contains_user_certs if _is_ca(certificate) else scope.only_contains_ca_certs
    return not partial and not wrong_kind and _is_of(certificate, scope)


def _is_of(certificate: x509.Certificate, scope: x509.IssuingDistributionPoint) -> bool:
    """Whether the certificate points at the place the list was issued for, if either says where that is."""
    points = [e.value for e in certificate.extensions if isinstance(e.value, x509.CRLDistributionPoints)]
    if not points or scope.full_name is None:
        return scope.relative_name is None
    return not set(scope.full_name).isdisjoint(name for point in points[0] for name in point.full_name or ())


def _read_lazy_parts(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    # The library parses these when they are asked for; malformed ones must fail here, under this certificate's name.
    key = certificate.public_key()
    _ = certificate.extensions, certificate.subject, certificate.issuer
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _ = certificate.signature_hash_algorithm
    return key


def _check_whole_bytes(der: bytes, signature: bytes, name: str) -> None:
    # The signature is a BIT STRING and comes last. Its count of unused bits, the octet before it, is covered by nothing
    # and overlooked by the library: were it free, one certificate could be written in several ways.
    if der[-len(signature) - 1]:
        raise _malformed(name, "signed with a part of a byte", "a signature of whole bytes")


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate, name: str) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        got = "not signed by the next certificate"
        raise NotGenuine(Reason.CHAIN_INVALID, f"{name} chain is {got}, want each signed by the next") from None


def _check_extensions(
    certificate: x509.Certificate, name: str, critical: Collection[x509.ObjectIdentifier], *, below: int
) -> None:
    # `below` is how many certificates of the chain stand under this one: 0 for the leaf.
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD and extension.oid not in critical:
            oid = extension.oid.dotted_string
            raise NotGenuine(Reason.CHAIN_INVALID, f"{name} critical extension is {oid}, want only understood ones")
        value = extension.value
        if below and isinstance(value, x509.BasicConstraints):
            limit = value.path_length
            if not value.ca or (limit is not None and below - 1 > limit):
                raise NotGenuine(Reason.CHAIN_INVALID, f"{name} issuer is no CA for this chain, want a CA")
        if below and isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            raise NotGenuine(Reason.CHAIN_INVALID, f"{name} issuer may not sign certificates, want keyCertSign")
    if below and not _has_basic_constraints(certificate):
        raise NotGenuine(Reason.CHAIN_INVALID, f"{name} issuer has no basic constraints, want a CA")


def _is_ca(certificate: x509.Certificate) -> bool:
    return any(isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in certificate.extensions)


def _has_basic_constraints(certificate: x509.Certificate) -> bool:
    return any(isinstance(extension.value, x509.BasicConstraints) for extension in certificate.extensions)


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # other key types raise
    except (TypeError, ValueError, InvalidSignature):
        return False


def _der(block: bytes, name: str) -> bytes:
    body = b"".join(block.splitlines()[1:-1]).replace(b" ", b"")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise _malformed(name, "PEM that is not base64", "certificates") from None


def _malformed(name: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"{name} is {got}, want {want}")
