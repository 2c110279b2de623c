# SPDX-License-Identifier: Apache-2.0
"""Who may call the public listener: bearer keys by role, client certificates by their key, over real TLS."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.rpc import error_details_pb2, status_pb2
from sealbid_oip.messages import ModelInferResponse
from sealbid_oip.service import SERVICE

from attestation.certificate import spki_sha256
from attestation.errors import Reason, SettingsError
from attestation.rpc.auth import APIKeys, Role, bearer
from gateway.auth import Authenticator, new_key
from gateway.config import GatewaySettings, Model, Registry, Tenant, TLSFiles
from gateway.flow import Answer, Arrival, InferenceFlow
from gateway.front import Front
from gateway.inference import InferenceService
from gateway.marketplace import MarketService
from gateway.receipts.service import ReceiptService
from gateway.statistics import Statistics
from gateway.tensors import Catalog

pytestmark = pytest.mark.net
MODELS = {"m": Model(engines=("00" * 32,), reference_price_nanos=1)}


class _EchoFlow:
    """Answers with the tenant's name, so that a test sees whom the front took the caller for."""

    async def unary(self, arrival: Arrival) -> Answer:
        data = ModelInferResponse(model_name=arrival.tenant).SerializeToString()
        return Answer(data=data, request_id=bytes(16), worker_id=bytes(32), attempts=1, price_nanos=1, charge_nanos=1)


class _Authority:
    """A certificate authority that lives for one test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign("authority", self.key, is_ca=True)

    def issue(self, name: str) -> tuple[bytes, bytes, bytes]:
        """(key PEM, certificate PEM, SPKI digest) of a new subject."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, is_ca=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        der = certificate.public_bytes(serialization.Encoding.DER)
        return pem, certificate.public_bytes(serialization.Encoding.PEM), spki_sha256(der)

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = "authority"
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("gateway.test")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


def _settings(root: Path, **changes: Any) -> GatewaySettings:
    settings = GatewaySettings(
        listen="127.0.0.1:0",
        state_dir=root,
        keys_file=root,
        trust_file=root,
        policy_file=root,
        registry=Registry(address="127.0.0.1:1", api_key_file=root),
        models=MODELS,
    )
    return replace(settings, **changes)


@asynccontextmanager
async def _listening(settings: GatewaySettings, keys: APIKeys) -> AsyncIterator[str]:
    authenticator = Authenticator(keys=keys, tenants=settings.tenants)
    inference = InferenceService(
        flow=cast(InferenceFlow, _EchoFlow()),
        catalog=Catalog(models=MODELS, spec_of=lambda _engine: None, max_request_bytes=1024),
        authenticator=authenticator,
        statistics=Statistics(MODELS),
        profile="SIMULATED",
        version="0",
    )
    front = Front(
        settings=settings,
        inference=inference,
        offers=MarketService.__new__(MarketService),
        receipts=ReceiptService.__new__(ReceiptService),
    )
    await front.start()
    try:
        yield front.address
    finally:
        await front.stop(0)


def _keys(*roles: Role) -> tuple[APIKeys, str]:
    key, toml = new_key("acme", roles)
    return APIKeys.from_toml(toml.encode()), key


async def _tenant(channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]] = ()) -> str:
    call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    data: bytes = await call(b"", metadata=metadata, timeout=10)
    return ModelInferResponse.FromString(data).model_name


def _reason(error: grpc.aio.AioRpcError) -> str:
    details = error.trailing_metadata().get("grpc-status-details-bin")
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    assert info.domain == "sealbid"
    return str(info.reason)


async def test_a_bearer_key_is_its_tenant(tmp_path: Path) -> None:
    """The key's account is the tenant the flow sees."""
    keys, key = _keys(Role.CALLER)
    async with _listening(_settings(tmp_path), keys) as address, grpc.aio.insecure_channel(address) as channel:
        assert await _tenant(channel, bearer(key)) == "acme"


@pytest.mark.parametrize(
    ("metadata", "status", "reason"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        ((("authorization", "Bearer sbk_unknown"),), grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        ((("authorization", "Basic YTpi"),), grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
    ],
)
async def test_wrong_credentials_are_refused_by_name(
    tmp_path: Path, metadata: tuple[tuple[str, str], ...], status: grpc.StatusCode, reason: Reason
) -> None:
    """No key, an unknown key and another scheme get the same answer, and the answer never repeats what was sent."""
    keys, _ = _keys(Role.CALLER)
    async with _listening(_settings(tmp_path), keys) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _tenant(channel, metadata)
    assert refused.value.code() is status
    assert _reason(refused.value) == reason
    assert all(value.split()[-1] not in str(refused.value.details()) for _, value in metadata)


async def test_another_role_is_not_enough(tmp_path: Path) -> None:
    """A provider's key does not call models."""
    keys, key = _keys(Role.PROVIDER)
    async with _listening(_settings(tmp_path), keys) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _tenant(channel, bearer(key))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert _reason(refused.value) == Reason.PERMISSION_DENIED


async def test_a_client_certificate_is_its_tenant_and_a_stranger_is_nobody(tmp_path: Path) -> None:
    """Mutual TLS: a pinned key calls without a bearer key; another certificate of the same authority does not."""
    authority = _Authority()
    server, client, stranger = (authority.issue(name) for name in ("gateway", "client", "stranger"))
    for name, data in (("key.pem", server[0]), ("cert.pem", server[1]), ("ca.pem", authority.pem)):
        (tmp_path / name).write_bytes(data)
    settings = _settings(
        tmp_path,
        tls=TLSFiles(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem", client_ca=tmp_path / "ca.pem"),
        tenants={"bank": Tenant(certificate_sha256=(client[2].hex(),))},
    )
    keys, _ = _keys(Role.CALLER)
    options = [("grpc.ssl_target_name_override", "gateway.test")]
    async with _listening(settings, keys) as address:
        for pem, expected in ((client, "bank"), (stranger, None)):
            credentials = grpc.ssl_channel_credentials(authority.pem, pem[0], pem[1])
            async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
                if expected is not None:
                    assert await _tenant(channel) == expected
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await _tenant(channel)
                assert _reason(refused.value) == Reason.UNAUTHENTICATED


async def test_plaintext_beyond_loopback_needs_a_reason(tmp_path: Path) -> None:
    """A listener others can reach does not start in the clear unless the settings say why."""
    keys, _ = _keys(Role.CALLER)
    with pytest.raises(SettingsError, match="plaintext beyond loopback"):
        async with _listening(_settings(tmp_path, listen="0.0.0.0:0"), keys):
            await asyncio.sleep(0)
    assert os.listdir(tmp_path) == []
