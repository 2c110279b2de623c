# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol's message classes, built in a descriptor pool of their own.

Protobuf's default pool takes each full name once, and tritonclient registers `inference.*` there. Ours live in `POOL`,
so both can be loaded in one process and neither sees the other. The price: these classes have no generated module, and
a message of one pool is never an instance of the other's class; bytes are what the two exchange.
"""

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from sealbid_oip.descriptor import FILE_DESCRIPTOR_SET

if TYPE_CHECKING:
    from sealbid_oip.inference_pb2 import (
        InferParameter,
        InferTensorContents,
        ModelConfigRequest,
        ModelConfigResponse,
        ModelInferRequest,
        ModelInferResponse,
        ModelMetadataRequest,
        ModelMetadataResponse,
        ModelReadyRequest,
        ModelReadyResponse,
        ModelStatistics,
        ModelStatisticsRequest,
        ModelStatisticsResponse,
        ModelStreamInferResponse,
        RepositoryIndexRequest,
        RepositoryIndexResponse,
        ServerLiveRequest,
        ServerLiveResponse,
        ServerMetadataRequest,
        ServerMetadataResponse,
        ServerReadyRequest,
        ServerReadyResponse,
        StatisticDuration,
    )
    from sealbid_oip.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput

__all__ = [
    "POOL",
    "DataType",
    "InferParameter",
    "InferTensorContents",
    "ModelConfig",
    "ModelConfigRequest",
    "ModelConfigResponse",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelInput",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelOutput",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "ModelStatistics",
    "ModelStatisticsRequest",
    "ModelStatisticsResponse",
    "ModelStreamInferResponse",
    "RepositoryIndexRequest",
    "RepositoryIndexResponse",
    "ServerLiveRequest",
    "ServerLiveResponse",
    "ServerMetadataRequest",
    "ServerMetadataResponse",
    "ServerReadyRequest",
    "ServerReadyResponse",
    "StatisticDuration",
]


def _private_pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(FILE_DESCRIPTOR_SET).file:
        pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]  # the stubs leave it untyped
    return pool


POOL = _private_pool()

if not TYPE_CHECKING:
    DataType = EnumTypeWrapper(POOL.FindEnumTypeByName("inference.DataType"))
    globals().update(
        {name: GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}")) for name in __all__[2:]},
    )
