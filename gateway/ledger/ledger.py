# SPDX-License-Identifier: Apache-2.0
"""Double entry in integer nUSD: accounts, postings, transactions, and the rules they obey (docs/spec.md, 8.7).

    every transaction sums to 0            amounts are whole nUSD and never 0, no account twice
    hold, payable, suspense, platform, rounding      never below 0
    user                                   below 0 only by settling work already done: a debt, never a lost receipt
    external                               the world outside; any balance

A transaction is known by its key; the same key with the same content is the same transaction and counts once, with
other content it is refused. One request has one settlement: charge, capture and void of it share one key.

    total   = ceil (price * units * (10^6 + fee ppm) / (1000 * 10^6))       what the user pays
    payout  = floor(price * units / 1000)                                   what the provider is owed
    fee     = floor(price * units * fee ppm / (1000 * 10^6))                what the platform keeps
    the rest of the total, at most 2 nUSD, goes to rounding
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from typing_extensions import override

from attestation.codec import cbor
from attestation.codec.labels import labelled_sha256
from attestation.errors import Reason, SealbidError

AMOUNT_MAX: Final = (1 << 63) - 1
"""What a 64-bit column holds; about nine billion dollars."""
PPM: Final = 1_000_000
_PER: Final = 1000


class LedgerError(SealbidError):
    """The ledger refused a transaction; nothing of it was written."""


class Unbalanced(LedgerError):
    """A transaction that creates or destroys money, or cannot be stored. A bug of its maker."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.INTERNAL, message)


class Conflict(LedgerError):
    """A key that was used before with other content. The caller may give up; the first content stands."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.REPLAYED, message)


class Overdrawn(LedgerError):
    """An account would fall below what its kind allows. The caller may ask for less."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.BUDGET_EXCEEDED, message)


class AccountKind(StrEnum):
    """What an account stands for."""

    USER = "user"
    HOLD = "hold"
    PAYABLE = "payable"
    SUSPENSE = "suspense"
    PLATFORM = "platform"
    ROUNDING = "rounding"
    EXTERNAL = "external"


