# SPDX-License-Identifier: Apache-2.0
"""The protocol's gRPC service as a table, for servers and clients that register methods by name.

There is no generated servicer, because the messages live in a private pool (see `sealbid_oip.messages`).
"""

from dataclasses import dataclass

from google.protobuf.message import Message

from sealbid_oip import messages as m

SERVICE = "inference.GRPCInferenceService"

MODEL_INFER = "ModelInfer"
MODEL_STREAM_INFER = "ModelStreamInfer"

# What ServerMetadata lists: Triton's names of the extensions served.
EXTENSIONS = ("model_configuration", "model_repository", "statistics", "parameters", "binary_tensor_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC: its messages and which sides stream."""

    name: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool = False
    server_streaming: bool = False

    @property
    def path(self) -> str:
        """The HTTP/2 path that names the method on the wire."""
        return f"/{SERVICE}/{self.name}"


_TABLE = (
    Method(name="ServerLive", request=m.ServerLiveRequest, response=m.ServerLiveResponse),
    Method(name="ServerReady", request=m.ServerReadyRequest, response=m.ServerReadyResponse),
    Method(name="ModelReady", request=m.ModelReadyRequest, response=m.ModelReadyResponse),
    Method(name="ServerMetadata", request=m.ServerMetadataRequest, response=m.ServerMetadataResponse),
    Method(name="ModelMetadata", request=m.ModelMetadataRequest, response=m.ModelMetadataResponse),
    Method(name=MODEL_INFER, request=m.ModelInferRequest, response=m.ModelInferResponse),
    Method(
        name=MODEL_STREAM_INFER,
        request=m.ModelInferRequest,
        response=m.ModelStreamInferResponse,
        client_streaming=True,
        server_streaming=True,
    ),
    Method(name="ModelConfig", request=m.ModelConfigRequest, response=m.ModelConfigResponse),
    Method(name="ModelStatistics", request=m.ModelStatisticsRequest, response=m.ModelStatisticsResponse),
    Method(name="RepositoryIndex", request=m.RepositoryIndexRequest, response=m.RepositoryIndexResponse),
)

METHODS = {method.name: method for method in _TABLE}
