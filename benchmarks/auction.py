# SPDX-License-Identifier: Apache-2.0
"""What one award costs: gates, walk, seed, transcript, award digest, slot; beside a scan of every offer, in one run.

    python -m benchmarks.auction [--rounds N] [--json]

Award and scan alternate within every round, so that a noisy neighbour hits both. The scan judges every offer of the
market, keeps the two best and writes the same transcript and award; it is asserted to find the same winner and price.
Rows: `typical` (the cheapest offers are free), `loaded` (the cheaper half is full), `refused` (no offer is in the
region, counts of the whole book included). `commit` is one renewal followed by a new snapshot root.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.market.auction import Demand, ceiling, gate, seed_of
from gateway.market.intent import Intent
from gateway.market.service import Awarded, Market, unix_seconds
from gateway.market.snapshot import Entry, Snapshot
from gateway.market.terms import Terms
from gateway.market.transcript import Award, Transcript, transcript_sha256
from tests.support.market import CLOCK, DAY_SECRET, GATEWAY, MODEL, TIER, intent, market, terms, worker

SIZES = (100, 1_000, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, microseconds."""

    name: str
    offers: int
    p50: float
    p99: float
    scan_p50: float | None = None

    def text(self) -> str:
        ratio = f"{self.scan_p50:>10.1f} {self.scan_p50 / self.p50:>7.1f}x" if self.scan_p50 else ""
        return f"{self.name:<16}{self.offers:>8}{self.p50:>10.1f}{self.p99:>10.1f}{ratio}"


def populated(size: int) -> Market:
    """A market of `size` offers of fifty operators at asks that now and then tie."""
    owners = [worker(f"w{n}", provider=f"P{n % 50}") for n in range(size)]
    return market([(owner, owner.offer(1_000 + n * 7919 % (2 * size))) for n, owner in enumerate(owners)])


def scan(snapshot: Snapshot, asked: Intent, under: Terms) -> tuple[Entry | None, Entry | None, int]:
    """Winner, runner-up and price by looking at every offer."""
    demand = Demand(intent=asked, now=unix_seconds(CLOCK))
    p_max = ceiling(asked, under).p_max_nanos
    entries = snapshot.index(MODEL, TIER).entries
    alive = [entry for entry in entries if entry.effective <= p_max and not gate(entry, demand)]
    if not alive:
        return None, None, 0
    best = min(alive, key=lambda entry: (entry.effective, entry.offer_id))
    rivals = [entry for entry in alive if entry.provider_id != best.provider_id]
    rival = min(rivals, key=lambda entry: (entry.effective, entry.offer_id), default=None)
    return best, rival, (rival.effective if rival else p_max) - best.handicap_nanos


def scanned_award(made: Market, asked: Intent, under: Terms) -> int:
    """The scan with the same paperwork as an award."""
    snapshot = made.snapshot
    seed_of(DAY_SECRET, GATEWAY, 0, asked.sha256, snapshot.root)
    best, rival, price = scan(snapshot, asked, under)
    transcript = Transcript(
        sequence=0,
        gateway_id=GATEWAY,
        secret_commitment=made.commitment,
        intent_sha256=asked.sha256,
        snapshot_root=snapshot.root,
        version=snapshot.version,
        now=unix_seconds(CLOCK),
        attempt=1,
        excluded=(),
        terms_sha256=under.sha256,
        walk=b"",
        winner=best.offer_id if best else None,
        runner_up=rival.offer_id if rival else None,
        price_nanos=price,
    ).encode()
    digest = transcript_sha256(transcript)
    if best is not None:
        Award(
            sequence=0,
            gateway_id=GATEWAY,
            intent_sha256=asked.sha256,
            snapshot_root=snapshot.root,
            version=snapshot.version,
            transcript_sha256=digest,
            offer_id=best.offer_id,
            worker_id=best.worker_id,
            keyset_id=best.offer.keyset_id,
            price_nanos=price,
            wu_cap=asked.wu_cap,
            attempt=1,
            now=unix_seconds(CLOCK),
        )
    return price


def award(made: Market, asked: Intent) -> int:
    """One award, its slot given back."""
    found = made.award(asked, now=CLOCK)
    if isinstance(found, Awarded):
        made.release(found.award)
        return found.award.price_nanos
    return 0


def alternate(rounds: int, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Microseconds of both, measured in turn; the first tenth is warm-up and left out."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + rounds // 10):
        for slot, act in zip(times, (first, second), strict=True):
            started = time.perf_counter_ns()
            act()
            slot.append((time.perf_counter_ns() - started) / 1_000)
    return times[0][rounds // 10 :], times[1][rounds // 10 :]


def quantile(times: list[float], percent: int) -> float:
    """The nearest-rank percentile."""
    return sorted(times)[min(len(times) * percent // 100, len(times) - 1)]


def compared(name: str, size: int, rounds: int, made: Market, asked: Intent) -> Row:
    """One row: awards beside scans, which must agree."""
    under = terms()
    if award(made, asked) != scanned_award(made, asked, under):
        raise RuntimeError(f"{name} at {size} offers: walk and scan disagree")
    mine, scanned = alternate(rounds, lambda: award(made, asked), lambda: scanned_award(made, asked, under))
    return Row(name=name, offers=size, p50=quantile(mine, 50), p99=quantile(mine, 99), scan_p50=quantile(scanned, 50))


def commits(size: int, made: Market) -> Row:
    """One renewal and the commit after it."""
    owner = worker("w0", provider="P0")
    times: list[float] = []
    for seq in range(2, 22):
        signed = owner.sign(owner.offer(1_000 + seq, seq=seq))
        started = time.perf_counter_ns()
        made.place_offer(signed, lambda _: owner.eligible, now=CLOCK)
        made.commit(now=CLOCK)
        times.append((time.perf_counter_ns() - started) / 1_000)
    return Row(name="commit", offers=size, p50=quantile(times, 50), p99=quantile(times, 99))


def rows(rounds: int) -> list[Row]:
    """Every row of the table."""
    table: list[Row] = []
    for size in SIZES:
        made, few = populated(size), max(rounds * 100 // size, 50)
        table.append(compared("typical", size, few, made, intent()))
        table.append(compared("refused", size, few, made, intent(regions=("mars",))))
        for _ in range(size // 2 * 4):
            made.award(intent(), now=CLOCK)
        table.append(compared("loaded", size, few, made, intent()))
        table.append(commits(size, made))
    fresh, _ = alternate(rounds, intent, intent)
    table.append(Row(name="intent digest", offers=0, p50=quantile(fresh, 50), p99=quantile(fresh, 99)))
    return table


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Cost of one award beside a scan of every offer.")
    parser.add_argument("--rounds", type=int, default=3_000, help="awards per row at 100 offers (default 3000)")
    parser.add_argument("--json", action="store_true", help="print one JSON array instead of the table")
    chosen = parser.parse_args()
    table = rows(chosen.rounds)
    if chosen.json:
        names = ("name", "offers", "p50", "p99", "scan_p50")
        print(json.dumps([{name: getattr(row, name) for name in names} for row in table]))
        return
    print(f"{'microseconds':<16}{'offers':>8}{'p50':>10}{'p99':>10}{'scan p50':>11}{'ratio':>8}")
    for row in table:
        print(row.text())


if __name__ == "__main__":
    main()
