# SPDX-License-Identifier: Apache-2.0
"""What every ledger store promises, run against memory and against SQLite."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from gateway.ledger.ledger import (
    PLATFORM,
    ROUNDING,
    Account,
    Conflict,
    Overdrawn,
    Transaction,
    balances_of,
    capture,
    charge_from_total,
    charge_of,
    deposit,
    external,
    held,
    hold,
    payable,
    release,
    settle,
    suspense,
    user,
    void,
    withdrawal,
)
from gateway.ledger.settlement import Settlement
from gateway.ledger.sqlmodel_store import SQLModelLedger, apply, create_tables
from gateway.ledger.store import LedgerStore
from gateway.receipts.database import open_writer
from gateway.receipts.issue import Charge as Receipted
from tests.support.ledger import MemoryLedger, Outage

REQUEST = b"\x01" * 16
OTHER = b"\x02" * 16
PROVIDER = b"\xaa" * 32
AT = 1_800_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An SQLite file with the ledger's tables, opened as the journal opens it."""
    made = open_writer(tmp_path / "ledger.sqlite")
    create_tables(made)
    return made


STORES: dict[str, Callable[[Engine], LedgerStore]] = {
    "memory": lambda _: MemoryLedger(),
    "sqlite": lambda engine: SQLModelLedger(engine),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, engine: Engine) -> LedgerStore:
    """Each implementation, empty."""
    return STORES[request.param](engine)


def funded(amount: int = 1000) -> Transaction:
    """A tenant's first deposit."""
    return deposit("first", "acme", amount, source="bank", created=AT)


def charged(request_id: bytes = REQUEST, units: int = 2500) -> Transaction:
    """A settled request at 100 nUSD per 1,000 work units with a fee of 2 percent."""
    made = settle(request_id, "acme", PROVIDER, charge_of(100, units, fee_ppm=20_000), created=AT)
    assert made is not None
    return made


def test_an_unused_account_has_nothing(store: LedgerStore) -> None:
    """Reading is never an error."""
    assert store.balance(user("nobody")) == 0
    assert store.statement(user("nobody")) == []
    assert store.discrepancies() == []


def test_posting_moves_balances(store: LedgerStore) -> None:
    """A settlement pays provider, platform and rounding out of the user's account, to the last nano-dollar."""
    assert store.post([funded(), charged(units=2505)]) == 2
    expected = {user("acme"): 744, payable(PROVIDER): 250, PLATFORM: 5, ROUNDING: 1, external("bank"): -1000}
    assert {account: store.balance(account) for account in expected} == expected
    assert store.statement(user("acme")) == [("deposit:first", 1000), (f"settle:{REQUEST.hex()}", -256)]


def test_the_same_transaction_counts_once(store: LedgerStore) -> None:
    """Repeated in another call, in the same call, or at another time, it is the same transaction."""
    later = Transaction(key=funded().key, kind=funded().kind, postings=funded().postings, created=AT + 9)
    assert store.post([funded(), funded()]) == 1
    assert store.post([later, charged()]) == 1
    assert store.balance(user("acme")) == 1000 - 255


def test_the_same_key_with_other_content_is_refused_whole(store: LedgerStore) -> None:
    """Nothing of the call is applied, also not what stood before the conflict."""
    store.post([funded()])
    with pytest.raises(Conflict, match="deposit:first"):
        store.post([charged(), funded(7)])
    with pytest.raises(Conflict):
        store.post([charged(), charged(units=1)])
    assert store.balance(user("acme")) == 1000
    assert store.statement(payable(PROVIDER)) == []


def test_a_request_is_settled_once(store: LedgerStore) -> None:
    """Charge, capture and void of one request exclude one another."""
    held_for = hold(REQUEST, "acme", 300, created=AT)
    store.post([funded(), held_for, void(REQUEST, "acme", held_nanos=300, created=AT)])
    taken = capture(REQUEST, "acme", PROVIDER, charge_of(100, 1000), held_nanos=300, created=AT)
    for second in (taken, charged()):
        with pytest.raises(Conflict):
            store.post([second])
    assert store.balance(user("acme")) == 1000


