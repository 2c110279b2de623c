# SPDX-License-Identifier: Apache-2.0
"""What the gateway adds: a client calling a plain server directly, and the same through gateway and sealed worker.

Both targets are visited in turn within every round, so that a noisy machine is noisy for both; medians over the rounds.
CPU is what the processes themselves used (user and system) per request; `sealed` counts gateway and worker together.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from enclave.models.catalog import find_model
from sealbid.demo.deployment import Deployment, ModelPlan, Plan, WorkerPlan
from sealbid.demo.processes import free_port
from sealbid.demo.readiness import until_ready

POLICY = Path(__file__).parent.parent / "manifests" / "policies" / "development.toml"
SIZES = {"1 KiB": 1 << 10, "64 KiB": 64 << 10, "600 KiB": 600 << 10}
REQUESTS = {1 << 10: 600, 64 << 10: 400, 600 << 10: 120}
CLIENTS = (1, 16)
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round against one target."""

    p50: float
    p99: float
    rate: float
    cpu: float
    """Seconds of CPU per request, over all processes of the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers ModelInfer, and the processes that do the work."""

    address: str
    key: str | None
    processes: tuple[psutil.Process, ...]

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        times = (process.cpu_times() for process in self.processes)
        return sum(used.user + used.system for used in times)


class Load:
    """The load generator's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, target: Target, *, size: int, clients: int, requests: int) -> Sample:
        """One closed-loop run."""
        before = target.cpu()
        order = {"target": target.address, "key": target.key, "size": size, "clients": clients, "requests": requests}
        result = self._ask(order)
        latencies = sorted(result["latencies"])
        return Sample(
            p50=median(latencies),
            p99=quantiles(latencies, n=100)[98],
            rate=len(latencies) / result["seconds"],
            cpu=(target.cpu() - before) / len(latencies),
        )

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def plain_server() -> Iterator[Target]:
    """The baseline."""
    address = f"127.0.0.1:{free_port()}"
    arguments = [sys.executable, "-m", "benchmarks.plain_server", address]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield Target(address=address, key=None, processes=(psutil.Process(process.pid),))
        finally:
            process.terminate()


@contextmanager
def sealed_deployment(root: Path) -> Iterator[Target]:
    """Registry, gateway and one worker with the same engine."""
    source = find_model("identity")
    model = ModelPlan(source="identity", engine_sha256=source.sha256.hex())
    worker = WorkerPlan(name="alder", ask_nanos=500, slots=64, models=("identity",))
    deployment = Deployment(root, Plan(models={"identity": model}, workers=[worker], policy=POLICY))
    deployment.launch()
    try:
        asyncio.run(until_ready(deployment, workers=1))
        pids = (deployment.processes.pid("gateway"), deployment.processes.pid("alder"))
        yield Target(address=deployment.gateway, key=deployment.key("acme"), processes=tuple(map(psutil.Process, pids)))
    finally:
        deployment.processes.stop_all()


def _typical(samples: list[Sample]) -> Sample:
    return Sample(
        p50=median(sample.p50 for sample in samples),
        p99=median(sample.p99 for sample in samples),
        rate=median(sample.rate for sample in samples),
        cpu=median(sample.cpu for sample in samples),
    )


def measure(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row per size and number of clients."""
    load, rows = Load(), []
    with tempfile.TemporaryDirectory() as folder, plain_server() as plain, sealed_deployment(Path(folder)) as sealed:
        for name, size in SIZES.items():
            for clients in CLIENTS:
                samples: dict[str, list[Sample]] = {"direct": [], "sealed": []}
                for turn in range(rounds + 1):  # the first turn warms caches and is dropped
                    for label, target in (("direct", plain), ("sealed", sealed)):
                        sample = load.run(target, size=size, clients=clients, requests=REQUESTS[size])
                        if turn:
                            samples[label].append(sample)
                rows.append(_row(name, clients, _typical(samples["direct"]), _typical(samples["sealed"])))
                sys.stdout.write(line(rows[-1]) + "\n")
        load.close()
    return rows


def _row(size: str, clients: int, direct: Sample, sealed: Sample) -> dict[str, Any]:
    return {
        "size": size,
        "clients": clients,
        "direct": direct,
        "sealed": sealed,
        "added_p50_ms": (sealed.p50 - direct.p50) * 1000,
        "p50_ratio": sealed.p50 / direct.p50,
        "rate_ratio": sealed.rate / direct.rate,
        "cpu_ratio": sealed.cpu / direct.cpu,
    }


def header() -> str:
    """The table's first line."""
    columns = ("size", "clients", "", "p50 ms", "p99 ms", "req/s", "CPU us/req")
    return "{:>8} {:>7} {:>7} {:>8} {:>8} {:>8} {:>11}   sealed : direct".format(*columns)


def line(row: dict[str, Any]) -> str:
    """One row of the table, a line per target."""
    texts = []
    for label in ("direct", "sealed"):
        sample: Sample = row[label]
        texts.append(
            f"{row['size']:>8} {row['clients']:>7} {label:>7} {sample.p50 * 1e3:>8.2f} {sample.p99 * 1e3:>8.2f}"
            f" {sample.rate:>8.0f} {sample.cpu * 1e6:>11.0f}"
        )
    ratios = (
        f"   added p50 {row['added_p50_ms']:.2f} ms, p50 x{row['p50_ratio']:.2f}, req/s x{row['rate_ratio']:.2f},"
        f" CPU x{row['cpu_ratio']:.2f}"
    )
    return "\n".join((texts[0], texts[1] + ratios))


def main() -> None:
    """Prints the table."""
    sys.stdout.write(f"{os.cpu_count()} cores, {ROUNDS} rounds, targets in turn, medians\n{header()}\n")
    measure()


if __name__ == "__main__":
    main()
