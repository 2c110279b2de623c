# SPDX-License-Identifier: Apache-2.0
"""The order book: who may enter, what a sequence number means, and what the committed root holds."""

from dataclasses import replace
from typing import Any

import pytest

from attestation.codec import cbor
from attestation.errors import Malformed, NotGenuine, Reason, Replayed, SealbidError, Stale
from attestation.offer import Offer, Withdrawal
from attestation.tlog.merkle import root_of
from gateway.market.book import Admitted, Equivocation, OrderBook
from gateway.market.replay import Opening, open_snapshot
from gateway.market.snapshot import Entry, Gate, leaves_of
from tests.support.market import MODEL, NOW, SALT_KEY, TIER, Worker, book, digest, terms, worker


def admit(target: OrderBook, owner: Worker, offer: Offer, *, handicap: int = 0, now: int = NOW) -> Any:
    """Admits an offer as its worker would have signed it."""
    return target.admit(offer, owner.sign(offer), owner.eligible, handicap_nanos=handicap, now=now)


def standing(target: OrderBook) -> list[Entry]:
    """The committed entries of the default market."""
    return list(target.snapshot.index(MODEL, TIER).entries)


def openings(target: OrderBook) -> list[Opening]:
    """The present snapshot, opened."""
    return [Opening(salt=salt, offer=offer, standing=row) for salt, offer, row in target.opening()]


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"keyset_id": digest("x")}, NotGenuine, Reason.KEYSET_MISMATCH),
        ({"worker_id": digest("x")}, NotGenuine, Reason.KEYSET_MISMATCH),
        ({"provider_id": digest("x")}, NotGenuine, Reason.PROVIDER_MISMATCH),
        ({"engine_sha256": digest("x")}, NotGenuine, Reason.ENGINE_REFUSED),
        ({"model": "unlisted"}, Malformed, Reason.OFFER_INVALID),
        ({"tier": "interactive"}, Malformed, Reason.OFFER_INVALID),
        ({"not_before": NOW - 60, "not_after": NOW}, Stale, Reason.OFFER_INVALID),
        ({"not_before": NOW + 121, "not_after": NOW + 241}, Stale, Reason.OFFER_INVALID),
    ],
)
def test_an_offer_that_does_not_fit_its_worker_or_market_is_refused(
    change: dict[str, Any], error: type[SealbidError], reason: Reason
) -> None:
    """Everything an offer claims of its worker must be what attestation says, and its market must be published."""
    target, owner = book(), worker()
    with pytest.raises(error) as caught:
        admit(target, owner, owner.offer(**change))
    assert caught.value.reason is reason
    assert target.commit(NOW).size == 0


def test_an_offer_of_a_lapsed_attestation_is_refused() -> None:
    """At the moment an attestation expires its worker cannot offer any more."""
    target, owner = book(), worker(expires=NOW)
    with pytest.raises(Stale) as caught:
        admit(target, owner, owner.offer())
    assert caught.value.reason is Reason.LEASE_EXPIRED


def test_nothing_counts_before_it_is_committed() -> None:
    """An admitted offer is in no snapshot until the next commit, which has the next version."""
    target, owner = book(), worker()
    before = target.snapshot
    admit(target, owner, owner.offer())
    assert target.snapshot is before
    after = target.commit(NOW)
    assert (after.version, after.size) == (before.version + 1, 1)
    assert after.root != before.root


def test_a_commit_without_change_is_the_same_snapshot() -> None:
    """Versions count changes, not calls."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer())
    assert target.commit(NOW) is target.commit(NOW + 1)


def test_a_renewal_replaces_its_predecessor_in_one_commit() -> None:
    """The old offer stands until the new one does; at no moment are there two or none."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer(100, seq=1))
    target.commit(NOW)
    admit(target, owner, owner.offer(90, seq=2))
    assert [(entry.offer.ask_nanos, entry.bar) for entry in standing(target)] == [(100, 0)]
    target.commit(NOW)
    assert [(entry.offer.ask_nanos, entry.bar) for entry in standing(target)] == [(90, 0)]


