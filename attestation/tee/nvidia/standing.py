# SPDX-License-Identifier: Apache-2.0
"""The standing of a chain's certificates: what the stored OCSP responses and revocation lists among the collateral say.

For each certificate the statements about it are gathered. One that says "revoked" at or before `now` refuses the chain,
however old the statement is; otherwise the newest statement issued by then decides. The worst certificate decides for
the chain. A statement about a certificate of the chain that is not by its issuer is refused, never skipped; one about
other certificates is not looked at.

Not covered: the leaf of a device chain, about which NVIDIA states nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import der_of, read_crl
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.remembered import Remembered

OCSP_KIND: Final = "nvidia-ocsp"
CRL_KIND: Final = "x509-crl"
MAX_STATEMENTS: Final = 256
"""OCSP responses and revocation lists in one bundle: three of each device's chain and of each manifest's."""

MAX_REMEMBERED_LIST: Final = 64 << 10
"""Larger lists are read anew: anybody may send some, and NVIDIA's hold next to nothing."""

_REMEMBERED_LISTS: Final = 256
_SKEW: Final = timedelta(minutes=5)


class Standing(StrEnum):
    """From best to worst, as facts state it."""

    GOOD = "good"
    EXPIRED = "expired"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    HOLD = "hold"


_ORDER: Final = tuple(Standing)
_ON_HOLD: Final = (ocsp.OCSPCertStatus.REVOKED, x509.ReasonFlags.certificate_hold)


class Stand(NamedTuple):
    """A standing and, if it is good, until when it is stated."""

    standing: Standing
    until: datetime | None


ABSENT: Final = Stand(Standing.ABSENT, None)


def worst_of(stands: Sequence[Stand]) -> Stand:
    """The worst of some, with the earliest end if all are good; ABSENT of none."""
    worst = max(stands, key=lambda stand: _ORDER.index(stand.standing), default=ABSENT)
    ends = [stand.until for stand in stands if stand.until is not None]
    return Stand(worst.standing, min(ends) if worst.standing is Standing.GOOD else None)


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """What one response or list says of one certificate, signature checked."""

    issued: datetime
    ends: datetime
    standing: Standing
    revoked: datetime | None


