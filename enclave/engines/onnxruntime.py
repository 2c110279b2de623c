# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime engine: ONNX models on the CPU, the embedded default.

Refuses a model whose digest differs from the expected one before parsing it; element types the protocol or the runtime
cannot carry (BF16, sequences, maps); a batch dimension that the model does not have. NaN and infinity in outputs pass
unchanged: whether they are wrong is the caller's to say.

onnxruntime's Linux wheels report usage to their vendor unless `ORT_DISABLE_TELEMETRY=1` stands in the environment
before the library is loaded. This module is the only one that loads it, sets the variable first, and refuses to start
in a process where something else has loaded the library without it.
"""

import hashlib
import hmac
import os
import sys

if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    raise ImportError(
        "onnxruntime is loaded with its telemetry on, want ORT_DISABLE_TELEMETRY=1 before its first import"
    )
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native
from sealbid_oip.codec import Array, Arrays
from sealbid_oip.generation import Sampling
from sealbid_oip.spec import ModelSpec, TensorSpec

from attestation.errors import Reason
from enclave.engines.interface import Cancellation, EngineCancelled, EngineError, TokenStream

PLATFORM = "onnxruntime_onnx"
PROVIDERS = ("CPUExecutionProvider",)
SILENT = 4  # log only what ends the process: warnings may cite shapes and values

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_ERRORS: tuple[type[Exception], ...] = (
    *{kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)},
    RuntimeError,
    TypeError,
    ValueError,
)

onnxruntime.set_default_logger_severity(SILENT)


class ONNXRuntimeEngine:
    """One ONNX model in memory. `max_batch_size` 0 leaves the model's first dimension alone."""

    def __init__(self, *, name: str, max_batch_size: int = 0, threads: int = 1, labels: tuple[str, ...] = ()) -> None:
        self._name = name
        self._max_batch_size = max_batch_size
        self._threads = threads
        self._labels = labels
        self._digest = b""
        self._session: onnxruntime.InferenceSession | None = None
        self._spec: ModelSpec | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the loaded model."""
        return self._digest

    def load(self, model: bytes, expected_sha256: bytes) -> None:
        """Check the digest, then make a session from the bytes in memory.

        Raises:
            EngineError: ENGINE_REFUSED for another digest or bytes that are no model, UNSUPPORTED for its interface.
        """
        digest = hashlib.sha256(model).digest()
        if not hmac.compare_digest(digest, expected_sha256):
            raise EngineError(
                Reason.ENGINE_REFUSED, f"model digest is sha256:{digest.hex()}, want sha256:{expected_sha256.hex()}"
            )
        try:
            session = onnxruntime.InferenceSession(model, self._options(), providers=list(PROVIDERS))
        except _ERRORS as error:
            raise EngineError(Reason.ENGINE_REFUSED, f"model is {type(error).__name__}, want a valid graph") from None
        self._spec = self._describe(session)
        self._session, self._digest = session, digest

    def describe(self) -> ModelSpec:
        """The model's interface, read from the graph."""
        if self._spec is None:
            raise _not_loaded()
        return self._spec

    def run(self, batch: Arrays, *, cancellation: Cancellation | None = None) -> dict[str, Array]:
        """Run one batch; `cancellation` stops it between two nodes of the graph."""
        if self._session is None or self._spec is None:
            raise _not_loaded()
        options = onnxruntime.RunOptions()
        options.log_severity_level = SILENT
        if cancellation is not None:
            cancellation.check()
            cancellation.on_cancel(lambda: setattr(options, "terminate", True))
        feeds = {name: _to_strings(array) if array.dtype == np.object_ else array for name, array in batch.items()}
        names = [tensor.name for tensor in self._spec.outputs]
        try:
            values = self._session.run(names, feeds, options)
        except _ERRORS as error:
            if cancellation is not None and cancellation.cancelled:
                raise EngineCancelled from None
            raise EngineError(Reason.ENGINE_FAILED, f"run is {type(error).__name__}, want a finished run") from None
        return {
            name: _to_bytes(value) if value.dtype == np.object_ else value
            for name, value in zip(names, values, strict=True)
        }

    def stream(self, inputs: Arrays, sampling: Sampling, *, cancellation: Cancellation | None = None) -> TokenStream:
        """Refused: a plain graph answers once."""
        del inputs, sampling, cancellation
        raise EngineError(Reason.UNSUPPORTED, "method is ModelStreamInfer, want ModelInfer for this model")

    def close(self) -> None:
        """Free the session and the weights in it."""
        self._session = None

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        options.use_deterministic_compute = True
        # Spinning threads take the cores from the tasks that open and seal.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        return options

    def _describe(self, session: onnxruntime.InferenceSession) -> ModelSpec:
        return ModelSpec(
            name=self._name,
            platform=PLATFORM,
            inputs=tuple(self._tensor(node) for node in session.get_inputs()),
            outputs=tuple(self._tensor(node) for node in session.get_outputs()),
            max_batch_size=self._max_batch_size,
            labels=self._labels,
        )

    def _tensor(self, node: "onnxruntime.NodeArg") -> TensorSpec:
        if node.type not in DATATYPES:
            raise EngineError(Reason.UNSUPPORTED, f"tensor {node.name} is {node.type}, want one the protocol carries")
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        if self._max_batch_size:
            if not shape or shape[0] != -1:
                raise EngineError(
                    Reason.UNSUPPORTED, f"tensor {node.name} is {list(shape)}, want a free first dimension to batch"
                )
            shape = shape[1:]
        return TensorSpec(name=node.name, datatype=DATATYPES[node.type], shape=shape)


def _not_loaded() -> EngineError:
    return EngineError(Reason.ENGINE_FAILED, "engine is closed, want a loaded model")


def _to_strings(array: Array) -> Array:
    """The runtime's strings are text: bytes that are not UTF-8 have no meaning to it."""
    try:
        texts = [bytes(element).decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise EngineError(Reason.TENSOR_DATATYPE, "text input is not utf-8, want utf-8") from None
    return _reshape(texts, array.shape)


def _to_bytes(array: Array) -> Array:
    return _reshape([str(element).encode() for element in array.ravel().tolist()], array.shape)


def _reshape(elements: list[str] | list[bytes], shape: tuple[int, ...]) -> Array:
    objects = np.empty(len(elements), np.object_)
    objects[:] = elements
    return objects.reshape(shape)
