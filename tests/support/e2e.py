# SPDX-License-Identifier: Apache-2.0
"""Whole deployments for end-to-end tests: real processes over loopback, a caller, and what they leave behind.

Processes may be started through a launcher (`tests.support.tapped`, `tests.support.faulty`) that runs the real command
with functions wrapped, so that the product has no hook for any test. Each process has a temporary folder of its own.
"""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from sealbid_oip.codec import Array, decode_outputs
from sealbid_oip.messages import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from sealbid_oip.parameters import ParameterValue, to_parameter
from sealbid_oip.service import SERVICE
from sealbid_wire.receipt.v1 import receipt_pb2, receipt_pb2_grpc
from typing_extensions import override

from attestation.receipt_file import ReceiptFile
from attestation.rpc.auth import bearer
from attestation.rpc.status import DETAILS_KEY
from enclave.models.catalog import find_model
from sealbid.demo.deployment import Deployment, ModelPlan, Plan, WorkerPlan
from sealbid.demo.processes import Processes, Running, free_port
from sealbid.demo.readiness import until_ready
from tests.support.tree import ROOT

POLICY: Final = ROOT / "manifests" / "policies" / "development.toml"
WAIT_SECONDS: Final = 60.0
MAX_MESSAGE: Final = 64 << 20
TAP_DIR: Final = "TEST_TAP_DIR"
FAULT_DIR: Final = "TEST_FAULT_DIR"

T = TypeVar("T")


class Launched(Processes):
    """Processes with temporary folders of their own, started through `launcher` (a module run with `-m`)."""

    def __init__(self, root: Path, *, launcher: str) -> None:
        super().__init__(root / "logs", environment={})
        self._root = root
        self._launcher = launcher
        self.settings: dict[str, dict[str, str]] = {}
        """Environment of single processes, by name."""

    @override
    def start(self, name: str, *arguments: str) -> Running:
        """Starts `sealbid ARGUMENTS` through the launcher; its output is appended to `NAME.log`."""
        log = self._log_dir / f"{name}.log"
        folders = {key: self._root / kind / name for key, kind in self._folders().items()}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", self._launcher, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **_python_path(),
                    **{key: str(folder) for key, folder in folders.items()},
                    **self.settings.get(name, {}),
                },
            )
        self._running[name] = Running(process=process, log=log)
        return self._running[name]

    @staticmethod
    def _folders() -> dict[str, str]:
        return {"TMPDIR": "tmp", TAP_DIR: "tap", FAULT_DIR: "fault"}


def model_plans(*references: str) -> dict[str, ModelPlan]:
    """The models of that name, as a deployment plans them."""
    return {name: ModelPlan(source=name, engine_sha256=find_model(name).sha256.hex()) for name in references}


def a_deployment(
    root: Path,
    *,
    workers: Sequence[WorkerPlan],
    launcher: str = "sealbid",
    gateway_extra: str = "",
) -> "E2EDeployment":
    """A deployment that is planned and not started; every process shows its metrics."""
    models = model_plans(*sorted({model for worker in workers for model in worker.models}))
    plan = Plan(models=models, workers=workers, policy=POLICY, gateway_extra=gateway_extra)
    return E2EDeployment(root, plan, launcher=launcher)


class E2EDeployment(Deployment):
    """A deployment whose processes are launched for tests."""

    def __init__(self, root: Path, plan: Plan, *, launcher: str) -> None:
        super().__init__(root, plan)
        self.launched = Launched(self.root, launcher=launcher)
        self.processes = self.launched
        self.metrics_of = {"gateway": self.metrics, "registry": f"127.0.0.1:{free_port()}"}
        self.launched.settings["registry"] = {"SEALBID_REGISTRY_METRICS_LISTEN": self.metrics_of["registry"]}
        for worker in plan.workers:
            self.metrics_of[worker.name] = f"127.0.0.1:{free_port()}"
            self.launched.settings[worker.name] = {"SEALBID_WORKER_METRICS_LISTEN": self.metrics_of[worker.name]}

    def scrape(self, name: str) -> bytes:
        """What a process shows at /metrics."""
        with urllib.request.urlopen(f"http://{self.metrics_of[name]}/metrics", timeout=10) as answer:
            text: bytes = answer.read()
            return text

    def fault_dir(self, name: str) -> Path:
        """Where a process looks for the stage at which it is to end (see tests.support.faulty)."""
        return self.root / "fault" / name

    def tap_dir(self, name: str) -> Path:
        """Where a tapped process writes what it sends and receives (see tests.support.tapped)."""
        return self.root / "tap" / name


