# SPDX-License-Identifier: Apache-2.0
"""Worlds of the fake TPM maker by what is wrong with them, and the reason each must be refused for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestation.bundle import Collateral
from attestation.errors import Reason
from tests.support.fake_tpm import (
    AK,
    ATTRIBUTES,
    NOW,
    PCRS,
    CertificateWish,
    TPMWorld,
    an_ak,
    attest,
    authority,
    crl,
    good,
    issuer_collateral,
    private,
    quoted,
)


def _signed_by_another() -> TPMWorld:
    world = good()
    return world.changed(signature=an_ak(key=private("p256-other")).sign(world.parts.attest))


def _named_otherwise() -> TPMWorld:
    """The key shown claims another attribute than the key that signed was made with."""
    return good().changed(ak=an_ak(attributes=ATTRIBUTES | 0x400).public)


def _of_another_scheme() -> TPMWorld:
    other = AK(key=private("ak-rsa"), scheme="rsapss")
    statement = attest(AK(key=private("ak-rsa"), scheme="rsassa"))
    return quoted(AK(key=private("ak-rsa"), scheme="rsassa")).changed(attest=statement, signature=other.sign(statement))


def _with_registers(change: Callable[[dict[int, bytes]], object]) -> TPMWorld:
    pcrs = dict(PCRS)
    change(pcrs)
    return good().changed(pcrs=pcrs)


def _with_issuers(*certificates: x509.Certificate) -> TPMWorld:
    return replace(good(), collateral=tuple(issuer_collateral(one) for one in certificates))


def _wished(**wish: Any) -> TPMWorld:
    return quoted(an_ak(), wish=CertificateWish(**wish))


WRONG: Final[Mapping[str, tuple[Callable[[], TPMWorld], Reason]]] = {
    "signed by another key": (_signed_by_another, Reason.SIGNATURE_INVALID),
    "a key of another name": (_named_otherwise, Reason.SIGNATURE_INVALID),
    "a signature of another scheme": (_of_another_scheme, Reason.SIGNATURE_INVALID),
    "a key that signs anything": (lambda: quoted(an_ak(attributes=ATTRIBUTES & ~0x10000)), Reason.SIGNATURE_INVALID),
    "a key that decrypts": (lambda: quoted(an_ak(attributes=ATTRIBUTES | 0x20000)), Reason.SIGNATURE_INVALID),
    "a key that does not sign": (lambda: quoted(an_ak(attributes=ATTRIBUTES & ~0x40000)), Reason.SIGNATURE_INVALID),
    "a key that may leave": (lambda: quoted(an_ak(attributes=ATTRIBUTES & ~0x2)), Reason.SIGNATURE_INVALID),
    "a key that may move": (lambda: quoted(an_ak(attributes=ATTRIBUTES & ~0x10)), Reason.SIGNATURE_INVALID),
    "a key brought in": (lambda: quoted(an_ak(attributes=ATTRIBUTES & ~0x20)), Reason.SIGNATURE_INVALID),
    "a child key": (lambda: quoted(an_ak(), signer=b"\0\x0b" + bytes(32)), Reason.SIGNATURE_INVALID),
    "another register": (lambda: _with_registers(lambda p: p.update({3: bytes(32)})), Reason.SIGNATURE_INVALID),
    "a register less": (lambda: _with_registers(lambda p: p.pop(3)), Reason.SIGNATURE_INVALID),
    "another digest": (lambda: quoted(an_ak(), digest=bytes(32)), Reason.SIGNATURE_INVALID),
    "a certificate of another use": (
        lambda: _wished(extended=[ExtendedKeyUsageOID.CLIENT_AUTH]),
        Reason.CHAIN_INVALID,
    ),
    "a certificate of no use": (lambda: _wished(extended=None), Reason.CHAIN_INVALID),
    "a certificate that signs": (lambda: _wished(signing=True), Reason.CHAIN_INVALID),
    "a certificate of a ca": (lambda: _wished(ca=True), Reason.CHAIN_INVALID),
    "a certificate of no device": (lambda: _wished(device={"1": "id:53454C42"}), Reason.CHAIN_INVALID),
    "a name that is not critical": (lambda: _wished(critical=False), Reason.CHAIN_INVALID),
    "another issuer's key": (lambda: _wished(issuer_key="impostor"), Reason.CHAIN_INVALID),
    "an expired certificate": (lambda: _wished(ends=NOW - timedelta(days=1)), Reason.CERTIFICATE_EXPIRED),
    "a certificate of tomorrow": (lambda: _wished(begins=NOW + timedelta(days=1)), Reason.CERTIFICATE_EXPIRED),
    "a revoked certificate": (lambda: good().adding(crl(revoked=[4711])), Reason.CERTIFICATE_REVOKED),
    "a list of another key": (
        lambda: good().adding(
            Collateral(kind="x509-crl", data=crl("issuer").data[:-1] + bytes((crl("issuer").data[-1] ^ 1,)))
        ),
        Reason.CHAIN_INVALID,
    ),
    "an old list": (lambda: good().adding(crl(ends=NOW - timedelta(days=1))), Reason.COLLATERAL_EXPIRED),
    "no certificate": (lambda: good().changed(ek_certificate=b""), Reason.ENDORSEMENT_MISSING),
    "no issuers": (_with_issuers, Reason.ENDORSEMENT_MISSING),
    "no root": (lambda: _with_issuers(authority("issuer", "root")), Reason.ENDORSEMENT_MISSING),
    "issuers without end": (
        lambda: _with_issuers(
            authority("issuer", "root"),
            authority("root", "other root", key="root"),
            authority("other root", "root", key="other root"),
        ),
        Reason.CHAIN_INVALID,
    ),
    "a quote with sha-1": (
        lambda: quoted(AK(key=private("ak-rsa"), scheme="rsassa", algorithm="sha1")),
        Reason.UNSUPPORTED,
    ),
    "a bank of sha-1": (lambda: quoted(an_ak(), banks=[(0x0004, b"\xff\xff\xff")]), Reason.UNSUPPORTED),
    "two banks": (lambda: quoted(an_ak(), banks=[(0x000B, b"\xff"), (0x000C, b"\xff")]), Reason.UNSUPPORTED),
    "no bank": (lambda: quoted(an_ak(), banks=[]), Reason.UNSUPPORTED),
    "another statement": (lambda: quoted(an_ak(), kind=0x8017), Reason.UNSUPPORTED),
    "no tpm's statement": (lambda: quoted(an_ak(), magic=0xFF544348), Reason.MALFORMED),
    "a clock neither safe nor not": (lambda: quoted(an_ak(), safe=2), Reason.MALFORMED),
    "a bitmap of many registers": (lambda: quoted(an_ak(), banks=[(0x000B, b"\xff" * 4)]), Reason.MALFORMED),
    "a bank too many": (lambda: quoted(an_ak(), banks=17 * [(0x000B, b"\0\0\0")]), Reason.MALFORMED),
}
