# SPDX-License-Identifier: Apache-2.0
"""What becomes of a request whose gateway died: which outcome, and when it is decided."""

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.sealing.halves import WorkerHalf, WorkerStatus
from gateway.receipts.memo import Memo
from gateway.receipts.recovery import Left, Recovered, Waits, is_due, recover
from gateway.request import Attempt, Ending, Outcome
from tests.support.journal import NOW, SigningWorker, failed_first, outcome

WORKER = SigningWorker("one")
ID = b"w" * 32
BEGAN = 1000.0
WAITS = Waits(halves=10, workers=600, signature=60)


def memo_of(attempts: list[Attempt], like: Outcome) -> Memo:
    """The memo that travelled with the newest of these attempts."""
    return Memo(
        instance=bytes(16),
        request_id=like.request_id,
        tenant=like.tenant,
        model=like.model,
        method=like.method,
        attempts=tuple(attempts),
        wu_cap=like.wu_cap,
        max_total_nanos=like.max_total_nanos,
        started=like.started,
        profile=like.profile,
    )


def test_recovery_makes_the_outcome_the_flow_would_have_made() -> None:
    """From memo and half comes the same outcome, but for the transcript, which nobody kept."""
    attempt = replace(WORKER.attempt(), transcript=b"")
    done = outcome([attempt], WORKER.half(attempt))
    assert done.half is not None
    recovered = recover([Recovered(memo=memo_of([attempt], done), half=done.half)], now=NOW)
    assert recovered == done


def test_the_newest_attempt_decides_in_any_order() -> None:
    """An older attempt that finished after all does not win over the newest, and is not paid."""
    one, two = WORKER.attempt(1), WORKER.attempt(2)
    like = outcome([one, two], None)
    old = Recovered(memo=memo_of([one], like), half=WORKER.half(one, status=WorkerStatus.OK))
    new = Recovered(memo=memo_of([failed_first(one), two], like), half=WORKER.half(two, status=WorkerStatus.CANCELLED))
    for returned in ([old, new], [new, old]):
        recovered = recover(returned, now=NOW)
        assert recovered.ending is Ending.FAILED
        assert recovered.charge_nanos == 0
        assert [attempt.reason for attempt in recovered.attempts] == ["WORKER_FAILED", "CANCELLED"]


def test_a_workers_clock_cannot_move_an_outcome_out_of_its_time() -> None:
    """The end is the worker's word, but never before the start or a day after it."""
    attempt = WORKER.attempt()
    like = outcome([attempt], None)
    for claimed in (0, 2**62):
        half = replace(WorkerHalf.decode(WORKER.half(attempt)), ended=claimed).encode()
        recovered = recover([Recovered(memo=memo_of([attempt], like), half=half)], now=NOW)
        assert NOW <= recovered.ended <= NOW + timedelta(days=1)


def test_without_a_half_a_request_is_broken_off_and_costs_nothing() -> None:
    """No worker is known to have completed it: failed, uncharged, every attempt named, at the time this is found."""
    one, two = WORKER.attempt(1), WORKER.attempt(2)
    like = outcome([one, two], None)
    later = NOW + timedelta(hours=1)
    recovered = recover([Recovered(memo=memo_of([failed_first(one), two], like), half=None)], now=later)
    assert (recovered.ending, recovered.charge_nanos, recovered.half) == (Ending.FAILED, 0, None)
    assert [attempt.reason for attempt in recovered.attempts] == ["WORKER_FAILED", "CANCELLED"]
    assert recovered.ended == later


def test_a_half_decides_over_the_word_that_its_attempt_began() -> None:
    """The same attempt is known twice, as begun and by the half that came back: the half counts, in any order."""
    attempt = replace(WORKER.attempt(), transcript=b"")
    done = outcome([attempt], WORKER.half(attempt))
    begun = Recovered(memo=memo_of([attempt], done), half=None)
    returned = Recovered(memo=memo_of([attempt], done), half=done.half)
    for known in ([begun, returned], [returned, begun]):
        assert recover(known, now=NOW) == done


def test_an_older_half_does_not_stand_for_a_newest_attempt_without_one() -> None:
    """The half of an attempt given up is neither shown nor charged when the newest came to nothing."""
    one, two = WORKER.attempt(1), WORKER.attempt(2)
    like = outcome([one, two], None)
    old = Recovered(memo=memo_of([one], like), half=WORKER.half(one))
    new = Recovered(memo=memo_of([failed_first(one), two], like), half=None)
    recovered = recover([old, new], now=NOW)
    assert (recovered.charge_nanos, recovered.half, len(recovered.attempts)) == (0, None, 2)


def left(*, worker_id: bytes = ID, answered: bool = False, arrived: int | None = None) -> Left:
    """A request an earlier process left."""
    return Left(request_id=bytes(16), worker_id=worker_id, answered=answered, arrived=arrived)


@pytest.mark.parametrize(
    ("one", "greeted", "since"),
    [
        (left(worker_id=b"", answered=True, arrived=1003), {}, 13.0),  # only a memo came back: others have 10 s
        (left(worker_id=b"", answered=True, arrived=1003), {ID: 1050.0}, 13.0),
        (left(answered=True), {}, 10.0),  # its half was here when we began
        (left(answered=True, arrived=1003), {}, 13.0),
        (left(), {ID: 1005.0}, 15.0),  # the worker linked and had time to return its half
        (left(arrived=1008), {ID: 1005.0}, 18.0),
        (left(), {}, 600.0),  # the worker stays away
        (left(), {b"o" * 32: 1005.0}, 600.0),
        (left(arrived=1003), {}, 600.0),  # an older attempt's half is no reason to hurry
        (left(), {ID: 1595.0}, 600.0),
    ],
)
def test_a_request_is_settled_as_soon_as_nothing_more_is_to_be_expected(
    one: Left, greeted: dict[bytes, float], since: float
) -> None:
    """Not a moment before, and from then on for good."""
    for seconds in (0.0, since - 1, since - 0.01):
        assert not is_due(one, now=BEGAN + seconds, began=BEGAN, greeted=greeted, waits=WAITS)
    for seconds in (since, since + 1, 10_000.0):
        assert is_due(one, now=BEGAN + seconds, began=BEGAN, greeted=greeted, waits=WAITS)