class Statements:
    """The statements among some collateral, each parsed and verified once as long as it is remembered."""

    def __init__(self, parsed: "Parsed", collateral: Iterable[Collateral]) -> None:
        """Raises `MalformedEvidence` for a statement that does not parse, or for too many."""
        items = [item for item in collateral if item.kind in (OCSP_KIND, CRL_KIND)]
        if len(items) > MAX_STATEMENTS:
            message = f"revocation statements are {len(items)}, want at most {MAX_STATEMENTS}"
            raise MalformedEvidence(Reason.MALFORMED, message)
        self._parsed = parsed
        self._responses = [parsed.response(item) for item in items if item.kind == OCSP_KIND]
        self._lists = [parsed.revocations(item) for item in items if item.kind == CRL_KIND]

    def stand(self, certificates: Sequence[x509.Certificate], now: datetime) -> Stand:
        """The worst standing at `now` of all but the last of `certificates`, each followed by its issuer.

        Raises `NotGenuine`: CERTIFICATE_REVOKED, or SIGNATURE_INVALID or CHAIN_INVALID for a statement by another.
        """
        return worst_of([self._stand(certificate, issuer, now) for certificate, issuer in pairwise(certificates)])

    def _stand(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> Stand:
        found = [statement for statement in self._about(certificate, issuer) if statement.issued - _SKEW <= now]
        if any(statement.revoked is not None and statement.revoked <= now for statement in found):
            raise NotGenuine(Reason.CERTIFICATE_REVOKED, "nvidia certificate is revoked, want one that is not")
        if not found:
            return ABSENT
        newest = max(found, key=lambda statement: (statement.issued, _ORDER.index(statement.standing)))
        if newest.standing is Standing.GOOD:
            return Stand(Standing.GOOD, newest.ends) if now <= newest.ends else Stand(Standing.EXPIRED, None)
        return Stand(newest.standing, None)

    def _about(self, certificate: x509.Certificate, issuer: x509.Certificate) -> list[_Statement]:
        told = [
            self._parsed.told(response, issuer)
            for response in self._responses
            if response.concerns(certificate, issuer)
        ]
        listed = [
            self._parsed.listed(crl, digest, certificate, issuer)
            for crl, digest in self._lists
            if crl.issuer == issuer.subject
        ]
        return told + listed


class Parsed:
    """Responses and lists remembered by their digests, and which issuer's they proved to be."""

    def __init__(self, limit: int) -> None:
        self._responses: Remembered[StoredResponse] = Remembered(limit)
        self._lists: Remembered[x509.CertificateRevocationList] = Remembered(min(limit, _REMEMBERED_LISTS))
        self._told: Remembered[_Statement] = Remembered(limit)
        self._signed: Remembered[bool] = Remembered(limit)

    def response(self, item: Collateral) -> StoredResponse:
        """The response in `item`. Raises `MalformedEvidence`."""
        return self._responses.get(item.sha256, lambda: StoredResponse.read(item.data))

    def revocations(self, item: Collateral) -> tuple[x509.CertificateRevocationList, bytes]:
        """The list in `item`, with its digest. Raises `MalformedEvidence`."""
        digest = item.sha256
        if len(item.data) > MAX_REMEMBERED_LIST:
            return read_crl(item.data, "nvidia"), digest
        return self._lists.get(digest, lambda: read_crl(item.data, "nvidia")), digest

    def told(self, response: StoredResponse, issuer: x509.Certificate) -> _Statement:
        """What a response says, if it is `issuer`'s. Raises `NotGenuine`."""
        return self._told.get(_key(response.sha256, issuer), lambda: _told(response, issuer))

    def listed(
        self,
        crl: x509.CertificateRevocationList,
        digest: bytes,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
    ) -> _Statement:
        """What a list says of `certificate`, if it is `issuer`'s. Raises `NotGenuine`."""
        self._signed.get(_key(digest, issuer), lambda: _check_list(crl, issuer))
        return _listed(crl, certificate)


def _key(digest: bytes, issuer: x509.Certificate) -> bytes:
    return hashlib.sha256(digest + der_of(issuer)).digest()


def _told(stored: StoredResponse, issuer: x509.Certificate) -> _Statement:
    signer = stored.verify(issuer)
    response = stored.response
    status, reason = response.certificate_status, response.revocation_reason
    standing, revoked = Standing.GOOD, None
    if status is ocsp.OCSPCertStatus.UNKNOWN:
        standing = Standing.UNKNOWN
    elif (status, reason) == _ON_HOLD:
        standing = Standing.HOLD
    elif status is ocsp.OCSPCertStatus.REVOKED:
        revoked = response.revocation_time_utc
    # A responder out of its own validity says nothing any more: its answers end with it.
    issued = max(stored.this_update, signer.not_valid_before_utc)
    ends = min(stored.next_update, signer.not_valid_after_utc)
    return _Statement(issued=issued, ends=ends, standing=standing, revoked=revoked)


def _check_list(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        genuine = isinstance(key, ec.EllipticCurvePublicKey) and usage.crl_sign and crl.is_signature_valid(key)
    except (x509.ExtensionNotFound, TypeError, ValueError, InvalidSignature):
        genuine = False
    if not genuine:
        raise NotGenuine(Reason.SIGNATURE_INVALID, "nvidia revocation list is not signed by its issuer, want it so")
    if any(extension.critical for extension in crl.extensions):
        raise MalformedEvidence(Reason.UNSUPPORTED, "nvidia revocation list has a critical extension, want none")
    return True


def _listed(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> _Statement:
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    standing, revoked = Standing.GOOD, None
    if entry is not None:
        reason = _reason(entry)
        standing = Standing.HOLD if reason is x509.ReasonFlags.certificate_hold else Standing.GOOD
        revoked = entry.revocation_date_utc if reason is not x509.ReasonFlags.certificate_hold else None
    ends = crl.next_update_utc or crl.last_update_utc
    return _Statement(issued=crl.last_update_utc, ends=ends, standing=standing, revoked=revoked)


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None
    except (ValueError, TypeError, x509.DuplicateExtension):  # parsed when they are asked for
        raise MalformedEvidence(Reason.MALFORMED, "nvidia revocation list entry does not read, want it to") from None
