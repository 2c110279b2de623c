# SPDX-License-Identifier: Apache-2.0
"""The ledger in a relational database: append-only entries, balances beside them, one transaction per change.

`apply` works inside a transaction of the caller, so that a receipt and its charge become durable in one commit or not
at all; `SQLModelLedger` wraps it with a transaction of its own. Entries and transactions can be neither changed nor
deleted: triggers refuse it. How durable a commit is, is the engine's doing: the journal's engine syncs it to disk.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    LargeBinary,
    bindparam,
    event,
    func,
    insert,
    update,
)
from sqlmodel import Field, Session, SQLModel, col, select

from gateway.ledger.ledger import Account, AccountKind, Conflict, Transaction, balances_after
from gateway.ledger.store import Discrepancy

_CHUNK: Final = 500
"""Values per IN list; well below what any SQLite accepts."""


class LedgerAccountRow(SQLModel, table=True):
    """An account and the sum of its entries."""

    __tablename__ = "ledger_account"

    kind: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    balance_nanos: int = Field(sa_column=Column(BigInteger, nullable=False))


class LedgerTransactionRow(SQLModel, table=True):
    """A transaction; its number is the order in which it was applied."""

    __tablename__ = "ledger_transaction"

    number: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    kind: str
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created: int = Field(sa_column=Column(BigInteger, nullable=False))


class LedgerEntryRow(SQLModel, table=True):
    """One posting of a transaction."""

    __tablename__ = "ledger_entry"
    __table_args__ = (CheckConstraint("amount_nanos <> 0"),)

    number: int | None = Field(default=None, primary_key=True)
    key: str = Field(foreign_key="ledger_transaction.key", index=True)
    kind: str
    owner: str = Field(index=True)
    amount_nanos: int = Field(sa_column=Column(BigInteger, nullable=False))


_TABLES: Final = (LedgerAccountRow, LedgerTransactionRow, LedgerEntryRow)

for _row in (LedgerTransactionRow, LedgerEntryRow):
    _name = str(_row.__tablename__)
    for _verb in ("UPDATE", "DELETE"):
        _ddl: DDL = DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER IF NOT EXISTS {_name}_no_{_verb.lower()} BEFORE {_verb} ON {_name} "
            f"BEGIN SELECT RAISE(ABORT, '{_name} is append-only'); END"
        )
        event.listen(SQLModel.metadata.tables[_name], "after_create", _ddl.execute_if(dialect="sqlite"))


def create_tables(engine: Engine) -> None:
    """Makes the ledger's tables where they do not exist yet."""
    SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables[str(row.__tablename__)] for row in _TABLES])


def apply(session: Session, transactions: Sequence[Transaction]) -> int:
    """Applies transactions within the caller's database transaction, which the caller commits or rolls back.

    Returns how many were not applied before. When it raises, nothing of these transactions has been written; what else
    stands in the caller's transaction is the caller's to keep or roll back.

    Raises:
        Conflict: a key was used before with other content.
        Overdrawn: an account would fall below what its kind allows.
    """
    fresh = _not_applied(session, transactions)
    if not fresh:
        return 0
    touched = sorted({posting.account for transaction in fresh for posting in transaction.postings})
    before = _balances(session, touched)
    after = dict(before)
    for transaction in fresh:
        after |= balances_after(after, transaction)
    connection = session.connection()
    _write(connection, fresh)
    _write_balances(connection, before, after)
    return len(fresh)