def test_a_capture_empties_its_hold(store: LedgerStore) -> None:
    """What is not used goes back in the same transaction."""
    store.post([funded(), hold(REQUEST, "acme", 300, created=AT)])
    assert (store.balance(user("acme")), store.balance(held(REQUEST))) == (700, 300)
    store.post([capture(REQUEST, "acme", PROVIDER, charge_of(100, 1000), held_nanos=300, created=AT)])
    assert (store.balance(user("acme")), store.balance(held(REQUEST))) == (900, 0)


def test_nobody_holds_or_withdraws_what_is_not_there(store: LedgerStore) -> None:
    """Overdrafts are refused and leave nothing behind, also within one call."""
    store.post([funded()])
    for refused in (
        [hold(REQUEST, "acme", 1001, created=AT)],
        [hold(REQUEST, "acme", 600, created=AT), hold(OTHER, "acme", 600, created=AT)],
        [withdrawal("w", payable(PROVIDER), 1, sink="bank", created=AT)],
        [withdrawal("w", user("acme"), 1001, sink="bank", created=AT)],
        [void(REQUEST, "acme", held_nanos=5, created=AT)],
    ):
        with pytest.raises(Overdrawn):
            store.post(refused)
    assert store.balance(user("acme")) == 1000
    assert store.statement(held(REQUEST)) == []


def test_work_done_is_charged_even_into_debt(store: LedgerStore) -> None:
    """A settlement recovered after a crash is booked although the balance no longer covers it."""
    store.post([funded(100), charged()])
    assert store.balance(user("acme")) == -155
    with pytest.raises(Overdrawn):
        store.post([hold(OTHER, "acme", 1, created=AT)])
    store.post([deposit("second", "acme", 55, source="bank", created=AT)])
    assert store.balance(user("acme")) == -100


def test_a_failed_call_can_be_repeated(engine: Engine) -> None:
    """Whether the failure came before or after applying, repeating ends in the same balances."""
    store = MemoryLedger()
    for moment in ("before", "after"):
        store.fail_next = moment
        with pytest.raises(Outage):
            store.post([funded(), charged()])
        store.post([funded(), charged()])
        assert store.balance(user("acme")) == 745
    reference = SQLModelLedger(engine)
    reference.post([funded(), charged()])
    assert reference.balance(user("acme")) == store.balance(user("acme"))


def test_large_batches_are_whole(store: LedgerStore) -> None:
    """More transactions than fit one IN list are applied, and found again, in one call each."""
    many = [charged(n.to_bytes(16, "big"), 1000) for n in range(1, 1300)]
    assert store.post([deposit("d", "acme", 10**9, source="bank", created=AT), *many]) == 1300
    assert store.post(many) == 0
    assert store.balance(user("acme")) == 10**9 - 1299 * 102
    assert store.discrepancies() == []
    assert balances_of(many)[payable(PROVIDER)] == store.balance(payable(PROVIDER))


# ---- the database --------------------------------------------------------------------------------------------------


def test_a_ledger_survives_its_process(engine: Engine, tmp_path: Path) -> None:
    """Another engine on the same file reads what was posted."""
    SQLModelLedger(engine).post([funded(), charged()])
    again = SQLModelLedger(open_writer(tmp_path / "ledger.sqlite"))
    assert again.balance(user("acme")) == 745
    assert again.post([funded()]) == 0


def test_apply_belongs_to_the_callers_transaction(engine: Engine) -> None:
    """What is rolled back with the caller's other writes was never charged."""
    with Session(engine) as session:
        assert apply(session, [funded(), charged()]) == 2
        session.rollback()
    ledger = SQLModelLedger(engine)
    assert ledger.balance(user("acme")) == 0
    with Session(engine) as session, session.begin():
        assert apply(session, [funded()]) == 1
        assert apply(session, [charged()]) == 1
    assert ledger.balance(user("acme")) == 745


