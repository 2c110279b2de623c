# SPDX-License-Identifier: Apache-2.0
"""The front door for stock clients: Open Inference Protocol v2 over gRPC, plaintext inside the caller's boundary.

Every answer carries its receipt: in the response's parameters (`sealbid-receipt`, hex) and, for unary calls, in the
trailing metadata (`sealbid-receipt-bin`, with worker, price, charge and attempts). A refused unary call is a gRPC
status with `google.rpc.ErrorInfo`. On a stream one bad request does not end its neighbours: it is answered in place
by a response with an error message and the parameter `sealbid-reason`; requests of one stream are served in order.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from sealbid_oip import messages as oip
from sealbid_oip.codec import append_response_parameters, append_stream_parameters
from sealbid_oip.service import EXTENSIONS, METHODS, SERVICE
from sealbid_oip.spec import ModelSpec, model_config, model_metadata

from attestation.errors import Reason, SealbidError
from attestation.rpc.auth import Role
from attestation.rpc.status import abort
from attestation.sealing.header import Method
from gateway.auth import Authenticator
from gateway.errors import InvalidRequest, NoCapacity, Unauthenticated
from gateway.flow import Answer, Arrival, InferenceFlow
from gateway.statistics import Statistics
from gateway.tensors import Catalog

Context = grpc.aio.ServicerContext[Any, Any]
RECEIPT: Final = "sealbid-receipt"
REASON: Final = "sealbid-reason"
PROFILE: Final = "sealbid-profile"


class InferenceService:
    """Turns RPCs into arrivals and answers; everything between is the flow's."""

    def __init__(
        self,
        *,
        flow: InferenceFlow,
        catalog: Catalog,
        authenticator: Authenticator,
        statistics: Statistics,
        profile: str,
        version: str,
    ) -> None:
        self._flow = flow
        self._catalog = catalog
        self._authenticator = authenticator
        self._statistics = statistics
        self._profile = profile
        self._version = version

    def handler(self) -> grpc.GenericRpcHandler:
        """The service's methods, by name: payloads stay bytes, since the flow seals them as they came."""
        unary: dict[str, Callable[[Any], Message]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
        }
        handlers = {name: _message_handler(name, respond) for name, respond in unary.items()}
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._model_infer)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._model_stream_infer)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    # inference

    async def _model_infer(self, payload: bytes, context: Context) -> bytes:
        try:
            arrival = self._arrival(context, Method.INFER, payload)
            answer = await self._flow.unary(arrival)
        except SealbidError as error:
            await abort(context, error)
        context.set_trailing_metadata(self._trailing(answer))
        return append_response_parameters(answer.data, {RECEIPT: answer.request_id.hex(), PROFILE: self._profile})

    async def _model_stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for payload in requests:
            try:
                async for message in self._messages(self._arrival(context, Method.STREAM, payload)):
                    yield message
            except Unauthenticated as error:
                await abort(context, error)
            except SealbidError as error:
                yield _in_stream_error(payload, error)

    def _arrival(self, context: Context, method: Method, payload: bytes) -> Arrival:
        credential = self._authenticator.require(context, Role.CALLER)
        return Arrival(tenant=credential.name, method=method, payload=payload, seconds_left=context.time_remaining())

    async def _messages(self, arrival: Arrival) -> AsyncIterator[bytes]:
        parameters = {PROFILE: self._profile}
        async for request_id, message in self._flow.stream(arrival):
            parameters[RECEIPT] = request_id.hex()
            yield append_stream_parameters(message, parameters)

    def _trailing(self, answer: Answer) -> tuple[tuple[str, str | bytes], ...]:
        return (
            ("sealbid-receipt-bin", answer.request_id),
            ("sealbid-worker-bin", answer.worker_id),
            ("sealbid-price-nanos", str(answer.price_nanos)),
            ("sealbid-charge-nanos", str(answer.charge_nanos)),
            ("sealbid-attempts", str(answer.attempts)),
            (PROFILE, self._profile),
        )

    # the rest of the protocol

    def _server_live(self, _request: oip.ServerLiveRequest) -> oip.ServerLiveResponse:
        return oip.ServerLiveResponse(live=True)

    def _server_ready(self, _request: oip.ServerReadyRequest) -> oip.ServerReadyResponse:
        """Ready when every configured model has an attested worker now."""
        return oip.ServerReadyResponse(ready=all(map(self._ready, self._catalog.names)))

    def _model_ready(self, request: oip.ModelReadyRequest) -> oip.ModelReadyResponse:
        return oip.ModelReadyResponse(ready=self._ready(request.name) and request.version in ("", "1"))

    def _server_metadata(self, _request: oip.ServerMetadataRequest) -> oip.ServerMetadataResponse:
        name = "sealbid" if self._profile == "production" else f"sealbid ({self._profile})"
        return oip.ServerMetadataResponse(name=name, version=self._version, extensions=EXTENSIONS)

    def _model_metadata(self, request: oip.ModelMetadataRequest) -> oip.ModelMetadataResponse:
        return model_metadata(self._spec(request.name, request.version))

    def _model_config(self, request: oip.ModelConfigRequest) -> oip.ModelConfigResponse:
        return oip.ModelConfigResponse(config=model_config(self._spec(request.name, request.version)))

    def _model_statistics(self, request: oip.ModelStatisticsRequest) -> oip.ModelStatisticsResponse:
        """Of one model, or of all where none is named."""
        if request.name and not self._catalog.known(request.name):
            raise InvalidRequest(Reason.MODEL_UNKNOWN, "name", "unknown", "a configured model")
        names = [request.name] if request.name else self._catalog.names
        return oip.ModelStatisticsResponse(model_stats=[self._statistics.of(name) for name in names])

    def _repository_index(self, request: oip.RepositoryIndexRequest) -> oip.RepositoryIndexResponse:
        response = oip.RepositoryIndexResponse()
        for name in self._catalog.names:
            ready = self._ready(name)
            if ready or not request.ready:
                state, reason = ("READY", "") if ready else ("UNAVAILABLE", "no attested worker now")
                response.models.add(name=name, version="1", state=state, reason=reason)
        return response

    def _ready(self, model: str) -> bool:
        try:
            self._catalog.spec(model)
        except (InvalidRequest, NoCapacity):
            return False
        return True

    def _spec(self, model: str, version: str) -> ModelSpec:
        spec = self._catalog.spec(model)
        if version not in ("", *spec.versions):
            raise InvalidRequest(Reason.MODEL_UNKNOWN, "version", "unknown", " or ".join(spec.versions))
        return spec


def _message_handler(name: str, respond: Callable[[Any], Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    """An RPC that takes and gives whole messages of the protocol's private pool."""

    async def serve(request: Any, context: Context) -> Message:
        try:
            return respond(request)
        except SealbidError as error:
            await abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        serve, request_deserializer=METHODS[name].request.FromString, response_serializer=_serialize
    )


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _in_stream_error(payload: bytes, error: SealbidError) -> bytes:
    """The refusal of one request of a stream, under the id its sender gave it."""
    try:
        request_id = oip.ModelInferRequest.FromString(payload).id
    except DecodeError:
        request_id = ""
    response = oip.ModelStreamInferResponse(error_message=f"{error.reason}: {error.message}")
    response.infer_response.id = request_id
    return append_stream_parameters(response.SerializeToString(), {REASON: error.reason.value})
