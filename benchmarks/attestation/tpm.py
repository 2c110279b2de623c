# SPDX-License-Identifier: Apache-2.0
"""What verifying a TPM quote costs, with nothing remembered and with the endorsement chain known; minted evidence.

    python -m benchmarks.attestation.tpm [--rounds N] [--json]

Cold and warm alternate within every round, so that a noisy neighbour hits both. Cold is a new verifier each time; warm
is one that has seen the chain before, and still verifies quote, registers and validity. Rows name the attestation key.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from attestation.tee.tpm.verifier import TPMVerifier
from tests.support.fake_tpm import AK, NOW, TPMWorld, an_ak, private, quoted

REFERENCE = {"ecc-p256": 26.0, "rsa-2048": 26.0}
"""Milliseconds of a plain verifier without a cache, X.509 included, measured elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, median milliseconds."""

    name: str
    cold: float
    warm: float

    def text(self) -> str:
        """The line."""
        reference = REFERENCE[self.name]
        return f"{self.name:<12}{self.cold:>8.2f}{self.warm:>8.2f}{self.cold / self.warm:>8.1f}x{reference:>12.1f}"


def measure(name: str, world: TPMWorld, rounds: int) -> Row:
    """Cold and warm in turn."""
    evidence, known = world.evidence, TPMVerifier()
    cold, warm = [], []
    known.verify(evidence, world.collateral, now=NOW)
    for _ in range(rounds):
        cold.append(_milliseconds(lambda: TPMVerifier().verify(evidence, world.collateral, now=NOW)))
        warm.append(_milliseconds(lambda: known.verify(evidence, world.collateral, now=NOW)))
    return Row(name=name, cold=median(cold), warm=median(warm))


def _milliseconds(act: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - started) / 1_000_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Cost of verifying TPM quotes, cold and warm.")
    parser.add_argument("--rounds", type=int, default=200, help="rounds per row (default 200)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")
    chosen = parser.parse_args()
    worlds = {"ecc-p256": quoted(an_ak()), "rsa-2048": quoted(AK(key=private("ak-rsa"), scheme="rsassa"))}
    table = [measure(name, world, chosen.rounds) for name, world in worlds.items()]
    if chosen.json:
        print(json.dumps([{"name": row.name, "cold": row.cold, "warm": row.warm} for row in table]))
        return
    print(f"{'milliseconds':<12}{'cold':>8}{'warm':>8}{'ratio':>9}{'reference':>12}")
    for row in table:
        print(row.text())


if __name__ == "__main__":
    main()
