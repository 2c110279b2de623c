# SPDX-License-Identifier: Apache-2.0
"""What a restarted gateway settles from the halves and memos its workers return: one receipt and one charge each."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.sealing.halves import GatewayHalf, WorkerStatus, worker_half_digest
from gateway.receipts.messages import JournalEvent
from gateway.receipts.recovery import Waits
from gateway.request import Attempt, Ending, Outcome
from tests.support.journal import GatewayProcess, SigningWorker, failed_first, outcome

WORKER = SigningWorker("one")
OTHER = SigningWorker("two")


def gateway(tmp_path: Path, **changes: object) -> GatewayProcess:
    """A gateway process over the test's one database."""
    return GatewayProcess(tmp_path / "journal.db", **changes)  # type: ignore[arg-type]


def answered(worker: SigningWorker = WORKER) -> tuple[Outcome, Attempt, bytes]:
    """A request its first worker answered."""
    attempt = worker.attempt()
    half = worker.half(attempt)
    return outcome([attempt], half), attempt, half


def under_way(attempts: list[Attempt], like: Outcome) -> Outcome:
    """The request as the flow describes it to the memo, before its newest attempt has an answer."""
    return replace(like, attempts=tuple(attempts), half=None, charge_nanos=0, ending=Ending.FAILED)


@pytest.mark.parametrize("where", ["dead_before", "dead_after"])
async def test_a_killed_gateway_finishes_from_what_the_worker_returns(tmp_path: Path, where: str) -> None:
    """Killed before or after the commit reached the disk: the returned half leads to one receipt and one charge."""
    done, attempt, half = answered()
    async with gateway(tmp_path) as first:
        await first.settled()
        memo = first.desk.memo(under_way([attempt], done))
        setattr(first.store, where, True)
        first.desk.record(done)
        first.journal.halves(WORKER.arrival([half]))
    assert first.acknowledged(WORKER) == set()
    async with gateway(tmp_path) as second:
        second.journal.admit(WORKER.attested)
        second.journal.halves(WORKER.arrival([half], [memo]))
        await second.until(lambda: second.recorded([done]))
        await second.settled()
        stored = second.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is not None
        assert stored.file.award == attempt.award
        assert GatewayHalf.decode(stored.file.gateway_half).outcome is Ending.ANSWERED
        assert second.booked() == [(done.request_id, "tenant-a", 1000)]
        assert second.acknowledged(WORKER) == {worker_half_digest(half)}
        second.journal.halves(WORKER.arrival([half], [memo]))
        await second.settled()
        assert len(second.booked()) == 1


@pytest.mark.parametrize("newest_first", [True, False])
async def test_recovery_waits_for_all_attempts_and_the_newest_decides(tmp_path: Path, newest_first: bool) -> None:
    """Both workers return a half: one receipt names both attempts, the newest answers, the other is never charged."""
    one, two = WORKER.attempt(1), OTHER.attempt(2, price_nanos=2000)
    done = outcome([failed_first(one), two], None)
    async with gateway(tmp_path) as first:
        memos = first.desk.memo(under_way([one], done)), first.desk.memo(under_way([failed_first(one), two], done))
    returned = [
        WORKER.arrival([WORKER.half(one)], [memos[0]]),
        OTHER.arrival([OTHER.half(two)], [memos[1]]),
    ]
    async with gateway(tmp_path, waits=Waits(halves=10)) as second:
        for arrival in reversed(returned) if newest_first else returned:
            second.journal.halves(arrival)
            await second.settled()
        assert second.acknowledged(WORKER)
        assert second.acknowledged(OTHER)
        assert second.sequence() == []
        second.now += timedelta(seconds=11)
        await second.settled()
        await second.until(lambda: second.recorded([done]))
        assert second.booked() == [(done.request_id, "tenant-a", 2000)]
        assert second.sequence() == [1]
    with_keys = gateway(tmp_path)
    async with with_keys as third:
        third.journal.admit(OTHER.attested)
        await third.settled()
        stored = third.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is not None
        assert stored.file.dispatches == (one.dispatch, two.dispatch)
        assert stored.file.award == two.award


async def test_the_half_of_a_superseded_attempt_is_kept_and_never_charged(tmp_path: Path) -> None:
    """After failover the first worker's half comes back: it is confirmed and changes neither receipt nor charge."""
    one, two = WORKER.attempt(1), OTHER.attempt(2)
    late, half = WORKER.half(one), OTHER.half(two)
    done = outcome([failed_first(one), two], half)
    async with gateway(tmp_path) as process:
        memo = process.desk.memo(under_way([one], done))
        process.desk.record(done)
        await process.settled()
        process.journal.halves(WORKER.arrival([late], [memo]))
        await process.until(lambda: process.acknowledged(WORKER) == {worker_half_digest(late)})
        assert process.booked() == [(done.request_id, "tenant-a", 1000)]
        assert process.sequence() == [1]


async def test_a_memo_of_the_running_process_waits_for_its_outcome(tmp_path: Path) -> None:
    """A half returned on reconnect while its request still runs on another worker settles nothing by itself."""
    one, two = WORKER.attempt(1), OTHER.attempt(2)
    late, half = WORKER.half(one), OTHER.half(two)
    done = outcome([failed_first(one), two], half)
    async with gateway(tmp_path) as process:
        process.journal.halves(WORKER.arrival([late], [process.desk.memo(under_way([one], done))]))
        await process.settled()
        assert process.acknowledged(WORKER) == {worker_half_digest(late)}
        assert process.sequence() == []
        process.desk.record(done)
        await process.until(lambda: process.recorded([done]))
        assert process.booked() == [(done.request_id, "tenant-a", 1000)]


@pytest.mark.parametrize(
    ("status", "ending"),
    [(WorkerStatus.INVALID, Ending.REFUSED), (WorkerStatus.CANCELLED, Ending.FAILED)],
)
async def test_what_was_not_answered_is_recovered_without_a_charge(
    tmp_path: Path, status: WorkerStatus, ending: Ending
) -> None:
    """A half that says refused or cancelled recovers as a receipt that costs nothing."""
    attempt = WORKER.attempt()
    like = outcome([attempt], None)
    async with gateway(tmp_path) as first:
        memo = first.desk.memo(under_way([attempt], like))
    async with gateway(tmp_path) as second:
        second.journal.admit(WORKER.attested)
        second.journal.halves(WORKER.arrival([WORKER.half(attempt, status=status)], [memo]))
        await second.until(lambda: second.recorded([like]))
        stored = second.reader.receipt(like.request_id)
        assert stored is not None
        assert stored.file is not None
        assert GatewayHalf.decode(stored.file.gateway_half).outcome is ending
        assert second.booked() == []


async def test_an_altered_memo_settles_nothing(tmp_path: Path) -> None:
    """A half whose memo does not open is kept and confirmed, and never becomes a charge."""
    _, attempt, half = answered()
    like = outcome([attempt], None)
    async with gateway(tmp_path) as first:
        memo = bytearray(first.desk.memo(under_way([attempt], like)))
    memo[20] ^= 1
    async with gateway(tmp_path) as second:
        second.journal.halves(WORKER.arrival([half], [bytes(memo)]))
        await second.until(lambda: second.acknowledged(WORKER) == {worker_half_digest(half)})
        await second.settled()
        assert second.sequence() == []
        assert second.metrics.events[JournalEvent.MEMO_REFUSED] == 1
