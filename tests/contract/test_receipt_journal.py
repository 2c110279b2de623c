# SPDX-License-Identifier: Apache-2.0
"""What the journal promises: each request has one receipt and one charge, through failures, kills and re-delivery."""

import asyncio
import gc
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from attestation.errors import SettingsError
from attestation.sealing.batch import GATEWAY_HALF, WORKER_HALF, HalfProof, verify_half
from attestation.sealing.halves import GatewayHalf, worker_half_digest
from gateway.receipts.database import WriterLock
from gateway.receipts.messages import JournalEvent
from gateway.request import Attempt, Ending, Outcome
from tests.support.journal import GATEWAY_KEY, GatewayProcess, SigningWorker, failed_first, outcome

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


async def test_an_outcome_becomes_one_receipt_and_one_charge(tmp_path: Path) -> None:
    """A recorded outcome is on disk with its charge, and its halves prove themselves under both keys."""
    done, _, half = answered()
    async with gateway(tmp_path) as process:
        process.journal.admit(WORKER.attested)
        process.desk.record(done)
        process.journal.halves(WORKER.arrival([half]))
        await process.settled()
        stored = process.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is not None
        assert stored.file.worker is not None
        assert stored.file.worker.batch is not None
        assert process.booked() == [(done.request_id, "tenant-a", 1000)]
        assert process.reader.total("tenant-a").charged_nanos == 1000
    file, worker, signed_batch = stored.file, stored.file.worker, stored.file.worker.batch
    for data, batch, key, purpose in (
        (file.gateway_half, file.gateway_batch, GATEWAY_KEY.public_key().public_bytes_raw(), GATEWAY_HALF),
        (worker.half, signed_batch, WORKER.receipt_key, WORKER_HALF),
    ):
        proof = HalfProof(cose=batch.cose, index=batch.index, size=batch.size, path=batch.path)
        verify_half(data, proof, public_key=key, purpose=purpose)
    signed = GatewayHalf.decode(file.gateway_half)
    assert signed.worker_half_sha256 == worker_half_digest(half)
    assert signed.charge_nanos == 1000
    assert file.dispatches == (done.attempts[0].dispatch,)
    assert stored.transcript == b"transcript"


async def test_a_half_is_confirmed_only_when_its_request_is_recorded(tmp_path: Path) -> None:
    """A half that arrives before the outcome is not confirmed; the outcome's commit confirms it."""
    done, _, half = answered()
    async with gateway(tmp_path) as process:
        process.journal.halves(WORKER.arrival([half]))
        await process.settled()
        assert process.acknowledged(WORKER) == set()
        process.desk.record(done)
        await process.until(lambda: process.acknowledged(WORKER) == {worker_half_digest(half)})


async def test_a_receipt_is_pending_until_the_workers_signature_joins(tmp_path: Path) -> None:
    """Without the batch signature there is a receipt, charged, but no file that claims to be whole."""
    done, _, half = answered()
    async with gateway(tmp_path) as process:
        process.journal.admit(WORKER.attested)
        process.desk.record(done)
        await process.settled()
        stored = process.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is None
        assert "signature" in stored.pending
        process.journal.halves(WORKER.arrival([half]))
        await process.settled()
        joined = process.reader.receipt(done.request_id)
        assert joined is not None
        assert joined.file is not None


async def test_the_same_outcome_twice_is_charged_once(tmp_path: Path) -> None:
    """A request id has one receipt and one charge, however often its outcome comes."""
    done, _, _ = answered()
    async with gateway(tmp_path) as process:
        process.desk.record(done)
        process.desk.record(done)
        await process.settled()
        process.desk.record(done)
        await process.settled()
        assert len(process.booked()) == 1
        assert process.sequence() == [1]
        assert process.metrics.events[JournalEvent.DUPLICATE] == 2


