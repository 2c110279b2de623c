# SPDX-License-Identifier: Apache-2.0
"""A gateway's journal with its real writer processes, and what they leave on disk."""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attestation.sealing.halves import worker_half_digest
from gateway.receipts.archive import DATABASE
from gateway.receipts.journal import Journal
from gateway.receipts.process import WriterProcess, launcher
from gateway.receipts.work import Begun
from tests.support.journal import Counts, SigningWorker, outcome

WORKER = SigningWorker("one")


class Life:
    """A gateway's journal with its writer processes."""

    def __init__(self, state_dir: Path, *, capacity: int = 8192) -> None:
        self.path = state_dir / DATABASE
        self.metrics = Counts()
        self.kept: set[bytes] = set()
        self.writers: list[WriterProcess] = []
        self._launch = launcher(
            state_dir=state_dir,
            instance=os.urandom(16),
            profile="development",
            log_level="WARNING",
            signature_grace_seconds=60,
        )
        self.journal = Journal(launch=self._start, kept=self._forget, metrics=self.metrics, capacity=capacity)

    def _start(self) -> WriterProcess:
        writer = self._launch()
        assert isinstance(writer, WriterProcess)
        self.writers.append(writer)
        return writer

    def _forget(self, kept: Mapping[bytes, Sequence[bytes]]) -> None:
        self.kept.update(*kept.values())

    def signal(self, number: int) -> None:
        """To the newest writer."""
        os.kill(self.writers[-1].pid, number)

    def hand_over(self, count: int) -> set[bytes]:
        """So many answered requests and their halves; the halves' digests."""
        attempts = [WORKER.attempt() for _ in range(count)]
        halves = [WORKER.half(attempt) for attempt in attempts]
        for attempt, half in zip(attempts, halves, strict=True):
            self.journal.record(outcome([attempt], half))
        for start in range(0, count, 16):
            self.journal.halves(WORKER.arrival(halves[start : start + 16]))
        return set(map(worker_half_digest, halves))

    def begin(self, number: int) -> None:
        """An attempt of the request of this number, about to leave."""
        attempt = WORKER.attempt()
        self.journal.begin(
            Begun(
                request_id=number.to_bytes(16, "big"),
                worker_id=attempt.worker_id,
                dispatch_sha256=attempt.dispatch_sha256,
                memo=bytes(2048),
            )
        )

    def begun(self) -> set[bytes]:
        """Requests on disk as begun and not recorded."""
        return {request_id for (request_id,) in self._rows("SELECT request_id FROM begun")}

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits, commit by commit, until `holds()` is true."""
        while True:
            commit = self.journal.next_commit()
            if holds():
                return
            await commit

    def sequence(self) -> list[int]:
        """The sequence numbers of all receipts on disk."""
        return [number for (number,) in self._rows("SELECT seq FROM receipt ORDER BY seq")]

    def charged(self) -> tuple[int, int]:
        """How many charges the ledger holds, and how many the tenant's total counts."""
        booked = self._rows("SELECT count(*) FROM ledger_transaction WHERE kind = 'settle'")[0][0]
        return booked, self._rows("SELECT charges FROM tenant_total")[0][0]

    def held_back(self) -> int:
        """What providers are not paid for want of signatures."""
        return sum(amount for (amount,) in self._rows("SELECT balance_nanos FROM ledger_account WHERE kind='suspense'"))

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.path)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def limits(self) -> list[str]:
        """Limits of the newest writer's process, as the kernel shows them."""
        return Path(f"/proc/{self.writers[-1].pid}/limits").read_text().splitlines()
