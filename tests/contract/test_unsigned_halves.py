# SPDX-License-Identifier: Apache-2.0
"""Ruling 26: a half whose signature does not come leaves a receipt that says so, and a whole one if it comes late."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.receipt_file import ReceiptFile
from attestation.sealing.halves import WorkerStatus, worker_half_digest
from gateway.receipts.messages import JournalEvent
from gateway.receipts.recovery import Waits
from gateway.request import Ending, Outcome
from tests.support.journal import GatewayProcess, SigningWorker, outcome

WORKER = SigningWorker("one")
WAITS = Waits(halves=0, signature=60)


def gateway(tmp_path: Path) -> GatewayProcess:
    """A gateway process over the test's one database."""
    return GatewayProcess(tmp_path / "journal.db", waits=WAITS)


def answered() -> tuple[Outcome, bytes]:
    """A request its worker answered, and the half it did not sign yet."""
    attempt = WORKER.attempt()
    half = WORKER.half(attempt)
    return outcome([attempt], half), half


async def recorded(process: GatewayProcess, done: Outcome) -> None:
    """The outcome is on disk, its worker's keys too, and no signature."""
    process.journal.admit(WORKER.attested)
    process.desk.record(done)
    await process.settled()


async def later(process: GatewayProcess, seconds: float) -> None:
    """So much after all that was handed over is on disk, when the writer has looked again."""
    await process.settled()
    process.now += timedelta(seconds=seconds)
    await process.settled()
    await process.settled()


def file_of(process: GatewayProcess, done: Outcome) -> ReceiptFile | None:
    """The receipt as it is handed out now."""
    stored = process.reader.receipt(done.request_id)
    assert stored is not None
    return stored.file


async def test_ruling_26_a_signature_that_never_comes_closes_the_receipt(tmp_path: Path) -> None:
    """Pending within the grace, then handed out without the signature; charged once, the provider not paid."""
    done, half = answered()
    async with gateway(tmp_path) as process:
        await recorded(process, done)
        await later(process, 59)
        assert file_of(process, done) is None
        await later(process, 2)
        file = file_of(process, done)
        assert file is not None
        assert file.worker is not None
        assert (file.worker.half, file.worker.batch) == (half, None)
        assert file.dispatches == (done.attempts[0].dispatch,)
        assert process.booked() == [(done.request_id, "tenant-a", 1000)]
        assert process.released() == []
        await later(process, 1000)
        assert process.metrics.events[JournalEvent.SIGNATURE_MISSING] == 1
        assert process.acknowledged(WORKER) == set()


@pytest.mark.parametrize("seconds", [0, 61])
async def test_a_late_signature_makes_the_receipt_whole(tmp_path: Path, seconds: float) -> None:
    """Before or after the receipt was closed: the same gateway half, one number, one charge, and now the payment."""
    done, half = answered()
    async with gateway(tmp_path) as process:
        await recorded(process, done)
        await later(process, seconds)
        before = file_of(process, done)
        process.journal.halves(WORKER.arrival([half]))
        await process.until(lambda: process.acknowledged(WORKER) == {worker_half_digest(half)})
        whole = file_of(process, done)
        assert whole is not None
        assert whole.worker is not None
        assert whole.worker.batch is not None
        if before is not None:
            assert replace(whole, worker=replace(whole.worker, batch=None)) == before
        process.journal.halves(WORKER.arrival([half]))
        await later(process, 1000)
        assert process.sequence() == [1]
        assert process.booked() == [(done.request_id, "tenant-a", 1000)]
        assert process.released() == [(done.request_id, 1000)]
        assert process.metrics.events.get(JournalEvent.SIGNATURE_MISSING, 0) == (1 if seconds else 0)


async def test_a_signature_that_is_here_is_not_waited_for(tmp_path: Path) -> None:
    """Half before outcome, or both in one group: nothing is held back, so nothing has to be released."""
    (one, half), (two, other) = answered(), answered()
    async with gateway(tmp_path) as process:
        process.journal.halves(WORKER.arrival([half]))
        await process.settled()
        await recorded(process, one)
        process.journal.halves(WORKER.arrival([other]))
        process.desk.record(two)
        await later(process, 1000)
        assert file_of(process, one) is not None
        assert file_of(process, two) is not None
        assert process.released() == []
        assert JournalEvent.SIGNATURE_MISSING not in process.metrics.events


async def test_the_wait_survives_a_restart(tmp_path: Path) -> None:
    """The gateway that closes the receipt need not be the process that recorded it."""
    done, _ = answered()
    async with gateway(tmp_path) as first:
        await recorded(first, done)
    async with gateway(tmp_path) as second:
        assert file_of(second, done) is None
        await later(second, 61)
        file = file_of(second, done)
        assert file is not None
        assert file.worker is not None
        assert file.worker.batch is None


async def test_a_receipt_that_costs_nothing_is_closed_too(tmp_path: Path) -> None:
    """A refusal whose worker died unsigned is a receipt as any other."""
    attempt = WORKER.attempt()
    half = WORKER.half(attempt, status=WorkerStatus.INVALID)
    done = outcome([attempt], half, charge_nanos=0, ending=Ending.REFUSED)
    async with gateway(tmp_path) as process:
        await recorded(process, done)
        await later(process, 61)
        assert file_of(process, done) is not None
        process.journal.halves(WORKER.arrival([half]))
        await later(process, 0)
        assert (process.booked(), process.sequence()) == ([], [1])
        assert process.acknowledged(WORKER) == {worker_half_digest(half)}


@pytest.mark.parametrize("where", ["fail_before", "fail_after"])
async def test_a_store_that_fails_pays_the_provider_once(tmp_path: Path, where: str) -> None:
    """Whether it failed before or after applying: what was held back is released once."""
    done, half = answered()
    async with gateway(tmp_path) as process:
        await recorded(process, done)
        setattr(process.store, where, 1)
        process.journal.halves(WORKER.arrival([half]))
        await later(process, 0)
        assert process.released() == [(done.request_id, 1000)]
        assert process.acknowledged(WORKER) == {worker_half_digest(half)}