def test_a_lower_number_is_a_replay() -> None:
    """An offer from the past does not come back."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer(100, seq=5))
    with pytest.raises(Replayed) as caught:
        admit(target, owner, owner.offer(1, seq=4))
    assert caught.value.reason is Reason.REPLAYED


def test_the_same_offer_again_is_no_change() -> None:
    """Re-sending an offer is harmless, staged or standing."""
    target, owner = book(), worker()
    offer = owner.offer()
    first = admit(target, owner, offer)
    assert admit(target, owner, offer) == first
    version = target.commit(NOW).version
    assert admit(target, owner, offer) == first
    assert target.commit(NOW).version == version


@pytest.mark.parametrize("committed", [False, True])
def test_two_contents_under_one_number_prove_equivocation(committed: bool) -> None:
    """Both signed blobs come back as proof, both offers are gone, and the number is used up."""
    target, owner = book(), worker()
    first, second = owner.offer(100, seq=3), owner.offer(101, seq=3)
    admit(target, owner, first)
    if committed:
        target.commit(NOW)
    found = admit(target, owner, second)
    assert found == Equivocation(worker_id=owner.worker_id, seq=3, first=owner.sign(first), second=owner.sign(second))
    assert target.commit(NOW).size == 0
    for offer in (first, second):
        with pytest.raises(Replayed):
            admit(target, owner, offer)
    assert isinstance(admit(target, owner, owner.offer(seq=4)), Admitted)


def test_numbers_are_counted_per_model_and_tier() -> None:
    """One worker's offers for two models may carry the same number."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer(seq=1))
    admit(target, owner, owner.offer(seq=1, model="other"))
    assert target.commit(NOW).size == 2


def test_a_withdrawal_takes_effect_at_once_and_uses_its_number_up() -> None:
    """The offer is barred before any commit, gone after it, and cannot be sent in again."""
    target, owner = book(), worker()
    offer = owner.offer(seq=1)
    admit(target, owner, offer)
    target.commit(NOW)
    target.withdraw(Withdrawal(offer_id=offer.offer_id, seq=2), owner.worker_id)
    assert [entry.bar for entry in standing(target)] == [Gate.WITHDRAWN]
    assert target.commit(NOW).size == 0
    for again in (offer, owner.offer(seq=2)):
        with pytest.raises(Replayed):
            admit(target, owner, again)


def test_a_withdrawal_must_name_ones_own_standing_offer() -> None:
    """Nobody withdraws another's offer, an unknown one, or with an old number."""
    target, owner, other = book(), worker("w0"), worker("w1")
    offer = owner.offer(seq=1)
    admit(target, owner, offer)
    for offer_id, by in ((offer.offer_id, other), (digest("unknown"), owner)):
        with pytest.raises(NotGenuine):
            target.withdraw(Withdrawal(offer_id=offer_id, seq=2), by.worker_id)
    with pytest.raises(Replayed):
        target.withdraw(Withdrawal(offer_id=offer.offer_id, seq=1), owner.worker_id)
    assert target.commit(NOW).size == 1


def test_revoking_a_keyset_spares_the_next_generation() -> None:
    """An old keyset's revocation bars its standing offer and leaves the staged one of the new keyset alone."""
    target, old, new = book(), worker("w0"), worker("w0", keyset="next generation")
    admit(target, old, old.offer(100, seq=1))
    target.commit(NOW)
    admit(target, new, new.offer(100, seq=2))
    target.withdraw_worker(old.eligible.keyset_id)
    assert [entry.bar for entry in standing(target)] == [Gate.NO_ATTESTATION]
    target.commit(NOW)
    assert [(entry.offer.keyset_id, entry.bar) for entry in standing(target)] == [(new.eligible.keyset_id, 0)]


def test_revoking_a_keyset_drops_what_was_staged() -> None:
    """An offer that was admitted a moment before the revocation never enters."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer())
    target.withdraw_worker(owner.eligible.keyset_id)
    assert target.commit(NOW).size == 0


def test_slots_in_flight_outlive_a_renewal() -> None:
    """A renewed offer does not hand out the slots that running requests still hold."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer(seq=1))
    target.commit(NOW)
    for _ in range(3):
        target.take(standing(target)[0])
    admit(target, owner, owner.offer(seq=2))
    target.commit(NOW)
    assert standing(target)[0].lane.in_flight == 3


def test_a_new_handicap_moves_the_entry_at_the_next_commit() -> None:
    """Handicaps change with the committed table only, and the root changes with them."""
    target, near, far = book(), worker("w0"), worker("w1")
    admit(target, near, near.offer(100))
    admit(target, far, far.offer(105))
    before = target.commit(NOW)
    target.set_handicap(near.worker_id, MODEL, TIER, 10)
    assert [entry.effective for entry in standing(target)] == [100, 105]
    after = target.commit(NOW)
    assert [(entry.worker_id, entry.effective) for entry in standing(target)] == [
        (far.worker_id, 105),
        (near.worker_id, 110),
    ]
    assert after.root != before.root
    target.set_handicap(digest("nobody"), MODEL, TIER, 10)
    assert target.commit(NOW) is after