class TransactionKind(StrEnum):
    """Why money moves."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    HOLD = "hold"
    SETTLE = "settle"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Account:
    """One account: its kind, and whose it is (a tenant, a provider id in hex, a request id in hex, or a purpose)."""

    kind: AccountKind
    owner: str

    @override
    def __str__(self) -> str:
        return f"{self.kind.value}:{self.owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """An amount onto an account; negative takes from it."""

    account: Account
    amount_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Postings that belong together. Constructing it checks that they balance."""

    key: str
    kind: TransactionKind
    postings: tuple[Posting, ...]
    created: int
    """Unix seconds; not part of the content, so that the same charge recovered later is the same charge."""

    def __post_init__(self) -> None:
        accounts = {posting.account for posting in self.postings}
        if len(accounts) != len(self.postings):
            raise Unbalanced(f"transaction {self.key} names an account twice, want once")
        for posting in self.postings:
            if not 0 < abs(posting.amount_nanos) <= AMOUNT_MAX:
                raise Unbalanced(f"amount on {posting.account} is {posting.amount_nanos}, want 1..{AMOUNT_MAX} or less")
        total = sum(posting.amount_nanos for posting in self.postings)
        if total:
            raise Unbalanced(f"transaction {self.key} sums to {total}, want 0")

    @property
    def digest(self) -> bytes:
        """What makes two transactions under one key the same."""
        postings = sorted((str(posting.account), posting.amount_nanos) for posting in self.postings)
        rows: list[cbor.Item] = [[account, amount] for account, amount in postings]
        return labelled_sha256("ledger transaction", cbor.encode([self.kind.value, rows]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a request costs and who gets it."""

    total_nanos: int
    payout_nanos: int
    fee_nanos: int

    @property
    def rounding_nanos(self) -> int:
        """What whole numbers leave over."""
        return self.total_nanos - self.payout_nanos - self.fee_nanos


PLATFORM: Final = Account(kind=AccountKind.PLATFORM, owner="fees")
ROUNDING: Final = Account(kind=AccountKind.ROUNDING, owner="rounding")


def user(tenant: str) -> Account:
    """A tenant's own account."""
    return Account(kind=AccountKind.USER, owner=tenant)


def payable(provider_id: bytes) -> Account:
    """What is owed to a provider, or to one not known yet."""
    return Account(kind=AccountKind.PAYABLE, owner=provider_id.hex() or "unknown")


def suspense(provider_id: bytes) -> Account:
    """What a provider earned by work whose half its worker has not signed: held back until the signature comes."""
    return Account(kind=AccountKind.SUSPENSE, owner=payable(provider_id).owner)


def held(request_id: bytes) -> Account:
    """What is set aside for one request."""
    return Account(kind=AccountKind.HOLD, owner=request_id.hex())


def external(purpose: str) -> Account:
    """The world outside, for example a bank."""
    return Account(kind=AccountKind.EXTERNAL, owner=purpose)


def charge_of(price_nanos: int, units: int, *, fee_ppm: int = 0) -> Charge:
    """What `units` work units at `price_nanos` per 1,000 cost. Within the caller's budget whenever the award was."""
    base = price_nanos * units
    return Charge(
        total_nanos=-(-base * (PPM + fee_ppm) // (_PER * PPM)),
        payout_nanos=base // _PER,
        fee_nanos=base * fee_ppm // (_PER * PPM),
    )


def charge_from_total(total_nanos: int, *, fee_ppm: int = 0) -> Charge:
    """The split of an amount that a receipt states already: the platform's share of it, and the rest paid out."""
    fee = total_nanos * fee_ppm // (PPM + fee_ppm)
    return Charge(total_nanos=total_nanos, payout_nanos=total_nanos - fee, fee_nanos=fee)


def deposit(key: str, tenant: str, amount_nanos: int, *, source: str, created: int) -> Transaction:
    """Money from outside onto a tenant's account."""
    return _transfer(f"deposit:{key}", TransactionKind.DEPOSIT, external(source), user(tenant), amount_nanos, created)


def withdrawal(key: str, account: Account, amount_nanos: int, *, sink: str, created: int) -> Transaction:
    """Money from a user's or provider's account to outside."""
    return _transfer(f"withdrawal:{key}", TransactionKind.WITHDRAWAL, account, external(sink), amount_nanos, created)


def hold(request_id: bytes, tenant: str, amount_nanos: int, *, created: int) -> Transaction:
    """Sets aside the most a request may cost; a tenant without that much is refused when it is applied."""
    key = f"hold:{request_id.hex()}"
    return _transfer(key, TransactionKind.HOLD, user(tenant), held(request_id), amount_nanos, created)


def settle(
    request_id: bytes, tenant: str, provider_id: bytes, charge: Charge, *, created: int, signed: bool = True
) -> Transaction | None:
    """Charges a request that was not held for. A charge of nothing moves nothing: None.

    Where the worker has not `signed` its half, the provider's part goes into suspense; `release` pays it out.
    """
    if charge.total_nanos == 0:
        return None
    payee = payable(provider_id) if signed else suspense(provider_id)
    return _settlement(request_id, {user(tenant): -charge.total_nanos}, payee, charge, created)


def release(request_id: bytes, provider_id: bytes, charge: Charge, *, created: int) -> Transaction | None:
    """Pays out what was held back until the worker signed. Where nothing was, nothing moves: None."""
    if charge.payout_nanos == 0:
        return None
    key, amount = f"release:{request_id.hex()}", charge.payout_nanos
    return _transfer(key, TransactionKind.RELEASE, suspense(provider_id), payable(provider_id), amount, created)


def capture(
    request_id: bytes, tenant: str, provider_id: bytes, charge: Charge, *, held_nanos: int, created: int
) -> Transaction:
    """Charges a request out of its hold and gives the rest back; the hold is empty afterwards.

    Raises:
        Overdrawn: the charge is above the hold.
    """
    if charge.total_nanos > held_nanos:
        raise Overdrawn(f"charge is {charge.total_nanos}, want at most the hold of {held_nanos}")
    amounts = {held(request_id): -held_nanos, user(tenant): held_nanos - charge.total_nanos}
    return _settlement(request_id, amounts, payable(provider_id), charge, created)


def void(request_id: bytes, tenant: str, *, held_nanos: int, created: int) -> Transaction:
    """Gives a whole hold back: the request cost nothing."""
    key = settlement_key(request_id)
    return _transfer(key, TransactionKind.SETTLE, held(request_id), user(tenant), held_nanos, created)


def settlement_key(request_id: bytes) -> str:
    """The key that the one settlement of a request has."""
    return f"settle:{request_id.hex()}"


def balances_after(before: Mapping[Account, int], transaction: Transaction) -> dict[Account, int]:
    """The new balances of the accounts a transaction touches; an account not in `before` starts at 0.

    Raises:
        Overdrawn: an account would fall below what its kind allows.
        Unbalanced: a balance would not fit its column.
    """
    after: dict[Account, int] = {}
    for posting in transaction.postings:
        balance = before.get(posting.account, 0) + posting.amount_nanos
        if posting.amount_nanos < 0 and balance < 0 and not _may_owe(posting.account, transaction.kind):
            raise Overdrawn(f"balance of {posting.account} is {balance} after {transaction.key}, want at least 0")
        if abs(balance) > AMOUNT_MAX:
            raise Unbalanced(f"balance of {posting.account} is {balance}, want within {AMOUNT_MAX}")
        after[posting.account] = balance
    return after


def balances_of(transactions: Iterable[Transaction]) -> dict[Account, int]:
    """What a history adds up to, with no rule applied: for checking stored balances against their journal."""
    balances: dict[Account, int] = {}
    for transaction in transactions:
        for posting in transaction.postings:
            balances[posting.account] = balances.get(posting.account, 0) + posting.amount_nanos
    return balances


def _may_owe(account: Account, kind: TransactionKind) -> bool:
    if account.kind is AccountKind.EXTERNAL:
        return True
    return account.kind is AccountKind.USER and kind is TransactionKind.SETTLE


def _transfer(
    key: str, kind: TransactionKind, source: Account, target: Account, amount_nanos: int, created: int
) -> Transaction:
    if amount_nanos <= 0:
        raise Unbalanced(f"amount of {key} is {amount_nanos}, want above 0")
    postings = (
        Posting(account=source, amount_nanos=-amount_nanos),
        Posting(account=target, amount_nanos=amount_nanos),
    )
    return Transaction(key=key, kind=kind, postings=postings, created=created)


def _settlement(
    request_id: bytes, paid: Mapping[Account, int], payee: Account, charge: Charge, created: int
) -> Transaction:
    earned = {
        payee: charge.payout_nanos,
        PLATFORM: charge.fee_nanos,
        ROUNDING: charge.rounding_nanos,
    }
    return Transaction(
        key=settlement_key(request_id),
        kind=TransactionKind.SETTLE,
        postings=tuple(
            Posting(account=account, amount_nanos=amount) for account, amount in {**paid, **earned}.items() if amount
        ),
        created=created,
    )
