# SPDX-License-Identifier: Apache-2.0
"""Pinned mutual TLS over real loopback sockets, and which certificates are fit to be pinned."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from attestation.certificate import spki_sha256
from attestation.codec.labels import sha256
from attestation.errors import Malformed, NotGenuine
from attestation.rpc.pinning import (
    GATEWAY_NAME,
    WORKER_NAME,
    TLSIdentity,
    channel_credentials,
    channel_options,
    check_certificate,
    load_identity,
    make_identity,
    peer_spki,
    server_credentials,
)
from tests.support.certificates import certificate, load_key, without_version

METHOD = "/sealbid.test.Echo/Echo"


@asynccontextmanager
async def echo_server(identity: TLSIdentity, trusted: list[bytes]) -> AsyncIterator[int]:
    """A server that answers with the SPKI digest it saw of its client."""

    async def echo(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return peer_spki(context)

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("sealbid.test.Echo", handlers),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(identity, lambda: list(trusted)))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def call(port: int, client: TLSIdentity, pin: bytes, name: str = WORKER_NAME) -> bytes:
    """One call as `client` to whoever holds the key of `pin`."""
    credentials = channel_credentials(client, pin)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, channel_options(name)) as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        return await echo(b"", timeout=20)


async def refused(port: int, client: TLSIdentity, pin: bytes, name: str = WORKER_NAME) -> grpc.StatusCode:
    """The status with which such a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(port, client, pin, name)
    return caught.value.code()


@pytest.fixture(scope="module")
def worker() -> TLSIdentity:
    return make_identity("worker", WORKER_NAME)


@pytest.fixture(scope="module")
def gateway() -> TLSIdentity:
    return make_identity("gateway", GATEWAY_NAME)


@pytest.mark.net
async def test_pinned_peers_meet_and_the_server_sees_the_clients_key(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """Both sides pinned: the call passes and the server learns exactly the client's SPKI."""
    async with echo_server(worker, [gateway.certificate_der]) as port:
        assert await call(port, gateway, worker.certificate_der) == gateway.spki_sha256


@pytest.mark.net
async def test_the_set_of_trusted_clients_is_read_at_each_handshake(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """A client gets in when it is added and no longer when it is taken out; an empty set lets nobody in."""
    trusted: list[bytes] = []
    async with echo_server(worker, trusted) as port:
        assert await refused(port, gateway, worker.certificate_der) is grpc.StatusCode.UNAVAILABLE
        trusted.append(gateway.certificate_der)
        assert await call(port, gateway, worker.certificate_der) == gateway.spki_sha256
        trusted.clear()
        assert await refused(port, gateway, worker.certificate_der) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.net
async def test_a_client_of_the_same_name_but_another_key_is_refused(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """Names prove nothing: an unpinned certificate with the trusted one's names does not get in."""
    stranger = make_identity("gateway", GATEWAY_NAME)
    async with echo_server(worker, [gateway.certificate_der]) as port:
        assert await refused(port, stranger, worker.certificate_der) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.net
async def test_a_client_without_a_certificate_is_refused(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """Client authentication is required, not requested."""
    async with echo_server(worker, [gateway.certificate_der]) as port:
        bare = grpc.ssl_channel_credentials(root_certificates=worker.certificate_pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", bare, channel_options(WORKER_NAME)) as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            with pytest.raises(grpc.aio.AioRpcError):
                await echo(b"", timeout=20)


@pytest.mark.net
async def test_a_server_of_the_same_name_but_another_key_is_refused(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """The client talks to the pinned key or to nobody."""
    impostor = make_identity("worker", WORKER_NAME)
    async with echo_server(impostor, [gateway.certificate_der]) as port:
        assert await refused(port, gateway, worker.certificate_der) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.net
async def test_a_leaf_signed_by_a_pinned_key_is_refused(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """A pinned certificate is not an authority: what its key signs for another key gains nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_der_x509_certificate(gateway.certificate_der)
    signer = load_key(gateway)
    leaf = certificate(key, issuer=issuer.subject, signer=signer, subject="leaf")
    child = TLSIdentity(
        key_pem=key_pem(key),
        certificate_pem=leaf.public_bytes(Encoding.PEM) + gateway.certificate_pem,
        certificate_der=leaf.public_bytes(Encoding.DER),
        spki_sha256=spki_sha256(leaf.public_bytes(Encoding.DER)),
    )
    async with echo_server(worker, [gateway.certificate_der]) as port:
        assert await refused(port, child, worker.certificate_der) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.net
async def test_a_certificate_unfit_to_be_pinned_locks_nobody_else_out(
    worker: TLSIdentity, gateway: TLSIdentity
) -> None:
    """One trusted certificate that gRPC cannot parse, or of an issuer by a peer's name, does not shadow that peer's."""
    name = x509.load_der_x509_certificate(gateway.certificate_der).subject
    shadow = certificate(ec.generate_private_key(ec.SECP256R1()), ca=True, issuer=name, subject="gateway")
    assert shadow.subject == name
    for unfit in (shadow.public_bytes(Encoding.DER), without_version(make_identity("old", GATEWAY_NAME))):
        assert spki_sha256(unfit)  # as an attested keyset may name it
        async with echo_server(worker, [unfit, gateway.certificate_der]) as port:
            assert await call(port, gateway, worker.certificate_der) == gateway.spki_sha256


def test_an_identity_states_its_spki_and_hides_its_key(worker: TLSIdentity) -> None:
    """The digest is over the SPKI's DER, and no rendering holds the private key."""
    parsed = x509.load_der_x509_certificate(worker.certificate_der)
    der = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert worker.spki_sha256 == sha256(der) == spki_sha256(worker.certificate_der)
    assert check_certificate(worker.certificate_der) == worker.spki_sha256
    assert "PRIVATE" not in repr(worker)
    assert "pem" not in repr(worker)


def test_an_identity_survives_its_pem(worker: TLSIdentity, gateway: TLSIdentity) -> None:
    """What was stored as PEM loads as the same identity; a key beside another's certificate does not load."""
    assert load_identity(worker.key_pem, worker.certificate_pem) == worker
    with pytest.raises(NotGenuine):
        load_identity(worker.key_pem, gateway.certificate_pem)
    with pytest.raises(Malformed):
        load_identity(b"no key", worker.certificate_pem)


def test_certificates_unfit_to_be_pinned_are_refused() -> None:
    """Not DER, another curve or algorithm, able to issue, or signed by another key: none may be pinned."""
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    edwards = ed25519.Ed25519PrivateKey.generate()
    for unfit in (p384, edwards):
        with pytest.raises(Malformed):
            check_certificate(certificate(unfit).public_bytes(Encoding.DER))
    with pytest.raises(Malformed, match="may issue"):
        check_certificate(certificate(p256, ca=True).public_bytes(Encoding.DER))
    foreign = certificate(p256, signer=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(NotGenuine):
        check_certificate(foreign.public_bytes(Encoding.DER))
    for garbage in (b"", b"\x30\x03\x02\x01\x00", b"x" * 9000):
        with pytest.raises(Malformed):
            check_certificate(garbage)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
