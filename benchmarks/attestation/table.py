# SPDX-License-Identifier: Apache-2.0
"""What verifying evidence costs, kind by kind, beside a bare check of the same signatures: `make bench-attestation`.

    python -m benchmarks.attestation [--rounds N] [--json | --markdown]

Cold is a verifier with nothing remembered, warm one that has verified the same evidence before; both read and verify
the evidence itself every time. Cold, warm and bare alternate within a round, so that a noisy neighbour hits all three,
and medians are printed. `python -m benchmarks.attestation.nvidia` and `.hostile` measure more of NVIDIA, and the worst.
"""

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.attestation.cases import REFERENCE, Act, Case, cases

HEAD = ("evidence", "from", "cold ms", "warm ms", "cold/warm", "bare", "bare ms", "cold/bare", "warm/bare", "reference")
MACHINE = "8 GPUs and TDX"
LEAST_RATIO = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of one case, in milliseconds."""

    name: str
    source: str
    cold: float
    warm: float
    bare: float
    bare_name: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as the table has it."""
        known = REFERENCE.get(self.name)
        return (
            self.name,
            self.source,
            f"{self.cold:.2f}",
            f"{self.warm:.2f}",
            f"{self.cold / self.warm:.1f}x",
            self.bare_name,
            f"{self.bare:.2f}",
            f"{self.cold / self.bare:.2f}",
            f"{self.warm / self.bare:.2f}",
            f"{known:.1f} ms, cold {self.cold / known:.2f}x" if known else "",
        )


def measure(case: Case, rounds: int) -> Row:
    """Cold, warm and bare in turn."""
    warm_act = case.fresh()
    warm_act()
    case.bare()
    cold, warm, bare = [], [], []
    for _ in range(rounds):
        cold.append(milliseconds(case.fresh()))
        warm.append(milliseconds(warm_act))
        bare.append(milliseconds(case.bare))
    return Row(
        name=case.name,
        source=case.source,
        cold=median(cold),
        warm=median(warm),
        bare=median(bare),
        bare_name=case.bare_name,
    )


def milliseconds(act: Act) -> float:
    """The processor time it takes once: neighbours on a shared machine lengthen that less than the wall time."""
    started = time.thread_time_ns()
    act()
    return (time.thread_time_ns() - started) / 1_000_000


def table(rows: list[Row], *, markdown: bool) -> str:
    """The rows for people, or for docs/performance.md."""
    lines = [HEAD, *(row.cells for row in rows)]
    if markdown:
        shown = [f"| {' | '.join(cells)} |" for cells in lines]
        return "\n".join([shown[0], "|---" * len(HEAD) + "|", *shown[1:]])
    widths = [max(len(cells[place]) for cells in lines) for place in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in lines)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; 1 if a machine seen before is not verified at least three times as fast."""
    parser = argparse.ArgumentParser(description="Cost of verifying evidence, cold, warm and bare.")
    parser.add_argument("--rounds", type=int, default=100, help="rounds per row (default 100)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # every key certificate of AMD has serial number zero
    rows = [measure(case, chosen.rounds) for case in cases()]
    machine = next(row for row in rows if row.name == MACHINE)
    ratio = machine.cold / machine.warm
    if chosen.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(table(rows, markdown=chosen.markdown))
        print(f"\n{MACHINE}: warm {ratio:.1f} times as fast as cold, want {LEAST_RATIO:g} or more")
    return int(ratio < LEAST_RATIO)
