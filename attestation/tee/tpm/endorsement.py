# SPDX-License-Identifier: Apache-2.0
"""Endorsement keys: the certificate a TPM's manufacturer gave it (TCG EK Credential Profile 2.5, section 3).

The certificate must be an EK certificate by its extended key usage, hold a key for encryption alone, and name the TPM's
manufacturer, model and version in a directory name of its subject alternative name. Its chain is put together from the
certificates of the collateral and ends in a self-signed one. Which of these roots are trusted is for the policy: there
are some hundred, and a verifier that pinned them would decide for the policy's author. The root's SHA-256 is a fact.

What is not checked: revocation where no list is offered (a fact says so), certificate policies, platform certificates.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.bundle import Collateral
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import (
    MAX_CHAIN,
    VerifiedChain,
    check_revocation,
    read_certificate,
    read_crl,
    verify_chain,
)
from attestation.tee.remembered import Remembered
from attestation.tee.tpm.algorithms import CURVES, unsupported
from attestation.tee.tpm.public import TPMKey

CERTIFICATE: Final = "tpm-certificate"
CRL: Final = "x509-crl"
MAX_CERTIFICATES: Final = 16
MAX_CRLS: Final = 8
_REMEMBERED: Final = 256
_NAME: Final = "tpm endorsement"
_EK_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
_DEVICE: Final = {
    "manufacturer": x509.ObjectIdentifier("2.23.133.2.1"),
    "model": x509.ObjectIdentifier("2.23.133.2.2"),
    "version": x509.ObjectIdentifier("2.23.133.2.3"),
}
_TEXT: Final = re.compile(r"[\x20-\x7e]{1,64}")
_RSA_BITS: Final = frozenset({2048, 3072, 4096})
_RSA_EXPONENT: Final = 65537
"""That of every default EK template. To others, and to even moduli, the library may fail to encrypt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsementKey:
    """The key of an EK certificate and whose TPM it says it is; unverified until its chain is."""

    certificate: x509.Certificate
    key: TPMKey
    manufacturer: str
    model: str
    version: str

    @property
    def identity(self) -> bytes:
        """SHA-256 of the public key (SubjectPublicKeyInfo): which TPM. It names a machine; never log it raw."""
        return hashlib.sha256(self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """An EK whose chain holds at the time asked for; `crl` is whether lists covered every certificate of it."""

    key: EndorsementKey
    root_sha256: bytes
    crl: bool
    expires: datetime


class Endorsements:
    """Verifies EK certificates and remembers their chains; whatever depends on the time is done at every call."""

    def __init__(self) -> None:
        self._chains: Remembered[tuple[EndorsementKey, VerifiedChain]] = Remembered(_REMEMBERED)

    def verify(self, certificate_der: bytes, collateral: Sequence[Collateral], now: datetime) -> Endorsement:
        """The endorsement of this certificate. Raises as `TPMVerifier.verify`."""
        if not certificate_der:
            raise _missing("no ek certificate")
        issuers = _offered(collateral, CERTIFICATE, MAX_CERTIFICATES)
        digest = hashlib.sha256(b"".join(hashlib.sha256(der).digest() for der in (certificate_der, *issuers))).digest()
        key, chain = self._chains.get(digest, lambda: _chain(certificate_der, issuers))
        chain.check_time(now)
        lists = [read_crl(der, _NAME) for der in _offered(collateral, CRL, MAX_CRLS)]
        ends = [end for link in pairwise(chain.certificates) for end in _unrevoked(link, lists, now)]
        return Endorsement(
            key=key,
            root_sha256=chain.root_sha256,
            crl=len(ends) == len(chain.certificates) - 1,
            expires=min([chain.not_after, *ends]),
        )


def read_endorsement_key(certificate_der: bytes) -> EndorsementKey:
    """The key of an EK certificate, without its chain.

    Raises:
        MalformedEvidence: no certificate, or no RSA key at all; UNSUPPORTED for a kind of key, or an exponent, that no
            default EK template has.
        NotGenuine: CHAIN_INVALID for a certificate that is none of an EK.
    """
    certificate = read_certificate(certificate_der, f"{_NAME} certificate")
    key = certificate.public_key()
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        raise unsupported(f"{_NAME} key", type(key).__name__, "rsa or ecc")
    _check_key(key)
    _check_usage(certificate, key)
    names = _device(certificate)
    return EndorsementKey(certificate=certificate, key=key, **names)


def _check_key(key: TPMKey) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise unsupported(f"{_NAME} key", f"rsa-{key.key_size}", "rsa-2048, 3072 or 4096")
        numbers = key.public_numbers()
        if numbers.e != _RSA_EXPONENT:
            raise unsupported(f"{_NAME} key", "of another rsa exponent", str(_RSA_EXPONENT))
        if numbers.n % 2 == 0:
            raise MalformedEvidence(Reason.MALFORMED, f"{_NAME} key is of an even rsa modulus, want an odd one")
    elif key.curve.name not in {curve.name for curve in CURVES.values()}:
        raise unsupported(f"{_NAME} key", key.curve.name, "p-256 or p-384")


def _check_usage(certificate: x509.Certificate, key: TPMKey) -> None:
    found = [extension.value for extension in certificate.extensions]
    extended = [value for value in found if isinstance(value, x509.ExtendedKeyUsage)]
    if not extended or _EK_USAGE not in extended[0]:
        raise _invalid("extended key usage", "without tcg-kp-EKCertificate", "an ek certificate's")
    usage = next((value for value in found if isinstance(value, x509.KeyUsage)), None)
    wanted = "key_encipherment" if isinstance(key, rsa.RSAPublicKey) else "key_agreement"
    if usage is None or not getattr(usage, wanted) or usage.digital_signature or usage.key_cert_sign:
        raise _invalid("key usage", "of another purpose", f"{wanted} and no signing")
    if any(isinstance(value, x509.BasicConstraints) and value.ca for value in found):
        raise _invalid("basic constraints", "those of a ca", "those of an end entity")


def _device(certificate: x509.Certificate) -> dict[str, str]:
    """Manufacturer, model and version as the certificate spells them, `id:00001014` for example."""
    extension = next((e for e in certificate.extensions if isinstance(e.value, x509.SubjectAlternativeName)), None)
    if extension is None or not (extension.critical or certificate.subject.rdns):
        raise _invalid("subject alternative name", "missing, or not critical beside an empty subject", "the tpm's")
    names = extension.value.get_values_for_type(x509.DirectoryName)
    if len(names) != 1:
        raise _invalid("subject alternative name", f"of {len(names)} directory names", "of one")
    return {field: _attribute(names[0], oid, field) for field, oid in _DEVICE.items()}


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier, field: str) -> str:
    values = [str(attribute.value) for attribute in name.get_attributes_for_oid(oid)]
    if len(values) != 1 or not _TEXT.fullmatch(values[0]):
        raise _invalid(f"tpm {field}", "missing or no plain text", "1..64 printable characters, once")
    return values[0]


