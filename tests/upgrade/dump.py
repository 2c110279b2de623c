# SPDX-License-Identifier: Apache-2.0
"""Writes the folder of this version: the databases of one short run of a real deployment, as text.

    python -m tests.upgrade.dump

To be run once for each version, when it is released; a folder that exists is never written again. The run has unary
calls, a stream, a call a worker refuses, a failover, a worker the policy refuses and a revocation. Nothing is written
if any secret of the run, a path or the name of this machine is found in it.
"""

import asyncio
import socket
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from attestation.server.state import LOG_DATABASE, STORE_DATABASE
from gateway.receipts.archive import DATABASE
from sealbid.demo.deployment import WorkerPlan
from sealbid.demo.observer import verdicts
from tests.support.e2e import (
    Caller,
    E2EDeployment,
    a_deployment,
    a_request,
    eventually,
    numbers,
    prompt,
    sealbid,
    started,
)
from tests.support.faulty import arm
from tests.support.tree import ROOT
from tests.upgrade.databases import FILES, FOLDER, current_version, dump_file, text_of, values

MODELS: Final = ("identity", "tiny")
WORKERS: Final = (
    WorkerPlan(name="alder", ask_nanos=400, models=MODELS),
    WorkerPlan(name="birch", ask_nanos=900, models=MODELS, dials=True),
    WorkerPlan(name="dogwood", ask_nanos=100, models=MODELS, image="another-image"),
)
UNARY: Final = 4
LINKED: Final = b'sealbid_gateway_workers{profile="SIMULATED"} 2.0'


def main() -> None:
    """Makes the folder of this version."""
    folder = FOLDER / current_version()
    if folder.exists():
        raise SystemExit(f"{folder.name} exists, want a version without a folder")
    with tempfile.TemporaryDirectory() as place:
        deployment = a_deployment(Path(place), workers=WORKERS, launcher="tests.support.faulty")
        with started(deployment, workers=2):
            linked = eventually(partial(deployment.scrape, "gateway"), lambda text: LINKED in text)
            assert LINKED in linked, "both workers that were admitted are linked"
            _run(deployment)
        _write(deployment, folder)


def _run(deployment: E2EDeployment) -> None:
    with Caller(deployment) as caller:
        _calls(deployment, caller)
        arm(deployment.fault_dir("alder"), "last-request-frame", deployment.processes.pid("alder"))
        failover = caller.infer(a_request("identity", {"x": numbers(bytes(16))}))
        assert failover.attempts == 2, "the last call is a failover"
        caller.receipt(failover.request_id)
        seen = eventually(lambda: asyncio.run(verdicts(deployment)), lambda seen: not all(v.passed for v in seen))
    keyset = next(verdict.keyset_id for verdict in reversed(seen) if verdict.provider == "birch")
    operator = str(deployment.key_file("operator"))
    way = ("--address", deployment.registry, "--api-key-file", operator, "--reason", "end of the run")
    assert sealbid("registry", "revoke", *way, keyset).returncode == 0


def _calls(deployment: E2EDeployment, caller: Caller) -> None:
    """Calls of every kind, until each has a receipt with its worker's signature."""
    for _ in range(UNARY):
        caller.infer(a_request("identity", {"x": numbers(bytes(16))}))
    stream = a_request("tiny", {"prompt": prompt(b"once upon a time")}, max_tokens=4)
    assert len(list(caller.stream([stream]))) == 4
    wrong = a_request("tiny", {"token_ids": np.array([1 << 30], np.int32)}, max_tokens=4)
    assert [bool(message.error_message) for message in caller.stream([wrong])] == [True]
    signed = eventually(partial(_signed, deployment), lambda count: count == UNARY + 2)
    assert signed == UNARY + 2, "every call is in the journal"


def _signed(deployment: E2EDeployment) -> int:
    with closing(sqlite3.connect(deployment.root / "gateway" / DATABASE)) as journal:
        query = "SELECT count(*) FROM receipt JOIN worker_half ON half_sha256 = worker_half_sha256"
        count: int = journal.execute(f"{query} WHERE batch_sha256 <> x''").fetchone()[0]
        return count


def _write(deployment: E2EDeployment, folder: Path) -> None:
    registry, gateway = deployment.root / "registry", deployment.root / "gateway"
    databases = [registry / LOG_DATABASE, registry / STORE_DATABASE, gateway / DATABASE]
    texts = {dump_file(folder, path.name): text_of(path).encode() for path in databases}
    texts |= {folder / name: (registry / name).read_bytes() for name in FILES}
    found = [*texts.values(), *(value for path in databases for value in values(path))]
    assert not _leaks(found, [*_secrets(deployment), *_names(deployment)]), "nothing of this machine is in the dump"
    folder.mkdir()
    for path, text in texts.items():
        path.write_bytes(text)


def _secrets(deployment: E2EDeployment) -> Iterable[bytes]:
    """Every private key of the run, as its file has it and in hex."""
    for pattern in ("keys/*.key", "registry/*.key", "gateway/*.key"):
        for path in deployment.root.glob(pattern):
            yield path.read_bytes()
            yield path.read_bytes().hex().upper().encode()


def _names(deployment: E2EDeployment) -> Iterable[bytes]:
    return (str(name).encode() for name in (deployment.root, ROOT, Path.home(), socket.gethostname()))


def _leaks(values: Iterable[bytes], wanted: Iterable[bytes]) -> bool:
    names = list(wanted)
    return any(name in value for value in values for name in names)


if __name__ == "__main__":
    main()