def test_a_handicap_does_not_bring_a_withdrawn_offer_back() -> None:
    """A barred entry stays barred whatever its reputation does."""
    target, owner = book(), worker()
    admit(target, owner, owner.offer())
    target.commit(NOW)
    target.suspend(owner.worker_id)
    target.set_handicap(owner.worker_id, MODEL, TIER, 0)
    assert target.commit(NOW).size == 0


def test_an_offer_can_be_withdrawn_while_its_new_handicap_waits() -> None:
    """The same offer standing and staged under another handicap is one offer to its worker."""
    target, owner = book(), worker()
    offer = owner.offer(seq=1)
    admit(target, owner, offer)
    target.commit(NOW)
    target.set_handicap(owner.worker_id, MODEL, TIER, 10)
    admit(target, owner, owner.offer(seq=2))
    target.withdraw(Withdrawal(offer_id=offer.offer_id, seq=3), owner.worker_id)
    assert target.commit(NOW).size == 0


def test_expired_offers_leave_with_the_next_commit() -> None:
    """Committed and staged offers alike end at their not_after or with their attestation."""
    target, owner, lapsing, waiting = book(), worker("w0"), worker("w1", expires=NOW + 5), worker("w2")
    admit(target, owner, owner.offer(not_after=NOW + 20))
    admit(target, lapsing, lapsing.offer())
    assert target.commit(NOW).size == 2
    assert target.commit(NOW + 5).size == 1
    admit(target, waiting, waiting.offer(not_after=NOW + 8), now=NOW + 5)
    assert target.commit(NOW + 20).size == 0


def test_the_root_is_what_an_auditor_computes_from_the_openings() -> None:
    """Roots over salted leaves, sorted; any changed byte of any opening gives another root."""
    target = book()
    for number in range(5):
        owner = worker(f"w{number}")
        admit(target, owner, owner.offer(100 + number), handicap=number)
    target.commit(NOW)
    opened = openings(target)
    version = target.snapshot.version
    assert open_snapshot(reversed(opened), version=version, terms=terms()).root == target.snapshot.root
    flipped = replace(opened[2], salt=digest("another salt"))
    assert (
        open_snapshot([*opened[:2], flipped, *opened[3:]], version=version, terms=terms()).root != target.snapshot.root
    )
    assert open_snapshot(opened[1:], version=version, terms=terms()).root != target.snapshot.root
    assert open_snapshot(opened, version=version + 1, terms=terms()).root != target.snapshot.root
    assert open_snapshot(opened, version=version, terms=terms(reserve=7)).root != target.snapshot.root


def test_kept_leaves_equal_leaves_made_anew() -> None:
    """After many changes the roots are those of the entries that stand, nothing left over."""
    target, owners = book(), [worker(f"w{n}") for n in range(4)]
    for turn in range(1, 12):
        for owner in owners[: 1 + turn % 4]:
            admit(target, owner, owner.offer(turn, seq=turn))
        if turn % 5 == 0:
            target.withdraw_worker(owners[0].eligible.keyset_id)
        target.commit(NOW)
    leaves = [leaves_of(*opened) for opened in target.opening()]
    assert open_snapshot(openings(target), version=target.snapshot.version, terms=terms()).root == target.snapshot.root
    assert [root_of(sorted(side)) for side in zip(*leaves, strict=True)] != [root_of([]), root_of([])]


def test_salts_hide_offers_from_those_without_the_key() -> None:
    """The same book under another salt key has other roots, both of them, so asks cannot be guessed from either."""
    roots: list[set[object]] = [set(), set()]
    for key in (SALT_KEY, digest("another key")):
        target, owner = OrderBook(terms=terms(), salt_key=key), worker()
        admit(target, owner, owner.offer())
        fields = cbor.decode(target.commit(NOW).encoded)
        assert isinstance(fields, dict)
        for found, at in zip(roots, (3, 4), strict=True):
            found.add(fields[at])
    assert [len(found) for found in roots] == [2, 2]


def test_memory_of_gone_workers_is_bounded() -> None:
    """Number lines of workers that left are forgotten once all their offers have expired, and not before."""
    target = book()
    for number in range(200):
        owner = worker(f"w{number}")
        admit(target, owner, owner.offer(not_after=NOW + 20))
        target.withdraw_worker(owner.eligible.keyset_id)
    target.commit(NOW)
    assert len(target._lines) == 200
    last = worker("last")
    admit(target, last, last.offer(not_after=NOW + 80), now=NOW + 20)
    target.commit(NOW + 20)
    assert len(target._lines) == 1