def test_a_refusal_inside_the_callers_transaction_writes_nothing(engine: Engine) -> None:
    """The caller may catch it and commit the rest of its work."""
    with Session(engine) as session, session.begin():
        apply(session, [funded()])
        with pytest.raises(Conflict):
            apply(session, [charged(), funded(7)])
        with pytest.raises(Overdrawn):
            apply(session, [charged(OTHER), hold(REQUEST, "acme", 10**6, created=AT)])
    ledger = SQLModelLedger(engine)
    assert ledger.balance(user("acme")) == 1000
    assert ledger.statement(payable(PROVIDER)) == []


@pytest.mark.parametrize("table", ["ledger_transaction", "ledger_entry"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET kind = 'x'"])
def test_history_cannot_be_rewritten(engine: Engine, table: str, change: str) -> None:
    """Rows of the journal can be neither changed nor deleted."""
    SQLModelLedger(engine).post([funded()])
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change.format(table)))


def test_an_altered_balance_is_found(engine: Engine) -> None:
    """Stored balances are checked against the entries they come from."""
    ledger = SQLModelLedger(engine)
    ledger.post([funded()])
    with engine.begin() as connection:
        connection.execute(text("UPDATE ledger_account SET balance_nanos = 5000 WHERE kind = 'user'"))
    found = ledger.discrepancies()
    assert [(each.account, each.stored_nanos, each.computed_nanos) for each in found] == [("user:acme", 5000, 1000)]


def test_receipts_are_settled_in_their_own_transaction(engine: Engine) -> None:
    """What a receipt states is charged whole: the fee out of it, the rest to the provider, known or not."""
    receipts = [
        Receipted(
            request_id=bytes([n]) * 16,
            tenant="acme",
            provider_id=provider,
            worker_id=b"\x05" * 32,
            charge_nanos=amount,
            time=AT,
            signed=True,
        )
        for n, (provider, amount) in enumerate([(PROVIDER, 1020), (b"", 51), (PROVIDER, 0)])
    ]
    for _ in range(2):
        with Session(engine) as session, session.begin():
            Settlement(fee_ppm=20_000)(session, receipts)
    ledger = SQLModelLedger(engine)
    expected: dict[Account, int] = {user("acme"): -1071, payable(PROVIDER): 1000, payable(b""): 50, PLATFORM: 21}
    assert {account: ledger.balance(account) for account in expected} == expected


def test_a_provider_is_paid_when_its_worker_has_signed(engine: Engine) -> None:
    """The caller is charged at once; the provider's part waits in suspense and is paid out once; money is conserved."""
    ledger, settlement = SQLModelLedger(engine), Settlement(fee_ppm=20_000)
    receipt = Receipted(
        request_id=REQUEST,
        tenant="acme",
        provider_id=PROVIDER,
        worker_id=b"\x05" * 32,
        charge_nanos=1020,
        time=AT,
        signed=False,
    )
    with Session(engine) as session, session.begin():
        settlement(session, [receipt])
    accounts = (user("acme"), suspense(PROVIDER), payable(PROVIDER), PLATFORM)
    assert [ledger.balance(account) for account in accounts] == [-1020, 1000, 0, 20]
    for _ in range(2):
        with Session(engine) as session, session.begin():
            settlement.release(session, [receipt])
    assert [ledger.balance(account) for account in accounts] == [-1020, 0, 1000, 20]
    assert ledger.discrepancies() == []


def test_nothing_is_paid_out_that_was_not_held_back(engine: Engine) -> None:
    """A release beyond what is in suspense is refused and moves nothing."""
    charge = charge_from_total(1000)
    paid = release(REQUEST, PROVIDER, charge, created=AT)
    assert paid is not None
    with pytest.raises(Overdrawn):
        SQLModelLedger(engine).post([paid])
    assert SQLModelLedger(engine).balance(payable(PROVIDER)) == 0
