# SPDX-License-Identifier: Apache-2.0
"""Where the ledger lives: one protocol, one contract suite (tests/contract/test_ledger_store.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.ledger.ledger import Account, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """An account whose stored balance is not what its entries add up to."""

    account: str
    stored_nanos: int
    computed_nanos: int


class LedgerStore(Protocol):
    """Keeps transactions and balances.

    `post` is atomic and durable: all of the given transactions or none, on disk when it returns. It is idempotent: a
    key seen before with the same content is passed over, so repeating after a failure of unknown outcome is always
    safe. Blocking; one writer at a time.
    """

    def post(self, transactions: Sequence[Transaction]) -> int:
        """Applies those not applied before, in order, and says how many they were.

        Raises:
            Conflict: a key was used before with other content.
            Overdrawn: an account would fall below what its kind allows.
        """
        ...

    def balance(self, account: Account) -> int:
        """The present balance, 0 for an account nobody used."""
        ...

    def statement(self, account: Account) -> Sequence[tuple[str, int]]:
        """Key and amount of every posting onto an account, oldest first."""
        ...

    def discrepancies(self) -> Sequence[Discrepancy]:
        """Accounts whose balance does not follow from the entries; empty is the only good answer."""
        ...
