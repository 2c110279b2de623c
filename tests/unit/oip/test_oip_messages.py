# SPDX-License-Identifier: Apache-2.0
"""The messages: the public protocol's numbers, in a pool of their own."""

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool
from sealbid_oip import messages
from sealbid_oip.messages import POOL, DataType, ModelInferRequest
from sealbid_oip.service import METHODS, SERVICE

# The numbers of the public protocol (Open Inference Protocol v2, Triton's model configuration), as facts.
NUMBERS = {
    "InferParameter": "bool_param=1 int64_param=2 string_param=3 double_param=4 uint64_param=5",
    "InferTensorContents": (
        "bool_contents=1 int_contents=2 int64_contents=3 uint_contents=4 uint64_contents=5 fp32_contents=6 "
        "fp64_contents=7 bytes_contents=8"
    ),
    "ModelInferRequest": ("model_name=1 model_version=2 id=3 parameters=4 inputs=5 outputs=6 raw_input_contents=7"),
    "ModelInferRequest.InferInputTensor": "name=1 datatype=2 shape=3 parameters=4 contents=5",
    "ModelInferRequest.InferRequestedOutputTensor": "name=1 parameters=2",
    "ModelInferResponse": "model_name=1 model_version=2 id=3 parameters=4 outputs=5 raw_output_contents=6",
    "ModelInferResponse.InferOutputTensor": "name=1 datatype=2 shape=3 parameters=4 contents=5",
    "ModelStreamInferResponse": "error_message=1 infer_response=2",
    "ModelMetadataResponse": "name=1 versions=2 platform=3 inputs=4 outputs=5",
    "ServerMetadataResponse": "name=1 version=2 extensions=3",
    "ModelReadyRequest": "name=1 version=2",
    "ModelStatistics": (
        "name=1 version=2 last_inference=3 inference_count=4 execution_count=5 inference_stats=6 batch_stats=7"
    ),
    "InferStatistics": (
        "success=1 fail=2 queue=3 compute_input=4 compute_infer=5 compute_output=6 cache_hit=7 cache_miss=8"
    ),
    "RepositoryIndexResponse.ModelIndex": "name=1 version=2 state=3 reason=4",
    "ModelConfigResponse": "config=1",
    "ModelConfig": (
        "name=1 platform=2 version_policy=3 max_batch_size=4 input=5 output=6 instance_group=7 "
        "default_model_filename=8 dynamic_batching=11 parameters=14 backend=17 model_transaction_policy=19 "
        "response_cache=24 runtime=25"
    ),
    "ModelInput": ("name=1 data_type=2 format=3 dims=4 is_shape_tensor=6 allow_ragged_batch=7 optional=8"),
    "ModelOutput": "name=1 data_type=2 dims=3 label_filename=4 is_shape_tensor=6",
}

COEXIST = """
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from sealbid_oip.descriptor import FILE_DESCRIPTOR_SET

foreign = descriptor_pool.Default()
for file in FileDescriptorSet.FromString(FILE_DESCRIPTOR_SET).file:
    file.name = {"inference/service.proto": "grpc_service.proto", "inference/model_config.proto": "model_config.proto"}[
        file.name
    ]
    file.dependency[:] = ["model_config.proto"] if file.dependency else []
    foreign.AddSerializedFile(file.SerializeToString())
theirs = message_factory.GetMessageClass(foreign.FindMessageTypeByName("inference.ModelInferRequest"))

from sealbid_oip.messages import ModelInferRequest as ours

request = theirs(model_name="m", raw_input_contents=[b"x"])
assert theirs is not ours
assert ours.FromString(request.SerializeToString()).raw_input_contents[0] == b"x"
"""


@pytest.mark.parametrize("name", NUMBERS)
def test_field_numbers_are_the_protocols(name: str) -> None:
    """Every field has the number and name that clients written elsewhere use."""
    fields = POOL.FindMessageTypeByName(f"inference.{name}").fields  # type: ignore[no-untyped-call]
    assert " ".join(f"{field.name}={field.number}" for field in fields) == NUMBERS[name]


def test_the_service_has_the_protocols_methods() -> None:
    """The table holds every RPC of the service, with its messages and directions, under the public name."""
    service = POOL.FindServiceByName(SERVICE)  # type: ignore[no-untyped-call]
    assert {method.name for method in service.methods} == set(METHODS)
    for described in service.methods:
        method = METHODS[described.name]
        assert method.request.DESCRIPTOR is described.input_type
        assert method.response.DESCRIPTOR is described.output_type
        assert method.client_streaming == described.client_streaming
        assert method.server_streaming == described.server_streaming
        assert method.path == f"/inference.GRPCInferenceService/{described.name}"


def test_the_default_pool_stays_untouched() -> None:
    """Importing the messages registers nothing where tritonclient registers its own."""
    assert ModelInferRequest.DESCRIPTOR.file.pool is POOL
    default = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    with pytest.raises(KeyError):
        default.FindMessageTypeByName("inference.ModelInferRequest")


def test_another_copy_of_the_package_can_be_loaded_first() -> None:
    """In a process whose default pool holds `inference.*`, ours load too, and bytes pass between both."""
    done = subprocess.run([sys.executable, "-c", COEXIST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_name_of_the_module_is_a_message_of_the_private_pool() -> None:
    """What the module says it exports is there and comes from `POOL`."""
    for name in messages.__all__:
        if name not in ("POOL", "DataType"):
            assert getattr(messages, name).DESCRIPTOR.full_name == f"inference.{name}"
    assert DataType.Value("TYPE_FP32") == 11
