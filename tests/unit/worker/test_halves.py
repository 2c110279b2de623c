# SPDX-License-Identifier: Apache-2.0
"""The book of halves: numbering, batching, delivery, confirmation and its bounds."""

from collections.abc import Callable, Sequence

import pytest

from attestation.codec.labels import sha256
from attestation.errors import Reason, SealingError
from attestation.tlog.merkle import leaf_hash
from enclave.halves import BATCH_HALVES, Half, HalfBook

GATEWAY, OTHER = b"g" * 32, b"o" * 32


class Desk:
    """A book with a recorded timer, signer and courier."""

    def __init__(self, capacity: int = 1000) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.delivered: list[tuple[bytes, list[Half]]] = []
        self.signed: list[Sequence[bytes]] = []
        self.book = HalfBook(sign=self.sign, deliver=self.deliver, later=self.later, capacity=capacity)

    def sign(self, leaves: Sequence[bytes]) -> bytes:
        self.signed.append(leaves)
        return b"signature %d" % len(self.signed)

    def deliver(self, gateway_id: bytes, halves: Sequence[Half]) -> None:
        self.delivered.append((gateway_id, list(halves)))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((seconds, call))

    def add(self, gateway_id: bytes = GATEWAY, memo: bytes = b"", origin: object = "link") -> bytes:
        self.book.reserve(gateway_id)
        return self.book.add(gateway_id, lambda seq: b"half %d" % seq, memo=memo, origin=origin)


def test_numbers_have_no_gap_whatever_happens_between() -> None:
    """Calls that end without a half, other gateways and refusals use up no number."""
    desk = Desk(capacity=2)
    assert desk.add() == b"half 1"
    desk.book.reserve(GATEWAY)
    desk.book.release(GATEWAY)
    assert desk.add(OTHER) == b"half 2"
    assert desk.add() == b"half 3"
    with pytest.raises(SealingError):
        desk.add()
    assert desk.add(OTHER) == b"half 4"


def test_a_lone_half_is_signed_when_the_timer_fires() -> None:
    """The first half of a batch sets one timer of 20 ms; what came until then is signed together."""
    desk = Desk()
    desk.add()
    desk.add()
    assert [seconds for seconds, _ in desk.timers] == [0.02]
    desk.timers[0][1]()
    assert desk.signed == [(leaf_hash(b"half 1"), leaf_hash(b"half 2"))]
    ((gateway_id, halves),) = desk.delivered
    assert gateway_id == GATEWAY
    assert [(half.encoded, half.position) for half in halves] == [(b"half 1", 0), (b"half 2", 1)]
    root = halves[0].root
    assert root is not None
    assert root is halves[1].root
    assert root.leaves == (leaf_hash(b"half 1"), leaf_hash(b"half 2"))


def test_a_full_batch_is_signed_at_once() -> None:
    """The 64th half does not wait for the timer, and the stale timer then signs nothing empty."""
    desk = Desk()
    for _ in range(BATCH_HALVES):
        desk.add()
    assert len(desk.signed) == 1
    desk.timers[0][1]()
    assert len(desk.signed) == 1


def test_a_batch_goes_to_each_gateway_with_its_own_halves_and_all_leaves() -> None:
    """One signature covers several gateways; each sees only its halves, at their places in the batch."""
    desk = Desk()
    desk.add(GATEWAY)
    desk.add(OTHER)
    desk.add(GATEWAY)
    desk.book.flush()
    by_gateway = dict(desk.delivered)
    assert [half.position for half in by_gateway[GATEWAY]] == [0, 2]
    assert [half.position for half in by_gateway[OTHER]] == [1]
    root = by_gateway[OTHER][0].root
    assert root is not None
    assert len(root.leaves) == 3


def test_unconfirmed_halves_come_again_with_their_memo_until_confirmed() -> None:
    """Every signed half of the gateway is offered again, in order, and no longer once it is confirmed."""
    desk = Desk()
    first = desk.add(memo=b"memo 1")
    desk.book.flush()
    second = desk.add(memo=b"memo 2")
    desk.add(OTHER)
    desk.book.flush()
    again = [half for batch in desk.book.unconfirmed_of(GATEWAY) for half in batch]
    assert [(half.encoded, half.memo) for half in again] == [(first, b"memo 1"), (second, b"memo 2")]
    desk.book.confirm(GATEWAY, [sha256(first), b"unknown" * 4])
    assert [half.encoded for batch in desk.book.unconfirmed_of(GATEWAY) for half in batch] == [second]
    desk.book.confirm(GATEWAY, [sha256(second)])
    assert list(desk.book.unconfirmed_of(GATEWAY)) == []
    assert desk.book.unconfirmed == 1


def test_no_gateway_confirms_anothers_half() -> None:
    """A digest sent by the wrong gateway changes nothing."""
    desk = Desk()
    half = desk.add()
    desk.book.flush()
    desk.book.confirm(OTHER, [sha256(half)])
    assert desk.book.unconfirmed == 1


def test_unsigned_halves_are_not_delivered_again() -> None:
    """A half whose batch is not signed yet is left to its own batch."""
    desk = Desk()
    desk.add()
    assert list(desk.book.unconfirmed_of(GATEWAY)) == []


def test_redelivery_skips_what_was_confirmed_while_it_ran() -> None:
    """A slow redelivery does not send what the gateway confirmed in the meantime."""
    desk = Desk()
    halves = []
    for _ in range(2):
        halves.append(desk.add())
        desk.book.flush()
    again = desk.book.unconfirmed_of(GATEWAY)
    assert [half.encoded for half in next(again)] == [halves[0]]
    desk.book.confirm(GATEWAY, [sha256(halves[1])])
    assert [half.encoded for batch in again for half in batch] == []


def test_a_gateway_that_confirms_nothing_fills_only_its_own_share() -> None:
    """At its capacity a gateway is refused by name, confirming makes room again, others are not touched."""
    desk = Desk(capacity=2)
    first = desk.add()
    desk.book.reserve(GATEWAY)
    with pytest.raises(SealingError) as caught:
        desk.book.reserve(GATEWAY)
    assert caught.value.reason is Reason.WORKER_OVERLOADED
    desk.book.reserve(OTHER)
    desk.book.confirm(GATEWAY, [sha256(first)])
    desk.book.reserve(GATEWAY)
