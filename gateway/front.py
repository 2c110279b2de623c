# SPDX-License-Identifier: Apache-2.0
"""The public listener: Open Inference Protocol, offers, receipts, health and reflection on one port.

Plaintext only on loopback, or where the settings give a reason. Client certificates are asked for where a CA is named.
"""

from typing import Final

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from sealbid_oip.descriptor import FILE_DESCRIPTOR_SET
from sealbid_oip.service import SERVICE
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc
from sealbid_wire.receipt.v1 import receipt_pb2, receipt_pb2_grpc

from attestation.errors import SettingsError
from attestation.files import read_file
from attestation.rpc.auth import check_pair, check_roots, is_loopback
from gateway.config import GatewaySettings
from gateway.inference import InferenceService
from gateway.marketplace import MarketService
from gateway.receipts.service import ReceiptService

_OVERHEAD_BYTES: Final = 64 << 10
_MAX_PEM_BYTES: Final = 1 << 20
_NAMES: Final = (
    SERVICE,
    market_pb2.DESCRIPTOR.services_by_name["MarketService"].full_name,
    receipt_pb2.DESCRIPTOR.services_by_name["ReceiptService"].full_name,
)


class Front:
    """One `grpc.aio` server with everything callers, providers and auditors use."""

    def __init__(
        self,
        *,
        settings: GatewaySettings,
        inference: InferenceService,
        offers: MarketService,
        receipts: ReceiptService,
    ) -> None:
        limits = settings.limits
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.max_request_bytes + _OVERHEAD_BYTES),
                ("grpc.max_send_message_length", limits.max_response_bytes + _OVERHEAD_BYTES),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((inference.handler(),))
        market_pb2_grpc.add_MarketServiceServicer_to_server(offers, self._server)
        receipt_pb2_grpc.add_ReceiptServiceServicer_to_server(receipts, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _reflect(self._server)
        self.address: Final = _bind(self._server, settings)

    async def start(self) -> None:
        """Begins to accept."""
        for name in ("", *_NAMES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Takes no new requests and gives those under way `seconds`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)


def _reflect(server: grpc.aio.Server) -> None:
    """One pool for reflection alone: the protocol's messages live in a private one, the rest in the default."""
    pool = DescriptorPool()
    files = list(FileDescriptorSet.FromString(FILE_DESCRIPTOR_SET).file)
    for module in (market_pb2, receipt_pb2, health_pb2, reflection_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]  # protobuf leaves it untyped
    names = (*_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=pool)


def _bind(server: grpc.aio.Server, settings: GatewaySettings) -> str:
    host, _, _port = settings.listen.rpartition(":")
    credentials = front_credentials(settings)
    try:
        if credentials is None:
            port = server.add_insecure_port(settings.listen)
        else:
            port = server.add_secure_port(settings.listen, credentials)
    except RuntimeError:
        message = f"listen {settings.listen} cannot be bound, want a free address of this machine"
        raise SettingsError(message) from None
    return f"{host}:{port}"


def front_credentials(settings: GatewaySettings) -> grpc.ServerCredentials | None:
    """What the public listener shows; None for plaintext, where that is allowed. Raises `SettingsError`."""
    if settings.tls is None:
        if is_loopback(settings.listen) or settings.insecure_plaintext:
            return None
        want = "tls, loopback, or a reason in insecure_plaintext"
        raise SettingsError(f"listen {settings.listen} is plaintext beyond loopback, want {want}")
    pair = (
        read_file(settings.tls.key, "tls.key", _MAX_PEM_BYTES),
        read_file(settings.tls.certificate, "tls.certificate", _MAX_PEM_BYTES),
    )
    check_pair(*pair)
    if settings.tls.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    roots = read_file(settings.tls.client_ca, "tls.client_ca", _MAX_PEM_BYTES)
    check_roots(roots, "tls.client_ca")
    return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=True)
