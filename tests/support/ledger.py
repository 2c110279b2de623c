# SPDX-License-Identifier: Apache-2.0
"""A ledger in memory that fails when told to: before it applied anything, or after everything was applied."""

from collections.abc import Sequence
from typing import Literal

from gateway.ledger.ledger import (
    Account,
    Conflict,
    Transaction,
    balances_after,
    balances_of,
)
from gateway.ledger.store import Discrepancy


class Outage(Exception):
    """The store did not answer; whether it applied anything is not known to the caller."""


class MemoryLedger:
    """`LedgerStore` without a disk. `fail_next` takes one planned failure."""

    def __init__(self) -> None:
        self._applied: dict[str, Transaction] = {}
        self._balances: dict[Account, int] = {}
        self.fail_next: Literal["before", "after"] | None = None

    def post(self, transactions: Sequence[Transaction]) -> int:
        """Applies all or none."""
        planned, self.fail_next = self.fail_next, None
        if planned == "before":
            raise Outage
        applied, balances = dict(self._applied), dict(self._balances)
        for transaction in transactions:
            known = applied.setdefault(transaction.key, transaction)
            if known.digest != transaction.digest:
                raise Conflict(f"transaction {transaction.key} was applied with other content")
            if known is transaction and transaction.key not in self._applied:
                balances |= balances_after(balances, transaction)
        count = len(applied) - len(self._applied)
        self._applied, self._balances = applied, balances
        if planned == "after":
            raise Outage
        return count

    def balance(self, account: Account) -> int:
        """The present balance."""
        return self._balances.get(account, 0)

    def statement(self, account: Account) -> Sequence[tuple[str, int]]:
        """Every posting onto the account."""
        return [
            (transaction.key, posting.amount_nanos)
            for transaction in self._applied.values()
            for posting in transaction.postings
            if posting.account == account
        ]

    def discrepancies(self) -> Sequence[Discrepancy]:
        """Compares balances with the transactions they came from."""
        computed = balances_of(self._applied.values())
        return [
            Discrepancy(
                account=str(account),
                stored_nanos=self._balances.get(account, 0),
                computed_nanos=computed.get(account, 0),
            )
            for account in computed.keys() | self._balances.keys()
            if computed.get(account, 0) != self._balances.get(account, 0)
        ]
