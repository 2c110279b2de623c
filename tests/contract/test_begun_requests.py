# SPDX-License-Identifier: Apache-2.0
"""Every request of which an attempt left a gateway has one receipt, whatever ended that gateway; at most one charge."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.sealing.halves import GatewayHalf, worker_half_digest
from gateway.receipts.memo import MemoKey
from gateway.receipts.messages import JournalEvent
from gateway.receipts.reader import StoredReceipt
from gateway.receipts.recovery import Waits
from gateway.request import Attempt, Ending, Outcome
from tests.support.journal import GatewayProcess, SigningWorker, failed_first, outcome

WORKER = SigningWorker("one")
OTHER = SigningWorker("two")
WAITS = Waits(halves=10, workers=600)


def gateway(tmp_path: Path, waits: Waits = WAITS) -> GatewayProcess:
    """A gateway process over the test's one database."""
    return GatewayProcess(tmp_path / "journal.db", waits=waits)


def under_way(attempts: list[Attempt], like: Outcome) -> Outcome:
    """The request as the flow describes it when its newest attempt begins."""
    return replace(like, attempts=tuple(attempts), half=None, charge_nanos=0, ending=Ending.FAILED)


def a_request(*workers: SigningWorker) -> Outcome:
    """A request with an attempt on each of the workers, the last of which has no answer yet."""
    attempts = [worker.attempt(number) for number, worker in enumerate(workers, start=1)]
    return outcome([*map(failed_first, attempts[:-1]), attempts[-1]], None, charge_nanos=0, ending=Ending.FAILED)


async def begin(process: GatewayProcess, request: Outcome) -> list[bytes]:
    """Every attempt of the request begins in turn; the memos that travel."""
    memos = [
        process.desk.begin(under_way([*request.attempts[:number], replace(attempt, reason="")], request))
        for number, attempt in enumerate(request.attempts)
    ]
    await process.settled()
    return memos


async def later(process: GatewayProcess, seconds: float) -> None:
    """So much after all that was handed over is on disk, when the writer has looked again."""
    await process.settled()
    process.now += timedelta(seconds=seconds)
    await process.settled()
    await process.settled()


def receipt_of(process: GatewayProcess, request: Outcome) -> StoredReceipt:
    """The request's receipt, which is whole."""
    stored = process.reader.receipt(request.request_id)
    assert stored is not None
    assert stored.file is not None, stored.pending
    return stored


def begun(process: GatewayProcess) -> int:
    """How many requests the journal holds as begun and not recorded."""
    with process.reading.connect() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM begun").scalar_one()
        return count


async def test_a_request_no_worker_had_is_closed_as_broken_off(tmp_path: Path) -> None:
    """Once the worker has linked anew and returned nothing: one receipt that names all attempts and costs nothing."""
    request = a_request(OTHER, WORKER)
    async with gateway(tmp_path) as first:
        await begin(first, request)
    async with gateway(tmp_path) as second:
        second.journal.greeted(WORKER.attested.worker_id)
        await later(second, 5)
        assert second.sequence() == []
        await later(second, 6)
        file = receipt_of(second, request).file
        assert file is not None
        half = GatewayHalf.decode(file.gateway_half)
        assert (half.outcome, half.charge_nanos, half.worker_half_sha256) == (Ending.FAILED, 0, b"")
        assert half.time == int(second.now.timestamp())
        assert file.dispatches == tuple(attempt.dispatch for attempt in request.attempts)
        assert file.award == request.attempts[-1].award
        assert file.worker is None
        assert (second.booked(), second.sequence(), begun(second)) == ([], [1], 0)
        assert second.metrics.events[JournalEvent.RECOVERED] == 1


async def test_a_worker_that_stays_away_is_given_up(tmp_path: Path) -> None:
    """A worker that never links again is waited for as long as told, and no longer."""
    request = a_request(WORKER)
    async with gateway(tmp_path) as first:
        await begin(first, request)
    async with gateway(tmp_path) as second:
        second.journal.greeted(OTHER.attested.worker_id)
        await later(second, 599)
        assert second.sequence() == []
        await later(second, 2)
        assert second.sequence() == [1]
        assert second.booked() == []


async def test_a_kept_half_is_one_receipt_and_one_charge(tmp_path: Path) -> None:
    """The worker completed it: the half comes back with its memo, and the caller pays once though it saw no answer."""
    request = a_request(OTHER, WORKER)
    half = WORKER.half(request.attempts[-1])
    async with gateway(tmp_path) as first:
        memos = await begin(first, request)
    async with gateway(tmp_path) as second:
        second.journal.admit(WORKER.attested)
        second.journal.greeted(WORKER.attested.worker_id)
        second.journal.halves(WORKER.arrival([half], [memos[-1]]))
        await later(second, 11)
        file = receipt_of(second, request).file
        assert file is not None
        assert GatewayHalf.decode(file.gateway_half).outcome is Ending.ANSWERED
        assert len(file.dispatches) == 2
        assert second.booked() == [(request.request_id, "tenant-a", 1000)]
        assert second.acknowledged(WORKER) == {worker_half_digest(half)}
        assert begun(second) == 0


