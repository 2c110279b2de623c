# SPDX-License-Identifier: Apache-2.0
"""The demo's caller: a script for an environment that holds tritonclient and nothing of Sealbid.

Reads real files, makes magika's input rows, sends each through a stock client, and prints one JSON line per answer.
After `--pause-after` answers it prints `{"paused": true}` and waits for a line on standard input, so that the demo can
freeze the winning worker first. The only code it shares with Sealbid is the file of magika's feature function.
"""

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc as triton

MODEL = "magika"


def load_features(path: Path) -> ModuleType:
    """The module at `path`, without the package around it."""
    spec = importlib.util.spec_from_file_location("magika_features", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018 - one fact about one value
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def emit(document: dict[str, object]) -> None:
    """One JSON line on standard output."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def infer(client: Any, module: ModuleType, labels: list[str], file: Path, headers: dict[str, str]) -> dict[str, object]:
    """One file's type through the gateway, with what the answer says about its own receipt."""
    row = module.features(file.read_bytes())[np.newaxis, :]
    tensor = triton.InferInput(module.INPUT, row.shape, "INT32")
    tensor.set_data_from_numpy(row)
    started = time.perf_counter()
    result = client.infer(MODEL, [tensor], headers=headers, client_timeout=20)
    elapsed = time.perf_counter() - started
    label, probability = module.best_label(result.as_numpy(module.OUTPUT)[0], labels)
    parameters = result.get_response().parameters
    return {
        "file": file.name,
        "label": label,
        "probability": round(probability, 4),
        "milliseconds": round(elapsed * 1000, 2),
        "receipt": parameters["sealbid-receipt"].string_param,
        "profile": parameters["sealbid-profile"].string_param,
    }


def main() -> int:
    """Runs the files in order; exits 1 at the first failed request, after printing it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--pause-after", type=int, default=-1)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    module = load_features(options.features)
    headers = {"authorization": f"Bearer {options.key_file.read_text().strip()}"}
    with triton.InferenceServerClient(options.gateway) as client:
        config = client.get_model_config(MODEL, headers=headers).config
        labels = config.parameters["labels"].string_value.split("\n")
        for number, file in enumerate(options.files):
            if number == options.pause_after:
                emit({"paused": True})
                sys.stdin.readline()
            try:
                emit(infer(client, module, labels, file, headers))
            except triton.InferenceServerException as error:
                emit({"file": file.name, "error": str(error)})
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
