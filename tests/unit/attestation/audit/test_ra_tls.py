# SPDX-License-Identifier: Apache-2.0
"""A certificate around a quote is as good as the quote, if the quote commits to the certificate's key."""

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.audit.evidence import audit
from attestation.audit.ra_tls import quote_in
from attestation.audit.recognise import recognise
from attestation.claims import TEEKind
from attestation.codec import cbor
from attestation.errors import MalformedEvidence, Reason
from attestation.exits import Exit
from tests.unit.attestation.audit.recorded import NOW, QUOTE, Says, claims, file, question

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = hashlib.sha256(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
TAGGED, BARE = "2.23.133.5.4.9", "1.2.840.113741.1337.6"


def certificate(oid: str, value: bytes) -> x509.Certificate:
    """A self-signed certificate with one extension."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, NOW, NOW + timedelta(days=1))
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    return builder.add_extension(extension, critical=False).sign(KEY, SHA256())


def stated(key: bytes = SPKI, *, nonce: bytes = b"") -> bytes:
    """Claims that name a key, and a nonce where one is given."""
    named = cbor.encode([1, key])
    pairs = [b"\x6bpubkey-hash\x58" + bytes((len(named),)) + named]
    if nonce:
        pairs.append(b"\x65nonce\x58" + bytes((len(nonce),)) + nonce)
    return bytes((0xA0 + len(pairs),)) + b"".join(pairs)


def tagged(stated_claims: bytes) -> bytes:
    return bytes.fromhex("d9ea60") + cbor.encode([QUOTE, stated_claims])


def judge(found: x509.Certificate, report_data: bytes) -> tuple[Exit, tuple[Reason, ...]]:
    cpu = Says(claims(TEEKind.TDX, slot=report_data.ljust(64, b"\0")))
    verdict = audit(file("cert.pem", found.public_bytes(Encoding.PEM)), [], question(cpu=cpu))
    return verdict.exit, verdict.reasons


@pytest.mark.parametrize("nonce", [b"", b"n" * 32])
def test_a_quote_that_commits_to_the_key_counts(nonce: bytes) -> None:
    """Both ways of embedding are read, and the quote inside is judged as any quote."""
    said = stated(nonce=nonce)
    assert judge(certificate(TAGGED, tagged(said)), hashlib.sha256(said).digest()) == (Exit.ACCEPTED, ())
    assert judge(certificate(BARE, QUOTE), SPKI) == (Exit.ACCEPTED, ())


def test_a_quote_of_another_key_does_not() -> None:
    """Report data of other claims, claims of another key, and a bare quote of another key are refused as unbound."""
    refused = (Exit.REJECTED, (Reason.BINDING_MISMATCH,))
    said, other = stated(), stated(bytes(32))
    assert judge(certificate(TAGGED, tagged(said)), bytes(32)) == refused
    assert judge(certificate(TAGGED, tagged(other)), hashlib.sha256(other).digest()) == refused
    assert judge(certificate(BARE, QUOTE), bytes(32)) == refused


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xd9\xea\x60",
        bytes.fromhex("d9ea61") + cbor.encode([QUOTE, stated()]),
        bytes.fromhex("d9ea60") + cbor.encode([QUOTE]),
        bytes.fromhex("d9ea60") + cbor.encode([QUOTE, 1]),
        tagged(b""),
        tagged(b"\xa0"),
        tagged(b"\xa1\x6bpubkey-hash"),
        tagged(b"\xa1\x6bpubkey-hash\x41\x00"),
        tagged(b"\xa1\x65nonce\x41\x00"),
        tagged(stated() + b"\0"),
        tagged(stated(bytes(31))),
    ],
    ids=[
        "nothing",
        "a tag alone",
        "another tag",
        "one element",
        "a number for claims",
        "no claims",
        "empty claims",
        "torn claims",
        "a short hash",
        "claims without a key",
        "bytes after the claims",
        "a key hash too short",
    ],  # the keys are new in each process, so the values cannot name the cases
)
def test_extensions_that_hold_no_quote_and_key_are_refused(value: bytes) -> None:
    """Whatever is missing, torn or too long is malformed, and no evidence."""
    found = certificate(TAGGED, value)
    with pytest.raises(MalformedEvidence) as refused:
        quote_in(found)
    assert refused.value.reason is Reason.MALFORMED
    assert recognise("cert.pem", found.public_bytes(Encoding.PEM)).evidence is None