async def test_a_half_that_had_come_is_found_without_its_memo(tmp_path: Path) -> None:
    """The signed half was journaled and the outcome was not: it is the answer even if its worker is gone for good."""
    request = a_request(WORKER)
    async with gateway(tmp_path) as first:
        first.journal.admit(WORKER.attested)
        await begin(first, request)
        first.journal.halves(WORKER.arrival([WORKER.half(request.attempts[0])]))
        await first.settled()
        assert first.acknowledged(WORKER) == set()
    async with gateway(tmp_path) as second:
        await later(second, 11)
        assert receipt_of(second, request).file is not None
        assert second.booked() == [(request.request_id, "tenant-a", 1000)]
        assert second.sequence() == [1]


async def test_another_workers_half_is_no_answer(tmp_path: Path) -> None:
    """A worker that signs a half over another's dispatch settles nothing and is paid nothing."""
    request = a_request(WORKER)
    async with gateway(tmp_path) as first:
        await begin(first, request)
    async with gateway(tmp_path) as second:
        second.journal.greeted(WORKER.attested.worker_id)
        second.journal.halves(OTHER.arrival([OTHER.half(request.attempts[0])]))
        await later(second, 11)
        file = receipt_of(second, request).file
        assert file is not None
        assert file.worker is None
        assert second.booked() == []


async def test_the_half_of_an_attempt_given_up_settles_nothing(tmp_path: Path) -> None:
    """The first worker's half comes back, the newest attempt's does not: both are named, neither is charged."""
    request = a_request(WORKER, OTHER)
    half = WORKER.half(request.attempts[0])
    async with gateway(tmp_path) as first:
        memos = await begin(first, request)
    async with gateway(tmp_path) as second:
        second.journal.admit(WORKER.attested)
        second.journal.halves(WORKER.arrival([half], [memos[0]]))
        await later(second, 20)
        assert second.sequence() == [], "the newest attempt's worker has not linked yet"
        second.journal.greeted(OTHER.attested.worker_id)
        await later(second, 11)
        file = receipt_of(second, request).file
        assert file is not None
        assert len(file.dispatches) == 2
        assert (second.booked(), second.sequence()) == ([], [1])
        assert second.acknowledged(WORKER) == {worker_half_digest(half)}


async def test_a_half_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    """After the request was closed as broken off, its half is kept and confirmed; receipt and charges stay."""
    request = a_request(WORKER)
    half = WORKER.half(request.attempts[0])
    async with gateway(tmp_path) as first:
        memos = await begin(first, request)
    async with gateway(tmp_path) as second:
        await later(second, 601)
        before = receipt_of(second, request).file
        second.journal.halves(WORKER.arrival([half], memos))
        await second.until(lambda: second.acknowledged(WORKER) == {worker_half_digest(half)})
        await later(second, 601)
        assert receipt_of(second, request).file == before
        assert (second.booked(), second.sequence()) == ([], [1])


async def test_the_running_process_waits_for_its_own_outcome(tmp_path: Path) -> None:
    """What this process began is not settled behind its back, however long it takes; the outcome closes it."""
    request = a_request(WORKER)
    done = outcome(request.attempts, WORKER.half(request.attempts[0]), request_id=request.request_id)
    async with gateway(tmp_path) as process:
        process.journal.greeted(WORKER.attested.worker_id)
        await begin(process, request)
        await later(process, 10_000)
        assert (process.sequence(), begun(process)) == ([], 1)
        process.desk.record(done)
        await process.settled()
        assert (process.booked(), begun(process)) == ([(request.request_id, "tenant-a", 1000)], 0)


@pytest.mark.parametrize("together", [True, False])
async def test_an_outcome_leaves_nothing_begun(tmp_path: Path, together: bool) -> None:
    """Whether attempt and outcome are committed together or apart, or the attempt is handed over once more after it."""
    request = a_request(WORKER)
    done = replace(request, attempts=tuple(map(failed_first, request.attempts)))
    async with gateway(tmp_path) as process:
        process.desk.begin(request)
        if not together:
            await process.settled()
        process.desk.record(done)
        await process.settled()
        assert begun(process) == 0
        process.desk.begin(request)
        await process.settled()
        assert begun(process) == 0
        assert process.sequence() == [1]


@pytest.mark.parametrize("where", ["dead_before", "dead_after"])
async def test_a_successor_closes_a_request_once(tmp_path: Path, where: str) -> None:
    """Killed while it settles, before or after the commit: the next process leaves one receipt all the same."""
    request = a_request(WORKER)
    async with gateway(tmp_path) as first:
        await begin(first, request)
    async with gateway(tmp_path) as second:
        await second.settled()
        setattr(second.store, where, True)
        second.now += timedelta(seconds=601)
        second.journal.greeted(WORKER.attested.worker_id)
    async with gateway(tmp_path) as third:
        third.now += timedelta(seconds=601)
        await later(third, 601)
        assert receipt_of(third, request).file is not None
        assert (third.sequence(), begun(third)) == ([1], 0)


async def test_what_another_memo_key_closed_is_left_and_said(tmp_path: Path) -> None:
    """With the memo key replaced nothing can be settled: it is counted, once, and holds up nobody."""
    lost, good = a_request(WORKER), a_request(OTHER)
    async with gateway(tmp_path) as first:
        genuine, first.desk._memos = first.desk._memos, MemoKey(bytes(32))
        await begin(first, lost)
        first.desk._memos = genuine
        await begin(first, good)
    async with gateway(tmp_path) as second:
        await later(second, 601)
        await later(second, 601)
        assert second.reader.receipt(lost.request_id) is None
        assert receipt_of(second, good).file is not None