def _chain(certificate_der: bytes, issuers: Sequence[bytes]) -> tuple[EndorsementKey, VerifiedChain]:
    key = read_endorsement_key(certificate_der)
    pool = [read_certificate(der, f"{CERTIFICATE} collateral") for der in issuers]
    chain = [key.certificate]
    while chain[-1].subject != chain[-1].issuer or len(chain) == 1:
        if len(chain) == MAX_CHAIN:
            raise NotGenuine(Reason.CHAIN_INVALID, f"{_NAME} chain is longer than {MAX_CHAIN}, want a root by then")
        chain.append(_issuer(chain[-1], pool))
    root = chain[-1].fingerprint(SHA256())  # any root: the policy decides which are trusted
    return key, verify_chain(chain, roots={root}, name=_NAME)


def _issuer(certificate: x509.Certificate, pool: Sequence[x509.Certificate]) -> x509.Certificate:
    named = [candidate for candidate in pool if candidate.subject == certificate.issuer]
    # A cross-signed issuer may come twice; the self-signed one ends the chain.
    for candidate in sorted(named, key=lambda one: one.subject != one.issuer):
        try:
            certificate.verify_directly_issued_by(candidate)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return candidate
    if named:
        raise _invalid("chain", "not signed by the issuer it names", "each certificate signed by the next")
    raise _missing("chain without the issuer of a certificate")


def _unrevoked(
    link: tuple[x509.Certificate, x509.Certificate], lists: Sequence[x509.CertificateRevocationList], now: datetime
) -> Sequence[datetime]:
    """Until when the issuer's list says that the certificate is not revoked; nothing if no list is the issuer's."""
    certificate, issuer = link
    own = [crl for crl in lists if crl.issuer == issuer.subject]
    return [min(check_revocation(certificate, crl, issuer, now=now, name=_NAME) for crl in own)] if own else []


def _offered(collateral: Sequence[Collateral], kind: str, most: int) -> list[bytes]:
    found = [item.data for item in collateral if item.kind == kind]
    if len(found) > most:
        raise MalformedEvidence(Reason.MALFORMED, f"collateral {kind} is {len(found)} items, want at most {most}")
    return found


def _missing(got: str) -> CollateralUnavailable:
    want = f"the ek certificate and its issuers as {CERTIFICATE}"
    return CollateralUnavailable(Reason.ENDORSEMENT_MISSING, f"{_NAME} is {got}, want {want}")


def _invalid(field: str, got: str, want: str) -> NotGenuine:
    return NotGenuine(Reason.CHAIN_INVALID, f"{_NAME} {field} is {got}, want {want}")