@pytest.mark.parametrize("where", ["fail_before", "fail_after"])
async def test_a_store_that_fails_is_asked_again_and_nothing_doubles(tmp_path: Path, where: str) -> None:
    """Whether the store failed before or after applying, every outcome ends with one receipt and one charge."""
    outcomes = [answered()[0] for _ in range(5)]
    async with gateway(tmp_path) as process:
        await process.settled()
        setattr(process.store, where, 2)
        for one in outcomes:
            process.desk.record(one)
        await process.until(lambda: process.recorded(outcomes))
        await process.settled()
        assert len(process.booked()) == 5
        assert process.sequence() == [1, 2, 3, 4, 5]
        assert process.metrics.events[JournalEvent.COMMIT_FAILED] == 2
        assert not process.desk.overloaded


async def test_an_ambiguous_commit_still_confirms_the_halves(tmp_path: Path) -> None:
    """A commit that was applied though it reported failure confirms its halves when it is repeated."""
    done, _, half = answered()
    async with gateway(tmp_path) as process:
        await process.settled()
        process.store.fail_after = 1
        process.desk.record(done)
        process.journal.halves(WORKER.arrival([half]))
        await process.until(lambda: process.acknowledged(WORKER) == {worker_half_digest(half)})


async def test_a_full_queue_is_a_signal_and_loses_nothing(tmp_path: Path) -> None:
    """While the store is away the journal says it is overloaded; every outcome it took is there afterwards."""
    outcomes = [answered()[0] for _ in range(30)]
    async with gateway(tmp_path, capacity=10) as process:
        await process.settled()
        process.store.fail_before = 3
        for one in outcomes:
            process.desk.record(one)
        assert process.desk.overloaded
        await process.until(lambda: process.recorded(outcomes))
        await process.settled()
        assert not process.desk.overloaded
        assert process.sequence() == list(range(1, 31))


async def test_halves_beyond_the_bound_are_left_with_their_worker(tmp_path: Path) -> None:
    """Halves that do not fit are not taken, so not confirmed: the worker keeps them and returns them later."""
    process = gateway(tmp_path, capacity=1)
    for _ in range(3):
        process.journal.halves(WORKER.arrival([WORKER.half(WORKER.attempt())]))
    assert process.metrics.events == {JournalEvent.HALF_TURNED_AWAY: 1}
    async with process:
        await process.settled()


async def test_a_batch_that_lies_is_refused_and_not_confirmed(tmp_path: Path) -> None:
    """Another key's signature, another worker's half, or a half that is no leaf: nothing of it is stored."""
    done, _, half = answered()
    arrival = WORKER.arrival([half])
    lies = [
        replace(arrival, receipt_key=OTHER.receipt_key),
        replace(arrival, worker_id=OTHER.attested.worker_id),
        replace(arrival, halves=[(0, half + b"\x00", b"")]),
        replace(arrival, leaves=(*arrival.leaves, arrival.leaves[0])),
        replace(arrival, leaves=()),
        replace(arrival, halves=[]),
        replace(arrival, cose=b"not cose"),
    ]
    async with gateway(tmp_path) as process:
        process.desk.record(done)
        for lie in lies:
            process.journal.halves(lie)
        await process.settled()
        assert process.acknowledged(WORKER) == set()
        assert process.metrics.events[JournalEvent.HALF_REFUSED] == 6  # an empty batch counts no half
        stored = process.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is None


async def test_one_outcome_that_cannot_be_applied_holds_up_no_other(tmp_path: Path) -> None:
    """An outcome whose half names none of its attempts is refused alone; its neighbours are recorded, without a gap."""
    good = [answered()[0] for _ in range(3)]
    bad = outcome([WORKER.attempt()], WORKER.half(OTHER.attempt()))
    async with gateway(tmp_path) as process:
        for one in (good[0], bad, good[1], good[2]):
            process.desk.record(one)
        await process.until(lambda: process.recorded(good))
        assert process.sequence() == [1, 2, 3]
        assert process.metrics.events[JournalEvent.ITEM_REFUSED] == 1


