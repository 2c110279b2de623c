# SPDX-License-Identifier: Apache-2.0
"""What travels between a gateway and its journal's writer arrives as it was sent, wherever a pipe cuts it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import Malformed
from gateway.receipts.messages import (
    MAX_FRAME_BYTES,
    Answer,
    Item,
    Ready,
    Refused,
    Report,
    encode_answer,
    encode_item,
    take_answers,
    take_items,
)
from gateway.receipts.work import Begun, Greeted, WorkerKeys
from gateway.request import Ending
from tests.support.journal import SigningWorker, failed_first, outcome

WORKER = SigningWorker("one")


def items() -> list[Item]:
    """One of each kind, and an outcome without a half."""
    one, two = WORKER.attempt(1), WORKER.attempt(2)
    half = WORKER.half(two)
    return [
        WorkerKeys.of(WORKER.attested),
        outcome([failed_first(one), two], half),
        WORKER.arrival([half], [b"memo"]),
        outcome([failed_first(WORKER.attempt())], None, charge_nanos=0, ending=Ending.FAILED),
        Begun(request_id=bytes(16), worker_id=one.worker_id, dispatch_sha256=one.dispatch_sha256, memo=b"memo"),
        Greeted(worker_id=one.worker_id),
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 2000), max_size=20))
def test_items_arrive_in_order_however_they_are_cut(cuts: list[int]) -> None:
    """Every item comes once, equal to what was sent, when its last byte is there."""
    sent = items()
    stream, buffer, received = b"".join(map(encode_item, sent)), bytearray(), []
    for cut in [*cuts, len(stream)]:
        buffer += stream[:cut]
        stream = stream[cut:]
        received += take_items(buffer)
    assert received == sent
    assert not buffer


def test_answers_arrive_as_they_were_sent() -> None:
    """Also one that says nothing."""
    sent: list[Answer] = [
        Ready(),
        Refused(text="journal is in use"),
        Report(settled=3, failing=False, counts={"receipt": 2}, kept={bytes(32): [b"half"]}),
        Report(settled=0, failing=True, counts={}, kept={}),
    ]
    assert take_answers(bytearray(b"".join(map(encode_answer, sent)))) == sent


def test_a_frame_beyond_the_bound_is_refused() -> None:
    """No buffer grows to what a length claims."""
    with pytest.raises(Malformed):
        take_items(bytearray((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))
