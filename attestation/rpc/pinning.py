# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS whose only roots are pinned certificates, between gateway and worker (docs/spec.md, 11.1).

A process has one self-signed P-256 certificate. Its peer trusts exactly that certificate, never an authority, so the
TLS key is the one an attested keyset or a logged `key.add` entry names. Its names (`worker.sealbid.invalid`) are
fixed and prove nothing; it never expires by itself, because leases and the log say how long a key is good.

Refused: certificates that are not self-signed P-256, or that may issue others. The server side still compares
`peer_spki` with the identity the peer claims: the handshake only says "one of those pinned".
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.certificate import pinnable_spki_sha256
from attestation.codec.labels import sha256
from attestation.errors import Malformed, MalformedEvidence, NotGenuine, Reason, SealbidError

WORKER_NAME: Final = "worker.sealbid.invalid"
GATEWAY_NAME: Final = "gateway.sealbid.invalid"


_NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 4.1.2.5: no well-defined end


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSIdentity:
    """A TLS key with its self-signed certificate; the key is left out of every rendering."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    certificate_der: bytes = field(repr=False)
    spki_sha256: bytes


class AuthContext(Protocol):
    """What a servicer context knows of its peer."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...


def make_identity(name: str, san: str) -> TLSIdentity:
    """A new P-256 key and its certificate, in memory only: subject `name`, one DNS name `san`."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _identity(key, _self_sign(key, name, san))


def load_identity(key_pem: bytes, certificate_pem: bytes) -> TLSIdentity:
    """The identity kept in two PEM texts.

    Raises:
        Malformed: either does not parse, or the certificate is of another form.
        NotGenuine: the certificate is of another key.
    """
    try:
        key = _load_key(key_pem)
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed("tls key or certificate is not unencrypted pem") from None
    der = certificate.public_bytes(Encoding.DER)
    check_certificate(der)
    if _spki(key.public_key()) != _spki(certificate.public_key()):
        raise NotGenuine(Reason.KEYSET_MISMATCH, "tls certificate is of another key than the one beside it")
    return _identity(key, certificate)


def check_certificate(certificate_der: bytes) -> bytes:
    """The SHA-256 of the SPKI of a certificate fit to be pinned. Does not say whose it is.

    Raises:
        Malformed: no certificate, not P-256, not of version 3, or one that may issue others.
        NotGenuine: not signed by its own key.
    """
    try:
        return pinnable_spki_sha256(certificate_der)
    except MalformedEvidence as error:
        raise Malformed(error.message) from None


def server_credentials(identity: TLSIdentity, trusted: Callable[[], Iterable[bytes]]) -> grpc.ServerCredentials:
    """Credentials that ask every client for a certificate among `trusted()` (DER), read anew at each handshake.

    `trusted` runs on a thread of gRPC and must neither block nor raise. While it is empty nobody gets in: the server's
    own certificate then stands as the only root, because gRPC takes no empty set. Certificates that `check_certificate`
    refuses are left out: gRPC stops reading roots at one it cannot parse, and takes an issuer of another's name for its
    issuer, so one such certificate would lock out the holders of the others.
    """

    def configuration() -> grpc.ServerCertificateConfiguration:
        roots = b"".join(map(_root, trusted())) or identity.certificate_pem
        return grpc.ssl_server_certificate_configuration(
            [(identity.key_pem, identity.certificate_pem)], root_certificates=roots
        )

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, require_client_authentication=True)


def channel_credentials(identity: TLSIdentity, peer_der: bytes) -> grpc.ChannelCredentials:
    """Credentials that show `identity` and accept only a server holding the key of `peer_der`.

    The certificate is the only root and may not issue others, so a completed handshake is the pin. Raises as
    `check_certificate`.
    """
    check_certificate(peer_der)
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(peer_der),
        private_key=identity.key_pem,
        certificate_chain=identity.certificate_pem,
    )


def channel_options(server_name: str) -> list[tuple[str, str | int]]:
    """Channel options for a pinned peer: its fixed certificate name, and pings that notice a dead one."""
    return [
        ("grpc.ssl_target_name_override", server_name),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_http_proxy", 0),
    ]


def server_options() -> list[tuple[str, str | int]]:
    """Server options that bear the pings of `channel_options` and send the same."""
    return [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.so_reuseport", 0),
    ]


def peer_spki(context: AuthContext) -> bytes:
    """SHA-256 of the SPKI of the client that opened this call, from its verified certificate.

    Raises:
        NotGenuine: the transport shows no certificate (UNAUTHENTICATED).
    """
    shown = list(context.auth_context().get("x509_pem_cert", ()))
    if len(shown) != 1:
        raise NotGenuine(Reason.UNAUTHENTICATED, f"transport shows {len(shown)} certificates, want 1")
    try:
        certificate = x509.load_pem_x509_certificate(shown[0])
    except ValueError:
        raise NotGenuine(Reason.UNAUTHENTICATED, "transport certificate does not parse") from None
    return sha256(_spki(certificate.public_key()))


def _self_sign(key: ec.EllipticCurvePrivateKey, name: str, san: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _identity(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> TLSIdentity:
    return TLSIdentity(
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate_pem=certificate.public_bytes(Encoding.PEM),
        certificate_der=certificate.public_bytes(Encoding.DER),
        spki_sha256=sha256(_spki(key.public_key())),
    )


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


@lru_cache(maxsize=4096)  # asked for every peer at each handshake
def _root(certificate_der: bytes) -> bytes:
    """The certificate as PEM, or nothing where it is not fit to be a root."""
    try:
        check_certificate(certificate_der)
    except SealbidError:
        return b""
    return _pem(certificate_der)


def _pem(certificate_der: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM)


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Malformed("certificate key is not an elliptic curve key")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
