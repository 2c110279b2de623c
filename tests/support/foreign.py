# SPDX-License-Identifier: Apache-2.0
"""The foreign client, driven from a test: tritonclient in an environment of its own, which holds nothing of Sealbid.

Where that environment is not set up its tests are skipped; with `SEALBID_REQUIRE_FOREIGN=1` they fail instead.
"""

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sealbid_oip.codec import Array
from typing_extensions import override

from tests.support.e2e import E2EDeployment
from tests.support.tree import ROOT

PYTHON: Final = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT: Final = ROOT / "tests" / "support" / "foreign_client.py"
OURS: Final = ("attestation", "gateway", "enclave", "sealbid", "sealbid_oip", "sealbid_wire")
_SECONDS: Final = 120
_DATATYPES: Final = {"float32": "FP32", "int32": "INT32", "float64": "FP64", "object": "BYTES"}

Step = Mapping[str, Any]


def foreign_python() -> Path:
    """The interpreter of the foreign environment; skips or fails the test where there is none."""
    if PYTHON.exists():
        return PYTHON
    missing = "no .venv-foreign with tritonclient here, want one: make test sets it up"
    if os.environ.get("SEALBID_REQUIRE_FOREIGN") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignClient:
    """tritonclient, synchronous or aio, as a tenant of a gateway."""

    gateway: str
    key: str
    client: str

    def take(self, *steps: Step) -> list[Any]:
        """Runs the script of `tests.support.foreign_client` on these steps; one result each."""
        document = {
            "gateway": self.gateway,
            "headers": {"authorization": f"Bearer {self.key}"},
            "client": self.client,
            "steps": steps,
        }
        finished = subprocess.run(
            [str(foreign_python()), "-I", str(SCRIPT)],
            input=json.dumps(document).encode(),
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            cwd="/",
        )
        assert finished.returncode == 0, finished.stderr.decode()
        results: list[Any] = json.loads(finished.stdout)
        return results

    def call(self, method: str, **arguments: object) -> Any:
        """One call of a method that answers without tensors."""
        (result,) = self.take({"call": method, "arguments": arguments})
        return result


def foreign_request(model: str, inputs: Mapping[str, Array], **more: object) -> dict[str, Any]:
    """A request as the script reads it; a BYTES tensor has one element."""
    return {"model": model, "inputs": {name: _tensor(array) for name, array in inputs.items()}, **more}


def array_of_output(answer: Mapping[str, Any], name: str) -> Array:
    """An output tensor of numbers, exactly as it came."""
    output = answer["outputs"][name]
    kinds = {datatype: kind for kind, datatype in _DATATYPES.items()}
    data = np.frombuffer(base64.b64decode(output["data"]), kinds[output["datatype"]])
    return data.reshape(output["shape"])


def text_of_output(answer: Mapping[str, Any], name: str) -> bytes:
    """The bytes of a BYTES output of one element."""
    return base64.b64decode(answer["outputs"][name]["data"])


def _tensor(array: Array) -> dict[str, Any]:
    datatype = _DATATYPES[str(array.dtype)]
    data = array.ravel().tolist()[0] if datatype == "BYTES" else array.tobytes()
    return {"datatype": datatype, "shape": array.shape, "data": base64.b64encode(data).decode()}


class TunedDeployment(E2EDeployment):
    """A deployment whose workers serve some models with settings of their own."""

    model_settings: Mapping[str, str] = {}
    """More TOML in the inline table of a model, by its name."""

    @override
    def prepare(self) -> None:
        super().prepare()
        for worker in self.plan.workers:
            path = self.worker_settings(worker.name)
            text = path.read_text()
            for name, more in self.model_settings.items():
                text = text.replace(f'name = "{name}" }}', f'name = "{name}", {more} }}')
            path.write_text(text)


def steps(kind: str, requests: Sequence[Mapping[str, Any]]) -> list[Step]:
    """One step of this kind for each request."""
    return [{kind: request} for request in requests]