async def test_a_ledger_that_refuses_takes_the_receipt_back_with_the_charge(tmp_path: Path) -> None:
    """Receipt and charge are one transaction: where the ledger refuses there is no receipt either."""
    done, _, _ = answered()
    async with gateway(tmp_path) as process:
        process.ledger.refusal = ValueError("unbalanced")
        process.desk.record(done)
        await process.settled()
        process.ledger.refusal = None
        assert process.reader.receipt(done.request_id) is None
        assert process.booked() == []


async def test_sequence_numbers_have_no_gap_across_restarts(tmp_path: Path) -> None:
    """Failures and restarts leave the gateway's numbers gapless."""
    for _ in range(3):
        outcomes = [answered()[0] for _ in range(70)]
        async with gateway(tmp_path) as process:
            process.store.fail_before = 1
            process.store.fail_after = 1
            for one in outcomes:
                process.desk.record(one)
            await process.until(partial(process.recorded, outcomes))
    async with gateway(tmp_path) as process:
        assert process.sequence() == list(range(1, 211))


def hand_over(process: GatewayProcess) -> None:
    """One request and its half, of which the test keeps nothing."""
    done, _, half = answered()
    process.desk.record(done)
    process.journal.halves(WORKER.arrival([half]))


async def test_nothing_of_a_request_stays_in_memory(tmp_path: Path) -> None:
    """After the commits no outcome is held, however many there were."""
    async with gateway(tmp_path) as process:
        for _ in range(200):
            hand_over(process)
        await process.settled()
        await process.settled()  # the group of the first may still be on the journal's stack
        gc.collect()
        assert [one for one in gc.get_objects() if isinstance(one, Outcome)] == []
        assert process.journal.unsettled == 0


async def test_a_request_without_a_worker_leaves_a_whole_receipt(tmp_path: Path) -> None:
    """Where no worker gave a half there is nothing to wait for: the receipt is complete and costs nothing."""
    done = outcome([failed_first(WORKER.attempt())], None, charge_nanos=0, ending=Ending.FAILED)
    async with gateway(tmp_path) as process:
        process.desk.record(done)
        await process.until(lambda: process.recorded([done]))
        stored = process.reader.receipt(done.request_id)
        assert stored is not None
        assert stored.file is not None
        assert stored.file.worker is None
        assert process.booked() == []


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Two gateways over one journal would give out the same numbers."""
    lock = WriterLock(tmp_path / "journal.db")
    with pytest.raises(SettingsError):
        WriterLock(tmp_path / "journal.db")
    lock.release()
    WriterLock(tmp_path / "journal.db").release()


_VICTIM = """
import asyncio, sys
from pathlib import Path
from tests.support.journal import GatewayProcess, SigningWorker, outcome

async def main() -> None:
    worker = SigningWorker("one")
    async with GatewayProcess(Path(sys.argv[1])) as process:
        while True:
            attempt = worker.attempt()
            half = worker.half(attempt)
            done = outcome([attempt], half)
            process.desk.record(done)
            process.journal.halves(worker.arrival([half]))
            before = len(process.acknowledged(worker))
            await process.until(lambda: len(process.acknowledged(worker)) > before)
            print(done.request_id.hex(), flush=True)

asyncio.run(main())
"""


async def test_what_was_confirmed_survives_sigkill(tmp_path: Path) -> None:
    """A process killed at any moment has on disk every receipt whose half it confirmed, each charged once."""
    path = tmp_path / "journal.db"
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _VICTIM,
        str(path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert victim.stdout is not None
    confirmed = [bytes.fromhex((await victim.stdout.readline()).decode()) for _ in range(25)]
    victim.send_signal(signal.SIGKILL)
    rest = await victim.stdout.read()
    await victim.wait()
    confirmed += [bytes.fromhex(line) for line in rest.decode().split("\n")[:-1]]
    async with GatewayProcess(path) as process:
        assert all(process.reader.receipt(request_id) is not None for request_id in confirmed)
        booked = [request_id for request_id, _, _ in process.booked()]
        assert set(confirmed) <= set(booked)
        assert len(booked) == len(process.sequence())