@contextmanager
def started(deployment: E2EDeployment, *, workers: int | None = None) -> Iterator[E2EDeployment]:
    """Runs the deployment until the block ends; entered once so many workers have an offer in the book."""
    try:
        deployment.launch()
        wait_ready(deployment, workers=len(deployment.plan.workers) if workers is None else workers)
        yield deployment
    finally:
        deployment.processes.stop_all()


def wait_ready(deployment: Deployment, *, workers: int) -> None:
    """Waits until so many workers have an offer in the book and a link by which a request can reach them."""
    asyncio.run(until_ready(deployment, workers=workers))
    linked = eventually(lambda: linked_workers(deployment), lambda count: count >= workers)
    assert linked >= workers, f"{linked} workers are linked, want {workers}"


def linked_workers(deployment: Deployment) -> int:
    """How many workers the gateway counts as linked; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{deployment.metrics}/metrics", timeout=10) as answer:
            shown = answer.read().decode()
    except OSError:
        return 0
    lines = [line for line in shown.splitlines() if line.startswith("sealbid_gateway_workers{")]
    return sum(int(float(line.split()[-1])) for line in lines)


def eventually(read: Callable[[], T], accept: Callable[[T], bool], *, seconds: float = WAIT_SECONDS) -> T:
    """Reads until the value is accepted; the last value read when the time is over, so that the assertion shows it."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if accept(value) or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer to a unary call."""

    response: ModelInferResponse
    trailing: Mapping[str, str | bytes]
    raw: bytes = field(repr=False)

    @property
    def request_id(self) -> bytes:
        """Which receipt belongs to it."""
        value = self.trailing["sealbid-receipt-bin"]
        assert isinstance(value, bytes)
        return value

    @property
    def attempts(self) -> int:
        """How many workers were tried."""
        return int(self.trailing["sealbid-attempts"])

    @property
    def charge_nanos(self) -> int:
        """What it cost."""
        return int(self.trailing["sealbid-charge-nanos"])

    @property
    def outputs(self) -> Mapping[str, Array]:
        """The tensors."""
        return decode_outputs(self.response)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One refusal as a caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    text: str
    """All a caller could print of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a tenant was charged."""

    charged_nanos: int
    charges: int