class SQLModelLedger:
    """`LedgerStore` on an engine; the tables must exist."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def post(self, transactions: Sequence[Transaction]) -> int:
        """`apply` in a transaction of its own."""
        with Session(self._engine) as session, session.begin():
            return apply(session, transactions)

    def balance(self, account: Account) -> int:
        """The stored balance."""
        with Session(self._engine) as session:
            return _balances(session, [account]).get(account, 0)

    def statement(self, account: Account) -> Sequence[tuple[str, int]]:
        """Every posting onto the account, in the order they were applied."""
        wanted = (
            select(LedgerEntryRow.key, LedgerEntryRow.amount_nanos)
            .where(LedgerEntryRow.kind == account.kind.value, LedgerEntryRow.owner == account.owner)
            .order_by(col(LedgerEntryRow.number))
        )
        with Session(self._engine) as session:
            return list(session.exec(wanted))

    def discrepancies(self) -> Sequence[Discrepancy]:
        """Compares every stored balance with the sum of its entries."""
        sums = select(LedgerEntryRow.kind, LedgerEntryRow.owner, func.sum(LedgerEntryRow.amount_nanos)).group_by(
            col(LedgerEntryRow.kind), col(LedgerEntryRow.owner)
        )
        with Session(self._engine) as session:
            computed = {(kind, owner): int(total) for kind, owner, total in session.exec(sums)}
            stored = {(row.kind, row.owner): row.balance_nanos for row in session.exec(select(LedgerAccountRow))}
        return [
            Discrepancy(
                account=f"{kind}:{owner}",
                stored_nanos=stored.get((kind, owner), 0),
                computed_nanos=computed.get((kind, owner), 0),
            )
            for kind, owner in sorted(stored.keys() | computed.keys())
            if stored.get((kind, owner), 0) != computed.get((kind, owner), 0)
        ]


def _not_applied(session: Session, transactions: Sequence[Transaction]) -> list[Transaction]:
    known: dict[str, bytes] = {}
    keys = [transaction.key for transaction in transactions]
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        found = select(LedgerTransactionRow.key, LedgerTransactionRow.digest)
        known |= dict(session.exec(found.where(col(LedgerTransactionRow.key).in_(chunk))).all())
    fresh: dict[str, Transaction] = {}
    for transaction in transactions:
        first = known.get(transaction.key) or (fresh[transaction.key].digest if transaction.key in fresh else None)
        if first is None:
            fresh[transaction.key] = transaction
        elif first != transaction.digest:
            raise Conflict(f"transaction {transaction.key} was applied with other content")
    return list(fresh.values())


def _balances(session: Session, accounts: Sequence[Account]) -> dict[Account, int]:
    balances: dict[Account, int] = {}
    for kind in AccountKind:
        owners = [account.owner for account in accounts if account.kind is kind]
        for start in range(0, len(owners), _CHUNK):
            found = select(LedgerAccountRow).where(
                LedgerAccountRow.kind == kind.value,
                col(LedgerAccountRow.owner).in_(owners[start : start + _CHUNK]),
            )
            for row in session.exec(found.with_for_update()):
                balances[Account(kind=kind, owner=row.owner)] = row.balance_nanos
    return balances


def _write(connection: Connection, transactions: Sequence[Transaction]) -> None:
    connection.execute(
        insert(LedgerTransactionRow),
        [
            {"key": each.key, "kind": each.kind.value, "digest": each.digest, "created": each.created}
            for each in transactions
        ],
    )
    connection.execute(
        insert(LedgerEntryRow),
        [
            {
                "key": each.key,
                "kind": posting.account.kind.value,
                "owner": posting.account.owner,
                "amount_nanos": posting.amount_nanos,
            }
            for each in transactions
            for posting in each.postings
        ],
    )


def _write_balances(connection: Connection, before: dict[Account, int], after: dict[Account, int]) -> None:
    known = [
        {"of_kind": account.kind.value, "of_owner": account.owner, "new": after[account]}
        for account, balance in before.items()
        if after[account] != balance
    ]
    if known:
        connection.execute(
            update(LedgerAccountRow)
            .where(
                col(LedgerAccountRow.kind) == bindparam("of_kind"), col(LedgerAccountRow.owner) == bindparam("of_owner")
            )
            .values(balance_nanos=bindparam("new")),
            known,
        )
    fresh = [
        {"kind": account.kind.value, "owner": account.owner, "balance_nanos": balance}
        for account, balance in after.items()
        if account not in before
    ]
    if fresh:
        connection.execute(insert(LedgerAccountRow), fresh)
