# SPDX-License-Identifier: Apache-2.0
"""What a receipt costs: CPU per request by size of the group it is committed in, then in both processes under load.

    python -m benchmarks.journal [--rounds N] [--rate N] [--json]

A request is an attempt begun, an outcome, a worker's half in a signed batch of 20, and a charge. The first table
commits groups of each size in turn within every round, to a database that syncs; a group of one is what writing each
request by itself would cost. The second hands requests over at a steady rate from an event loop to a real writer
process; `loop` is the CPU of the process that holds the loop, less what the same loop uses without a journal, and
`begin` what of it is spent before a call leaves, on the request's own path.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
import uvloop

from gateway.ledger.settlement import Settlement
from gateway.receipts.archive import open_store
from gateway.receipts.arrival import HalfArrival
from gateway.receipts.journal import Journal
from gateway.receipts.memo import QUANTUM
from gateway.receipts.messages import encode_item, take_items
from gateway.receipts.process import WriterProcess, launcher
from gateway.receipts.recovery import Waits
from gateway.receipts.work import Begun
from gateway.receipts.writer import Writer
from gateway.request import Outcome
from tests.support.journal import GATEWAY_KEY, MEMO_KEY, Counts, SigningWorker, outcome

SIZES = (1, 32, 256, 1024)
BATCH = 20
TICK_SECONDS = 0.01
SECONDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the gateway's loop sees it: begun, an outcome, and with every twentieth a batch of halves."""

    begun: Begun
    outcome: Outcome
    arrival: HalfArrival | None


def requests(worker: SigningWorker, count: int) -> list[Request]:
    """Answered requests of one worker."""
    made: list[Request] = []
    halves: list[bytes] = []
    for number in range(1, count + 1):
        attempt = worker.attempt()
        halves.append(worker.half(attempt))
        whole = len(halves) == BATCH or number == count
        done = outcome([attempt], halves[-1])
        begun = Begun(
            request_id=done.request_id,
            worker_id=attempt.worker_id,
            dispatch_sha256=attempt.dispatch_sha256,
            memo=bytes(QUANTUM),
        )
        made.append(Request(begun=begun, outcome=done, arrival=worker.arrival(halves) if whole else None))
        halves = [] if whole else halves
    return made


def group(worker: SigningWorker, size: int) -> bytearray:
    """The frames of a group, as they come out of the pipe."""
    frames = bytearray()
    for request in requests(worker, size):
        frames += encode_item(request.begun)
        frames += encode_item(request.outcome)
        if request.arrival is not None:
            frames += encode_item(request.arrival)
    return frames


def groups(rounds: int) -> dict[int, float]:
    """Microseconds of CPU per request, by group size: medians of the rounds, the first left out."""
    worker = SigningWorker("benchmark")
    samples: dict[int, list[float]] = {size: [] for size in SIZES}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(
            Path(folder),
            signing_key=GATEWAY_KEY,
            memo_key=MEMO_KEY,
            instance=bytes(16),
            settle=Settlement(),
            lock_seconds=0,
        ) as store,
    ):
        writer = Writer(
            store=store,
            memo_key=MEMO_KEY,
            clock=lambda: datetime.now(UTC),
            send=lambda _answer: None,
            pause=lambda _seconds: True,
            waits=Waits(),
        )
        for turn in range(rounds + 1):
            for size in SIZES:
                waiting = [group(worker, size) for _ in range(max(SIZES) // size if size > 1 else 32)]
                started = time.process_time()
                for frames in waiting:
                    writer.write(take_items(frames))
                if turn:
                    samples[size].append((time.process_time() - started) / (len(waiting) * size) * 1e6)
    return {size: median(values) for size, values in samples.items()}


async def _feed(made: Sequence[Request], rate: int, journal: Journal | None) -> float:
    """Hands requests over in ticks of 10 ms; to nobody, for the cost of the loop itself. Seconds spent on `begin`."""
    loop = asyncio.get_running_loop()
    started, at, spent = loop.time(), 0, 0.0
    while at < len(made):
        await asyncio.sleep(TICK_SECONDS)
        due = min(len(made), int((loop.time() - started) * rate))
        for request in made[at:due] if journal is not None else ():
            assert journal is not None
            before = time.perf_counter()
            journal.begin(request.begun)
            spent += time.perf_counter() - before
            journal.record(request.outcome)
            if request.arrival is not None:
                journal.halves(request.arrival)
        at = due
    return spent


async def _steady(rate: int, folder: Path) -> tuple[float, float, float]:
    """Microseconds per request at this rate: CPU in the loop's process and in the writer's, and time to begin it."""
    made, processes = requests(SigningWorker("benchmark"), int(rate * SECONDS)), []
    launch = launcher(
        state_dir=folder, instance=bytes(16), profile="development", log_level="ERROR", signature_grace_seconds=60
    )

    def start() -> WriterProcess:
        process = launch()
        assert isinstance(process, WriterProcess)
        processes.append(psutil.Process(process.pid))
        return process

    idle = time.process_time()
    await _feed(made, rate, None)
    idle = time.process_time() - idle
    journal = Journal(launch=start, kept=lambda _kept: None, metrics=Counts())
    await journal.start()
    before, loop = processes[0].cpu_times(), time.process_time()
    begin = await _feed(made, rate, journal)
    while journal.unsettled:
        await journal.next_commit()
    loop = time.process_time() - loop
    after = processes[0].cpu_times()
    await journal.close()
    used = after.user + after.system - before.user - before.system
    return (loop - idle) / len(made) * 1e6, used / len(made) * 1e6, begin / len(made) * 1e6


def steady(rate: int) -> tuple[float, float, float]:
    """See `_steady`."""
    with tempfile.TemporaryDirectory() as folder:
        return uvloop.run(_steady(rate, Path(folder)))


def main(arguments: Sequence[str] | None = ()) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="CPU per request of the receipt journal.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the first table (default 5)")
    parser.add_argument("--rate", type=int, default=1500, help="requests per second of the second (default 1500)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    chosen = parser.parse_args(arguments)
    table, (loop, writer, begin) = groups(chosen.rounds), steady(chosen.rate)
    if chosen.json:
        print(json.dumps({"groups": table, "rate": chosen.rate, "loop": loop, "writer": writer, "begin": begin}))
        return
    print(f"{'group':>8} {'CPU us/req':>11} {'ratio':>7}")
    for size, used in table.items():
        print(f"{size:>8} {used:>11.0f} {used / table[1]:>7.3f}")
    print(f"at {chosen.rate} req/s: loop {loop:.0f} us, of it begin {begin:.1f} us, writer {writer:.0f} us per request")


if __name__ == "__main__":
    main(None)