class Caller:
    """A client of one gateway on plain gRPC, seeing more than a stock client shows."""

    def __init__(self, deployment: Deployment, *, account: str = "acme", key: str | None = None) -> None:
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.channel = grpc.insecure_channel(deployment.gateway, options=options)
        self.metadata = bearer(deployment.key(account) if key is None else key)
        self._infer: Any = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        self._stream: Any = self.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        self.receipts = receipt_pb2_grpc.ReceiptServiceStub(self.channel)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def infer(self, request: ModelInferRequest, *, seconds: float | None = 20) -> Answered:
        """One answer. Raises `grpc.RpcError`."""
        data, call = self._infer.with_call(request.SerializeToString(), metadata=self.metadata, timeout=seconds)
        trailing = dict(call.trailing_metadata() or ())
        return Answered(response=ModelInferResponse.FromString(data), trailing=trailing, raw=data)

    def refused(self, request: ModelInferRequest, *, seconds: float | None = 20) -> Refused:
        """The refusal of a request that must not be answered."""
        try:
            answered = self.infer(request, seconds=seconds)
        except grpc.RpcError as error:
            return refusal(error)
        raise AssertionError(f"request is answered after {answered.attempts} attempts, want a refusal")

    def begin(self, request: ModelInferRequest, *, seconds: float | None = 20) -> Any:
        """A call under way."""
        return self._infer.future(request.SerializeToString(), metadata=self.metadata, timeout=seconds)

    def stream(
        self, requests: Iterable[ModelInferRequest], *, seconds: float | None = 20
    ) -> Iterator[ModelStreamInferResponse]:
        """The responses of a stream as they come. Raises `grpc.RpcError`."""
        payloads = iter([request.SerializeToString() for request in requests])
        for data in self._stream(payloads, metadata=self.metadata, timeout=seconds):
            yield ModelStreamInferResponse.FromString(data)

    def account(self) -> Account:
        """What was charged so far."""
        answer = self.receipts.GetAccount(
            receipt_pb2.GetAccountRequest(), metadata=self.metadata, timeout=10, wait_for_ready=True
        )
        return Account(charged_nanos=answer.charged_nanos, charges=answer.charges)

    def receipt(self, request_id: bytes, *, seconds: float = 10) -> bytes:
        """A receipt file. Raises `grpc.RpcError`."""
        request = receipt_pb2.GetReceiptRequest(receipt_id=request_id)
        receipt: bytes = self.receipts.GetReceipt(request, metadata=self.metadata, timeout=seconds).receipt
        return receipt

    def receipt_file(self, request_id: bytes) -> ReceiptFile:
        """A receipt, read."""
        return ReceiptFile.decode(self.receipt(request_id))


def refusal(error: grpc.RpcError) -> Refused:
    """What a failed call says; empty reason where no ErrorInfo came."""
    sent: Any = error.trailing_metadata()
    details = dict(sent or ())
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    raw = details.get(DETAILS_KEY)
    if isinstance(raw, bytes):
        status.ParseFromString(raw)
        assert [detail.Unpack(info) for detail in status.details] == [True], "one ErrorInfo and nothing else is sent"
    return Refused(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        text=f"{error!s} {details!r} {status!s}",
    )


def a_request(
    model: str,
    inputs: Mapping[str, Array],
    *,
    datatypes: Mapping[str, str] | None = None,
    request_id: str = "",
    **parameters: ParameterValue,
) -> ModelInferRequest:
    """A request; parameters are named with underscores for dashes. BYTES tensors are arrays of objects."""
    request = ModelInferRequest(model_name=model, id=request_id)
    for name, array in inputs.items():
        datatype = (datatypes or {}).get(name) or _datatype(array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(_raw(array))
    for key, value in parameters.items():
        request.parameters[key.replace("_", "-") if key.startswith("sealbid") else key].CopyFrom(to_parameter(value))
    return request


def numbers(payload: bytes, *, rows: int = 1) -> Array:
    """Rows of float32 numbers with exactly these bytes."""
    return np.frombuffer(payload, np.float32).reshape(rows, -1)


def prompt(text: bytes) -> Array:
    """The tensor of one prompt."""
    array = np.empty(1, np.object_)
    array[0] = text
    return array


def sealbid(*arguments: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Runs the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sealbid", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
        env={**os.environ, **_python_path()},
    )


def audit(receipt: bytes, trust: Path) -> "subprocess.CompletedProcess[bytes]":
    """`sealbid audit receipt - --json`."""
    return sealbid("audit", "receipt", "-", "--trust", str(trust), "--json", stdin=receipt)


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "proto", "proto/gen"))}


def _datatype(array: Array) -> str:
    if array.dtype == np.object_:
        return "BYTES"
    return {"float32": "FP32", "int32": "INT32", "int64": "INT64", "float64": "FP64"}[str(array.dtype)]


def _raw(array: Array) -> bytes:
    if array.dtype == np.object_:
        return b"".join(prefix_bytes(item) for item in array.ravel().tolist())
    return array.tobytes()


def prefix_bytes(item: bytes) -> bytes:
    """One element of a BYTES tensor."""
    return len(item).to_bytes(4, "little") + item
