# SPDX-License-Identifier: Apache-2.0
"""No process of a deployment needs more memory the more requests it has served.

Resident memory is read again and again while requests are served, after a warm-up; it grows when the median of the
slopes between all pairs of readings is above a limit, so that single jumps of an allocator do not count and a steady
drip does. Who grew is looked at for another round: a leak goes on, a high-water mark of a busy moment does not. What
is kept on purpose is bounded and mostly full by then: request ids are forgotten with their deadlines, which are short
here, and the journal's page cache is made small (`tests.support.smallcache`).
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
import psutil
import pytest
from sealbid_oip.service import SERVICE

from sealbid.demo.deployment import WorkerPlan
from tests.support.e2e import Caller, E2EDeployment, a_deployment, a_request, eventually, numbers, started

LIMIT: Final = 500
"""Bytes for each request; a receipt, an award or a request kept by mistake has more."""
DEADLINE_SECONDS: Final = 3.0
CLIENTS: Final = 16
WARM_UP: Final = 4000
STEP: Final = 500
STEPS: Final = 8
ROUNDS: Final = 3

Round = Mapping[str, Sequence["Reading"]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process had in memory when so many requests had been served."""

    requests: int
    resident: int


def growth(readings: Sequence[Reading]) -> float:
    """Bytes for each request: the median slope over all pairs of readings."""
    pairs = combinations(readings, 2)
    return median((later.resident - first.resident) / (later.requests - first.requests) for first, later in pairs)


def growing(rounds: Iterable[Round]) -> dict[str, int]:
    """The processes that grow in every round, and by how many bytes for each request at the least."""
    left: dict[str, int] | None = None
    for readings in rounds:
        found = {name: round(growth(series)) for name, series in readings.items() if growth(series) > LIMIT}
        left = found if left is None else {name: min(left[name], found[name]) for name in left.keys() & found.keys()}
        if not left:
            break
    assert left is not None, "there is a round to judge by"
    return left


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    size: int = psutil.Process(pid).memory_info().rss
    return size


def processes(deployment: E2EDeployment) -> dict[str, int]:
    """Every process of the deployment, the journal's writer among them."""
    found = {name: deployment.processes.pid(name) for name in ("registry", "gateway", "alder")}
    (writer,) = psutil.Process(found["gateway"]).children()
    return found | {"journal": writer.pid}


@dataclass
class Load:
    """Requests sent to a deployment, so many at a time that what waits for the journal's disk does not add up."""

    deployment: E2EDeployment
    caller: Caller
    sent: int = 0

    def serve(self, count: int) -> None:
        """Has so many requests answered and all of them in the journal."""
        asyncio.run(self._send(count))
        self.sent += count
        assert eventually(self.caller.account, lambda account: account.charges == self.sent).charges == self.sent

    async def _send(self, count: int) -> None:
        payload = a_request("add-one", {"x": numbers(bytes(16))}).SerializeToString()
        left = iter(range(count))
        async with grpc.aio.insecure_channel(self.deployment.gateway) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")

            async def client() -> None:
                for _ in left:
                    await call(payload, metadata=self.caller.metadata, timeout=DEADLINE_SECONDS)

            await asyncio.gather(*(client() for _ in range(CLIENTS)))

    def rounds(self, pids: Mapping[str, int]) -> Iterator[Round]:
        """Readings of every process while it serves, for as many rounds as are asked for."""
        for _ in range(ROUNDS):
            readings: dict[str, list[Reading]] = {name: [] for name in pids}
            for step in range(STEPS + 1):
                self.serve(STEP)
                for name, pid in pids.items():
                    readings[name].append(Reading(step * STEP, resident(pid)))
            yield readings


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[E2EDeployment]:
    """One worker, which takes all the requests there are."""
    workers = [WorkerPlan(name="alder", ask_nanos=400, models=("add-one",), slots=2 * CLIENTS)]
    planned = a_deployment(tmp_path, workers=workers, launcher="tests.support.smallcache")
    with started(planned):
        yield planned


@pytest.mark.net
def test_no_process_grows_with_the_requests_it_served(deployment: E2EDeployment) -> None:
    """Registry, gateway, the journal's writer and the worker have as much memory late in a run as early in it."""
    pids = processes(deployment)
    with Caller(deployment) as caller:
        load = Load(deployment, caller)
        for _ in range(WARM_UP // STEP):
            load.serve(STEP)
        assert growing(load.rounds(pids)) == {}
    assert processes(deployment) == pids, "the processes at the end are those that were measured"


SERVER: Final = """
import sys
kept = []
for line in sys.stdin:
    for _ in range(int(line)):
        made = bytearray(b"x" * 1024)
        if sys.argv[1] == "leak":
            kept.append(made)
    print("done", flush=True)
"""


@contextmanager
def server(way: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that makes a KiB for every request it is told of, and keeps it or not."""
    command = [sys.executable, "-c", SERVER, way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate()


def measured(way: str) -> Iterator[Round]:
    """Rounds of readings of such a process, taken like those of a deployment."""
    with server(way) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(ROUNDS):
            readings = []
            for step in range(STEPS + 1):
                process.stdin.write(f"{STEP}\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"
                readings.append(Reading(step * STEP, resident(process.pid)))
            yield {way: readings}


def test_a_process_that_keeps_what_it_served_is_found() -> None:
    """The judgement above flags a KiB kept for each request, by its size."""
    assert growing(measured("leak")) == {"leak": pytest.approx(1024, rel=0.3)}


def test_a_process_that_keeps_nothing_is_not_accused() -> None:
    """The same process without the leak passes."""
    assert growing(measured("clean")) == {}


def test_a_jump_is_no_growth_and_a_drip_is() -> None:
    """One step of eight MiB is an allocator's; a little more for each request, in every round, is a leak."""
    steps = range(STEPS + 1)
    jump = [Reading(step * STEP, (8 << 20) * (step == STEPS)) for step in steps]
    drip = [Reading(step * STEP, step * STEP * (LIMIT + 1)) for step in steps]
    flat = [Reading(step * STEP, 8 << 20) for step in steps]
    assert growing([{"jump": jump, "drip": drip, "ceased": drip}, {"drip": drip, "ceased": flat}]) == {
        "drip": LIMIT + 1
    }
