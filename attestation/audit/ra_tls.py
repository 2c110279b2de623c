# SPDX-License-Identifier: Apache-2.0
"""Certificates that carry a quote (RA-TLS): which quote, and whether it commits to the certificate's own key.

    2.23.133.5.4.9            CBOR 60000([quote bstr, claims bstr]); claims = {tstr: bstr, ..} with
                              "pubkey-hash": [1, SHA-256(SubjectPublicKeyInfo)]; report_data[0:32] = SHA-256(claims)
    1.2.840.113741.1337.6     the bare quote; report_data[0:32] = SHA-256(SubjectPublicKeyInfo)

(CCC interoperable RA-TLS; Gramine before it.) For audits only: Sealbid's own links pin keys by key binding, not by such
a certificate. What is not checked: the certificate's validity and issuer, which is itself; a nonce in the claims.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.codec import cbor
from attestation.errors import Malformed, MalformedEvidence, Reason
from attestation.tee.reader import Reader

_TAGGED: Final = x509.ObjectIdentifier("2.23.133.5.4.9")
_BARE: Final = x509.ObjectIdentifier("1.2.840.113741.1337.6")
_TAG: Final = bytes.fromhex("d9ea60")
_SHA256: Final = 1
_MAX_CLAIMS: Final = 8
_DIGEST: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedQuote:
    """The quote of a certificate, and what its report data must begin with for the certificate's key to be its own."""

    quote: bytes
    report_data: bytes
    names_key: bool
    """False where the claims name another key than the certificate's."""


def carries_quote(certificate: x509.Certificate) -> bool:
    """True if the certificate has an extension for a quote."""
    return any(extension.oid in (_TAGGED, _BARE) for extension in certificate.extensions)


def quote_in(certificate: x509.Certificate) -> CarriedQuote:
    """The quote a certificate carries. Raises `MalformedEvidence` if its extension does not parse."""
    key = hashlib.sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    tagged, bare = extensions.get(_TAGGED), extensions.get(_BARE)
    if isinstance(tagged, x509.UnrecognizedExtension):
        quote, claims = _pair(tagged.value)
        return CarriedQuote(
            quote=quote, report_data=hashlib.sha256(claims).digest(), names_key=_named_key(claims) == key
        )
    if isinstance(bare, x509.UnrecognizedExtension):
        return CarriedQuote(quote=bare.value, report_data=key, names_key=True)
    raise _malformed("has no quote")


def _pair(value: bytes) -> tuple[bytes, bytes]:
    if not value.startswith(_TAG):
        raise _malformed("is not tagged 60000")
    match _decode(value[len(_TAG) :]):
        case [bytes(quote), bytes(claims)]:
            return quote, claims
    raise _malformed("is not a quote and claims")


def _named_key(claims: bytes) -> bytes:
    """The digest under `pubkey-hash`. The map has text keys, which the codec of our own structures refuses."""
    reader = Reader(claims, "ra-tls claims")
    count = reader.big(1, "map") - 0xA0
    if not 0 < count <= _MAX_CLAIMS:
        raise _malformed("claims are not a short map")
    found: dict[bytes, bytes] = {}
    for _ in range(count):
        key = reader.take(_length(reader, 0x60), "key")
        found[key] = reader.take(_length(reader, 0x40), "value")
    reader.end()
    match _decode(found.get(b"pubkey-hash", b"")):
        case [int(algorithm), bytes(digest)] if algorithm == _SHA256 and len(digest) == _DIGEST:
            return digest
    raise _malformed("claims name no key by sha-256")


def _length(reader: Reader, major: int) -> int:
    head = reader.big(1, "head") - major
    if 0 <= head < 0x18:
        return head
    if head == 0x18:
        return reader.big(1, "length")
    raise _malformed("claims are not short strings")


def _decode(data: bytes) -> cbor.Item:
    try:
        return cbor.decode(data)
    except Malformed as error:
        raise _malformed(f"does not parse: {error.message}") from None


def _malformed(got: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"ra-tls extension {got}, want a quote that commits to the key")
