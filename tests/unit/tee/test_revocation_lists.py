# SPDX-License-Identifier: Apache-2.0
"""What a revocation list must be to say that a certificate is not revoked (RFC 5280, 5.2)."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.errors import AttestationError, Reason
from attestation.tee.certificates import check_revocation, read_crl
from tests.support.fake_nvidia import Level, issue

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENDS = NOW + timedelta(days=30)
ROOT = issue("Root")
HERE, ELSEWHERE = (x509.UniformResourceIdentifier(f"https://lists.example/{name}") for name in ("here", "elsewhere"))
POINT = x509.DistributionPoint(full_name=[HERE], relative_name=None, reasons=None, crl_issuer=None)
AUTHORITY = issue("Authority", ROOT)
LEAF = issue("Leaf", ROOT, authority=False)
POINTED = issue("Pointed", ROOT, authority=False, extension=x509.CRLDistributionPoints([POINT]))


def scope(
    *,
    full_name: list[x509.GeneralName] | None = None,
    user_certs: bool = False,
    ca_certs: bool = False,
    attribute_certs: bool = False,
    indirect: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=full_name,
        relative_name=None,
        only_contains_user_certs=user_certs,
        only_contains_ca_certs=ca_certs,
        only_contains_attribute_certs=attribute_certs,
        indirect_crl=indirect,
        only_some_reasons=reasons,
    )


def listed(
    extension: x509.ExtensionType | None = None,
    *,
    critical: bool = True,
    revoked: Level | None = None,
    issuer: x509.Name = ROOT.certificate.subject,
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW).next_update(ENDS)
    if revoked is not None:
        entry = x509.RevokedCertificateBuilder().serial_number(revoked.certificate.serial_number).revocation_date(NOW)
        builder = builder.add_revoked_certificate(entry.build())
    if extension is not None:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ROOT.key, SHA384()).public_bytes(Encoding.DER)


def checked(der: bytes, level: Level = LEAF) -> datetime | Reason:
    try:
        return check_revocation(level.certificate, read_crl(der, "list"), ROOT.certificate, now=NOW, name="test")
    except AttestationError as error:
        return error.reason


@pytest.mark.parametrize(
    ("extension", "level"),
    [
        (None, LEAF),
        (x509.CRLNumber(7), LEAF),
        (scope(user_certs=True), LEAF),
        (scope(ca_certs=True), AUTHORITY),
        (scope(full_name=[HERE]), POINTED),
        (scope(full_name=[ELSEWHERE]), LEAF),
    ],
    ids=["plain", "numbered", "of leaves, a leaf", "of authorities, an authority", "of its place", "no place named"],
)
def test_a_list_that_covers_a_certificate_says_how_long_it_stands(
    extension: x509.ExtensionType | None, level: Level
) -> None:
    """A whole list of the issuer, or of the part the certificate belongs to."""
    assert checked(listed(extension), level) == ENDS


@pytest.mark.parametrize(
    ("extension", "level"),
    [
        (scope(ca_certs=True), LEAF),
        (scope(user_certs=True), AUTHORITY),
        (scope(attribute_certs=True), LEAF),
        (scope(indirect=True), LEAF),
        (scope(reasons=frozenset({x509.ReasonFlags.key_compromise})), LEAF),
        (scope(full_name=[ELSEWHERE]), POINTED),
        (x509.DeltaCRLIndicator(1), LEAF),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), LEAF),
    ],
    ids=["authorities only", "leaves only", "attributes", "indirect", "some reasons", "another place", "delta", "odd"],
)
def test_a_list_of_something_else_does_not_clear_a_certificate(extension: x509.ExtensionType, level: Level) -> None:
    """It is signed, current and does not name the certificate, because it never would: undecided, not good."""
    assert checked(listed(extension), level) is Reason.UNSUPPORTED


def test_a_partial_list_that_names_a_certificate_revokes_it() -> None:
    """Whatever else a list is silent about, what it says holds."""
    assert checked(listed(x509.DeltaCRLIndicator(1), revoked=LEAF)) is Reason.CERTIFICATE_REVOKED


def test_a_list_of_an_odd_name_is_malformed() -> None:
    """The library warns of such names whenever they are looked at; nobody's list has one."""
    with pytest.warns(UserWarning, match="length"):
        odd = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 65 * "x", _validate=False)])
    assert checked(listed(issuer=odd)) is Reason.MALFORMED
