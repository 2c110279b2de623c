# SPDX-License-Identifier: Apache-2.0
"""What verifying recorded NVIDIA evidence costs: with nothing remembered, and with chains, manifests and answers known.

    python -m benchmarks.attestation.nvidia [--rounds N] [--json]

Cold and warm alternate within every round, so that a noisy neighbour hits both. Cold is a new verifier each time; warm
is one that has seen the chains, manifests and answers before, and still parses and verifies every report. Rows:
`report` (one GPU and its chain), `complete` (with both manifests and seven OCSP answers), `machine` (eight GPUs of one
machine and their chains), `machine, shuffled` (the reports in another order each time). Needs `SEALBID_VECTORS`.
"""

import argparse
import base64
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.nvidia.verifier import GPU_FORMAT, NVIDIAVerifier

AT = datetime(2025, 8, 21, 12, tzinfo=UTC)
COMPLETE = "nvidia-gpu/550.90.07_96009F0001_c438e7e714"
RIMS = ("go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml", "go-nvattest--NV_GPU_VBIOS_1010_0200_882_96009F0001.xml")
MACHINE = "composite/chutes_zai-org_glm-5-tee_20260520_021819__9034c7a4"
REFERENCE = {"report": 8.3, "complete": 8.3 + 2 * 8.6 + 7 * 1.5, "machine": 70.0}
"""Milliseconds of a plain verifier without a cache, measured elsewhere: 8.3 a report, 8.6 a manifest, 1.5 an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, median milliseconds."""

    name: str
    cold: float
    warm: float

    def text(self) -> str:
        reference = f"{REFERENCE[self.name]:>12.1f}" if self.name in REFERENCE else ""
        return f"{self.name:<20}{self.cold:>8.2f}{self.warm:>8.2f}{self.cold / self.warm:>8.1f}x{reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Reports verified one after another with one set of collateral."""

    name: str
    reports: Sequence[Evidence]
    collateral: Sequence[Collateral]
    shuffled: bool = False

    def run(self, verifier: NVIDIAVerifier) -> None:
        """Verifies all of them."""
        reports = random.sample(self.reports, len(self.reports)) if self.shuffled else self.reports
        for report in reports:
            verifier.verify(report, self.collateral, now=AT)


def cases(base: Path) -> list[Case]:
    """The recorded cases."""
    one, machine = base / COMPLETE, base / MACHINE
    chain = Collateral(kind="nvidia-chain", data=(one / "chain.pem").read_bytes())
    rims = [Collateral(kind="nvidia-rim", data=(base / "nvidia-rim" / name).read_bytes()) for name in RIMS]
    answers = [
        Collateral(kind="nvidia-ocsp", data=base64.b64decode(path.read_bytes()))
        for path in sorted((base / "nvidia-ocsp").glob("*.dat"))
    ]
    chains = [
        Collateral(kind="nvidia-chain", data=path.read_bytes()) for path in sorted(machine.glob("gpu*.chain.pem"))
    ]
    single, eight = [gpu(one / "report.bin")], [gpu(path) for path in sorted(machine.glob("gpu*.report.bin"))]
    return [
        Case(name="report", reports=single, collateral=[chain]),
        Case(name="complete", reports=single, collateral=[chain, *rims, *answers]),
        Case(name="machine", reports=eight, collateral=chains),
        Case(name="machine, shuffled", reports=eight, collateral=chains, shuffled=True),
    ]


def gpu(path: Path) -> Evidence:
    """A recorded report."""
    return Evidence(kind=TEEKind.NVIDIA_GPU, format=GPU_FORMAT, data=path.read_bytes())


def measure(case: Case, rounds: int) -> Row:
    """Cold and warm in turn."""
    warm_verifier = NVIDIAVerifier()
    case.run(warm_verifier)
    cold, warm = [], []
    for _ in range(rounds):
        cold.append(milliseconds(lambda: case.run(NVIDIAVerifier())))
        warm.append(milliseconds(lambda: case.run(warm_verifier)))
    return Row(name=case.name, cold=median(cold), warm=median(warm))


def milliseconds(act: Callable[[], None]) -> float:
    """How long it takes once."""
    started = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - started) / 1_000_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Cost of verifying recorded NVIDIA evidence, cold and warm.")
    parser.add_argument("--rounds", type=int, default=100, help="rounds per row (default 100)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")
    chosen = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    base = Path(os.environ.get("SEALBID_VECTORS") or root / ".." / "shared" / "vectors").resolve()
    if not (base / COMPLETE).exists():
        sys.exit(f"no vectors at {base}; set SEALBID_VECTORS")
    table = [measure(case, chosen.rounds) for case in cases(base)]
    if chosen.json:
        print(json.dumps([{"name": row.name, "cold": row.cold, "warm": row.warm} for row in table]))
        return
    print(f"{'milliseconds':<20}{'cold':>8}{'warm':>8}{'ratio':>9}{'reference':>12}")
    for row in table:
        print(row.text())


if __name__ == "__main__":
    main()
