# SPDX-License-Identifier: Apache-2.0
"""The registry's client, for workers, gateways, operators and auditors (grpc.aio).

It converts and authenticates; it believes nothing. What it returns is as presented: `attestation.verify` and
`attestation.registry.gateways` decide. Failures are the errors the registry sent (`attestation.rpc.status`).
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Final, Self, TypeVar

import grpc
from sealbid_wire.log.v1 import log_pb2, log_pb2_grpc
from sealbid_wire.registry.v1 import registry_pb2, registry_pb2_grpc

from attestation.errors import Reason, SealbidError
from attestation.registry.gateways import LoggedGateway
from attestation.registry.values import Activation, Admitted, Registration, Verdict
from attestation.rpc.auth import bearer, channel_tls
from attestation.rpc.status import from_rpc_error
from attestation.tee.tpm.credential import AttestationKey
from attestation.wire.convert import (
    attestation_key_message,
    read_activation,
    read_admission,
    read_gateway,
    read_verdict,
    registration_message,
)

MAX_MESSAGE_BYTES: Final = 20 << 20
CALL_SECONDS: Final = 20.0
"""A verdict waits for a signed checkpoint, which is a few disk syncs; longer means the registry is in trouble."""

_OPTIONS: Final = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Left to itself a channel waits up to two minutes after a registry was away; revocations come by this way.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),
]

T = TypeVar("T")


class RegistryClient:
    """One channel to a registry. Use as an async context manager, or call `close`."""

    def __init__(self, channel: grpc.aio.Channel, *, api_key: str = "") -> None:
        self._channel = channel
        self._metadata = bearer(api_key) if api_key else ()
        self._registry = registry_pb2_grpc.RegistryServiceStub(channel)
        self._log = log_pb2_grpc.LogServiceStub(channel)

    @classmethod
    def connect(cls, target: str, *, api_key: str = "", ca_pem: bytes | None = None) -> Self:
        """A client of the registry at `host:port`. Raises `SettingsError` for plaintext beyond loopback."""
        credentials = channel_tls(target, ca_pem=ca_pem)
        if credentials is None:
            return cls(grpc.aio.insecure_channel(target, options=_OPTIONS), api_key=api_key)
        return cls(grpc.aio.secure_channel(target, credentials, options=_OPTIONS), api_key=api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every call and the channel."""
        await self._channel.close()

    async def issue_challenge(self) -> bytes:
        """A challenge for the caller's provider, canonical bytes."""
        response = await self._call(
            self._registry.IssueChallenge(
                registry_pb2.IssueChallengeRequest(), metadata=self._metadata, timeout=CALL_SECONDS
            )
        )
        return response.challenge

    async def issue_activation(self, key: AttestationKey) -> Activation:
        """A challenge with a credential that only the TPM of `key` opens."""
        message = attestation_key_message(key)
        call = self._registry.IssueChallenge(message, metadata=self._metadata, timeout=CALL_SECONDS)
        return read_activation(await self._call(call))

    async def register(self, registration: Registration) -> Verdict:
        """The verdict on a registration or renewal."""
        message = registration_message(registration)
        call = self._registry.Register(message, metadata=self._metadata, timeout=CALL_SECONDS)
        return read_verdict(await self._call(call))

    async def revoke(self, keyset_id: bytes, reason: str) -> int:
        """Revokes a keyset; the index of its log entry."""
        request = registry_pb2.RevokeRequest(keyset_id=keyset_id, reason=reason)
        call = self._registry.Revoke(request, metadata=self._metadata, timeout=CALL_SECONDS)
        return (await self._call(call)).entry_index

    async def enrol_gateway(self, *, signing_key: bytes, certificate_der: bytes, enrolment: bytes) -> LoggedGateway:
        """Enrols a gateway's keys."""
        request = registry_pb2.EnrolGatewayRequest(
            signing_key=signing_key, certificate_der=certificate_der, enrolment=enrolment
        )
        call = self._registry.EnrolGateway(request, metadata=self._metadata, timeout=CALL_SECONDS)
        return read_gateway((await self._call(call)).gateway)

    async def list_gateways(self) -> tuple[LoggedGateway, ...]:
        """Every enrolled gateway, unverified."""
        call = self._registry.ListGateways(
            registry_pb2.ListGatewaysRequest(), metadata=self._metadata, timeout=CALL_SECONDS
        )
        return tuple(read_gateway(gateway) for gateway in (await self._call(call)).gateways)

    async def watch(self) -> AsyncIterator[Admitted | bytes]:
        """What holds now, then every change: admitted workers, and signed heartbeats as bytes. Ends by an error only.

        A heartbeat always comes before the admissions whose proofs it dates. Raises what `from_rpc_error` makes.
        """
        call = self._registry.Watch(registry_pb2.WatchRequest(), metadata=self._metadata)
        try:
            async for event in call:
                if event.WhichOneof("event") == "admission":
                    yield read_admission(event.admission)
                elif event.heartbeat:
                    yield event.heartbeat
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()
        raise SealbidError(Reason.PEER_UNAVAILABLE, "watch stream is over, want one that goes on")

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint note."""
        call = self._log.GetCheckpoint(log_pb2.GetCheckpointRequest(), timeout=CALL_SECONDS)
        return (await self._call(call)).checkpoint

    async def proof(self, index: int) -> bytes:
        """The tlog-proof of an entry under the newest checkpoint."""
        call = self._log.GetProof(log_pb2.GetProofRequest(index=index), timeout=CALL_SECONDS)
        return (await self._call(call)).proof

    async def entries(self, start: int = 0) -> Sequence[bytes]:
        """A page of log entries from index `start`, at most 256."""
        call = self._log.ListEntries(log_pb2.ListEntriesRequest(start=start), timeout=CALL_SECONDS)
        return tuple((await self._call(call)).entries)

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        except grpc.aio.UsageError:
            raise SealbidError(Reason.PEER_UNAVAILABLE, "channel is closed, want an open one") from None
