# SPDX-License-Identifier: Apache-2.0
"""Random histories of holds, captures, voids, charges and payouts: money is conserved, every refusal predicted."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from typing_extensions import override

from gateway.ledger.ledger import (
    PLATFORM,
    ROUNDING,
    Account,
    AccountKind,
    Conflict,
    LedgerError,
    Overdrawn,
    Transaction,
    capture,
    charge_of,
    deposit,
    external,
    held,
    hold,
    payable,
    settle,
    user,
    void,
    withdrawal,
)
from gateway.ledger.sqlmodel_store import SQLModelLedger, create_tables
from gateway.receipts.database import open_writer
from tests.support.ledger import MemoryLedger

TENANTS = ("a", "b")
PROVIDERS = (b"\x01" * 32, b"\x02" * 32)
REQUESTS = [n.to_bytes(16, "big") for n in range(80)]
OWING = (AccountKind.USER, AccountKind.EXTERNAL)
ACCOUNTS = [
    *(user(tenant) for tenant in TENANTS),
    *(payable(provider) for provider in PROVIDERS),
    *(held(request) for request in REQUESTS),
    PLATFORM,
    ROUNDING,
    external("bank"),
]
REACHED: Counter[str] = Counter()
FEE = 20_000


class LedgerMachine(RuleBasedStateMachine):
    """The model predicts legality and the exact new balances; both stores must agree with it and with one another."""

    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        engine = open_writer(Path(self.folder.name) / "ledger.sqlite")
        create_tables(engine)
        self.engine = engine
        self.stores = (MemoryLedger(), SQLModelLedger(engine))
        self.balances: Counter[Account] = Counter()
        self.holds: dict[bytes, tuple[str, int]] = {}
        self.used = 0
        self.settled: dict[bytes, bytes] = {}
        self.last: Transaction | None = None
        self.keys = 0
        for tenant in TENANTS:
            self.deposit(tenant, 400)

    @override
    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.compare(ACCOUNTS)
            for store in self.stores:
                assert store.discrepancies() == []
            self.engine.dispose()
            self.folder.cleanup()

    def post(self, transaction: Transaction, refusal: type[LedgerError] | None, name: str) -> bool:
        """Posts to both stores and compares with the prediction."""
        for store in self.stores:
            found: type[LedgerError] | None = None
            try:
                assert store.post([transaction]) == 1
            except LedgerError as error:
                found = type(error)
            assert found is refusal
        REACHED[name if refusal is None else f"{name} refused"] += 1
        if refusal is None:
            self.last = transaction
            for posting in transaction.postings:
                self.balances[posting.account] += posting.amount_nanos
        return refusal is None

    def last_digest(self) -> bytes:
        assert self.last is not None
        return self.last.digest

    def fresh_key(self) -> str:
        self.keys += 1
        return str(self.keys)

    @rule(tenant=st.sampled_from(TENANTS), amount=st.integers(1, 500))
    def deposit(self, tenant: str, amount: int) -> None:
        self.post(deposit(self.fresh_key(), tenant, amount, source="bank", created=0), None, "deposit")

    @rule(tenant=st.sampled_from(TENANTS), amount=st.integers(1, 200))
    def hold(self, tenant: str, amount: int) -> None:
        request = REQUESTS[self.used]
        refusal = Overdrawn if self.balances[user(tenant)] < amount else None
        if self.post(hold(request, tenant, amount, created=0), refusal, "hold"):
            self.holds[request] = tenant, amount
            self.used += 1

    @rule(asks=st.lists(st.tuples(st.integers(1, 90), st.integers(0, 60)), min_size=2, max_size=4))
    def serve(self, asks: list[tuple[int, int]]) -> None:
        """Several requests one after the other, each held for and captured."""
        for amount, price in asks:
            self.hold(TENANTS[price % 2], amount)
            self.capture(PROVIDERS[price % 2], price, 1000 + price, price)

    @rule(
        provider=st.sampled_from(PROVIDERS), price=st.integers(0, 99), units=st.integers(0, 2000), pick=st.integers(0)
    )
    def capture(self, provider: bytes, price: int, units: int, pick: int) -> None:
        if not self.holds:
            return
        request = sorted(self.holds)[pick % len(self.holds)]
        tenant, amount = self.holds[request]
        charge = charge_of(price, units, fee_ppm=FEE)
        try:
            made = capture(request, tenant, provider, charge, held_nanos=amount, created=0)
        except Overdrawn:
            assert charge.total_nanos > amount
            REACHED["capture above the hold"] += 1
            return
        refusal = Conflict if request in self.settled else None
        if self.post(made, refusal, "capture"):
            del self.holds[request]
            self.settled[request] = self.last_digest()

    @rule(pick=st.integers(0))
    def void(self, pick: int) -> None:
        if not self.holds:
            return
        request = sorted(self.holds)[pick % len(self.holds)]
        tenant, amount = self.holds[request]
        refusal = Conflict if request in self.settled else None
        if self.post(void(request, tenant, held_nanos=amount, created=0), refusal, "void"):
            del self.holds[request]
            self.settled[request] = self.last_digest()

    @rule(
        tenant=st.sampled_from(TENANTS),
        pick=st.integers(0, 3),
        provider=st.sampled_from(PROVIDERS),
        price=st.integers(1, 2000),
        units=st.integers(1, 3000),
    )
    def charge(self, tenant: str, pick: int, provider: bytes, price: int, units: int) -> None:
        """A request used a little before, or a new one."""
        request = REQUESTS[max(self.used - pick, 0)]
        made = settle(request, tenant, provider, charge_of(price, units, fee_ppm=FEE), created=0)
        assert made is not None
        if self.settled.get(request) == made.digest:
            assert [store.post([made]) for store in self.stores] == [0, 0]
            return
        refusal = Conflict if request in self.settled else None
        if self.post(made, refusal, "charge"):
            self.settled[request] = self.last_digest()
            self.used += pick == 0 or self.used == 0
            REACHED["charged into debt"] += self.balances[user(tenant)] < 0

    @rule(pick=st.integers(0), amount=st.integers(1, 300))
    def settle_again(self, pick: int, amount: int) -> None:
        """A second settlement of other content, whatever the first one was."""
        if self.settled:
            request = sorted(self.settled)[pick % len(self.settled)]
            charge = charge_of(100, 1, fee_ppm=FEE)
            again = capture(request, "a", PROVIDERS[0], charge, held_nanos=amount + 1000, created=0)
            self.post(again, Conflict, "second settlement")

    @rule(provider=st.sampled_from(PROVIDERS), amount=st.integers(1, 300))
    def pay_out(self, provider: bytes, amount: int) -> None:
        refusal = Overdrawn if self.balances[payable(provider)] < amount else None
        self.post(withdrawal(self.fresh_key(), payable(provider), amount, sink="bank", created=0), refusal, "payout")

    @rule()
    def repeat_the_last(self) -> None:
        """A repeated transaction changes nothing."""
        if self.last is not None:
            assert [store.post([self.last]) for store in self.stores] == [0, 0]
            REACHED["repeated"] += 1

    def compare(self, accounts: Iterable[Account]) -> None:
        """Both stores hold the model's balances."""
        for account in accounts:
            assert {store.balance(account) for store in self.stores} == {self.balances[account]}

    @invariant()
    def balances_are_predicted_and_conserved(self) -> None:
        """What moved last stands as predicted; all sums to 0; nothing but users and outside is below 0."""
        if not hasattr(self, "stores"):
            return
        if self.last is not None:
            self.compare(posting.account for posting in self.last.postings)
        assert sum(self.balances.values()) == 0
        assert all(self.balances[account] >= 0 for account in ACCOUNTS if account.kind not in OWING)
        for request in REQUESTS:
            amount = self.holds[request][1] if request in self.holds else 0
            assert self.balances[held(request)] == amount


def test_money_is_conserved_over_any_history() -> None:
    """Random histories, in which everything that can happen did happen."""
    REACHED.clear()
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    wanted = {
        "deposit", "hold", "hold refused", "capture", "second settlement refused", "capture above the hold", "void",
        "charge", "charge refused", "charged into debt", "payout", "payout refused", "repeated",
    }  # fmt: skip
    assert wanted - {name for name, count in REACHED.items() if count} == set()


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**15), st.integers(0, 10**12), st.integers(0, 10**6))
def test_a_charge_always_adds_up(price: int, units: int, fee: int) -> None:
    """Payout, fee and at most 2 nUSD of rounding make the total, and nobody's part is negative."""
    found = charge_of(price, units, fee_ppm=fee)
    assert 0 <= found.rounding_nanos <= 2
    assert min(found.payout_nanos, found.fee_nanos) >= 0
    assert found.payout_nanos + found.fee_nanos + found.rounding_nanos == found.total_nanos
