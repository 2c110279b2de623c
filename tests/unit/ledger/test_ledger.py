# SPDX-License-Identifier: Apache-2.0
"""Ledger values: what balances, what a charge is made of, what makes two transactions the same."""

import pytest

from attestation.errors import Reason
from gateway.ledger.ledger import (
    AMOUNT_MAX,
    Account,
    AccountKind,
    Overdrawn,
    Posting,
    Transaction,
    TransactionKind,
    Unbalanced,
    balances_after,
    capture,
    charge_of,
    deposit,
    external,
    hold,
    payable,
    settle,
    user,
    withdrawal,
)

A, B, C = user("a"), user("b"), user("c")


def transaction(*postings: tuple[Account, int], kind: TransactionKind = TransactionKind.DEPOSIT) -> Transaction:
    """A transaction of these postings."""
    made = tuple(Posting(account=account, amount_nanos=amount) for account, amount in postings)
    return Transaction(key="k", kind=kind, postings=made, created=0)


@pytest.mark.parametrize(
    ("postings", "named"),
    [
        (((A, 1),), "sums to 1"),
        (((A, 1), (B, -2)), "sums to -1"),
        (((A, 0), (B, 0)), "amount on user:a is 0"),
        (((A, 1), (A, -1)), "names an account twice"),
        (((A, AMOUNT_MAX + 1), (B, -AMOUNT_MAX - 1)), "amount on user:a"),
    ],
)
def test_money_is_neither_made_nor_lost(postings: tuple[tuple[Account, int], ...], named: str) -> None:
    """A transaction that does not sum to 0, or says nothing, is never even a value."""
    with pytest.raises(Unbalanced, match=named) as caught:
        transaction(*postings)
    assert caught.value.reason is Reason.INTERNAL


def test_content_is_kind_and_postings() -> None:
    """Order and time make no difference; kind, account and amount do."""
    base = transaction((A, 1), (B, -1))
    assert base.digest == transaction((B, -1), (A, 1)).digest
    others = [
        transaction((A, 2), (B, -2)),
        transaction((A, 1), (C, -1)),
        transaction((A, 1), (B, -1), kind=TransactionKind.SETTLE),
    ]
    assert base.digest not in {other.digest for other in others}


@pytest.mark.parametrize(
    ("price", "units", "fee", "parts"),
    [
        (100, 1000, 0, (100, 100, 0, 0)),
        (100, 1005, 0, (101, 100, 0, 1)),
        (100, 1000, 20_000, (102, 100, 2, 0)),
        (1, 1, 0, (1, 0, 0, 1)),
        (0, 5000, 20_000, (0, 0, 0, 0)),
        (1, 1, 999_999, (1, 0, 0, 1)),
    ],
)
def test_a_charge_is_rounded_up_and_a_payout_down(
    price: int, units: int, fee: int, parts: tuple[int, int, int, int]
) -> None:
    """The caller pays the ceiling, the provider gets the floor, what is left over has an account."""
    found = charge_of(price, units, fee_ppm=fee)
    assert (found.total_nanos, found.payout_nanos, found.fee_nanos, found.rounding_nanos) == parts


def test_a_charge_of_nothing_is_no_transaction() -> None:
    """A free request leaves no entry."""
    assert settle(b"r" * 16, "a", b"p" * 32, charge_of(0, 10), created=0) is None


def test_a_capture_above_its_hold_is_refused() -> None:
    """Nobody pays more than was set aside."""
    with pytest.raises(Overdrawn, match="hold of 99"):
        capture(b"r" * 16, "a", b"p" * 32, charge_of(100, 1000), held_nanos=99, created=0)


def test_transfers_move_something() -> None:
    """An amount of nothing, or backwards, is refused."""
    for amount in (0, -1):
        with pytest.raises(Unbalanced):
            deposit("k", "a", amount, source="bank", created=0)


def test_only_settling_and_the_world_outside_may_owe() -> None:
    """The rule by kind of account and of transaction."""
    after = balances_after({}, deposit("k", "a", 5, source="bank", created=0))
    assert after == {external("bank"): -5, A: 5}
    charge = settle(b"r" * 16, "a", b"p" * 32, charge_of(100, 1000), created=0)
    assert charge is not None
    assert balances_after(after, charge)[A] == -95
    for refused in (
        hold(b"r" * 16, "a", 6, created=0),
        withdrawal("w", A, 6, sink="bank", created=0),
        withdrawal("w", payable(b"p" * 32), 1, sink="bank", created=0),
    ):
        with pytest.raises(Overdrawn) as caught:
            balances_after(after, refused)
        assert caught.value.reason is Reason.BUDGET_EXCEEDED


def test_paying_a_debt_down_is_not_an_overdraft() -> None:
    """A deposit onto an account in debt is welcome even when it does not clear it."""
    assert balances_after({A: -10}, deposit("k", "a", 5, source="bank", created=0))[A] == -5


def test_a_balance_that_would_not_fit_is_refused() -> None:
    """Sums stay within 64 bits."""
    with pytest.raises(Unbalanced, match="want within"):
        balances_after({A: AMOUNT_MAX}, deposit("k", "a", 1, source="bank", created=0))


def test_accounts_have_one_name_each() -> None:
    """Names cannot be confused between kinds; a provider not known yet has an account of its own."""
    assert str(Account(kind=AccountKind.HOLD, owner="ab")) == "hold:ab"
    assert str(payable(b"\xab")) == "payable:ab"
    assert str(payable(b"")) == "payable:unknown"
