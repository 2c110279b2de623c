# SPDX-License-Identifier: Apache-2.0
"""The journal's statements, compiled once from its tables for the driver: a group costs few calls, a row none of ours.

Rows are tuples in the order of their table's fields. Lists of keys are asked for in chunks of a power of two, so that
few statements exist and each is prepared once; a padded key repeats the last.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import BindParameter, ClauseElement, Connection, Table, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlmodel import SQLModel

from gateway.receipts.tables import (
    AttemptRow,
    BegunRow,
    GatewayBatchRow,
    ReceiptRow,
    ReturnedMemoRow,
    SequenceRow,
    TenantTotalRow,
    UnsignedHalfRow,
    WorkerBatchRow,
    WorkerHalfRow,
    WorkerKeysRow,
)

Row: TypeAlias = tuple[object, ...]

_CHUNK: Final = 512
_DIALECT: Final = dialect()


def table_of(model: type[SQLModel]) -> Table:
    """The table a row class stands for."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def _compiled(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))


def _adding(model: type[SQLModel]) -> str:
    return _compiled(insert(table_of(model)))


def _keeping(model: type[SQLModel]) -> str:
    """Adds rows whose key is not there yet."""
    return _compiled(insert(table_of(model)).on_conflict_do_nothing())


def _signing() -> str:
    """Adds signed halves; one that is there unsigned gets its signature, one that has it keeps it."""
    table = table_of(WorkerHalfRow)
    statement = insert(table)
    key = [table.c.half_sha256]
    signature = {"batch_sha256": statement.excluded.batch_sha256, "position": statement.excluded.position}
    unsigned = text("worker_half.batch_sha256 = x''")
    return _compiled(statement.on_conflict_do_update(index_elements=key, set_=signature, where=unsigned))


def _beginning() -> str:
    """Keeps the newest attempt of each request."""
    table = table_of(BegunRow)
    statement = insert(table)
    newest = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return _compiled(statement.on_conflict_do_update(index_elements=[table.c.request_id], set_=newest))


def _closing() -> str:
    """Closes the receipts recorded until then that still wait for a signature."""
    table = table_of(UnsignedHalfRow)
    waiting = (text("closed = 0"), table.c.recorded <= bindparam("before"))
    return _compiled(update(table).values(closed=bindparam("now")).where(*waiting))


def _adding_up() -> str:
    table = table_of(TenantTotalRow)
    statement = insert(table)
    more = {name: table.c[name] + statement.excluded[name] for name in ("charged_nanos", "charges")}
    return _compiled(statement.on_conflict_do_update(index_elements=[table.c.tenant], set_=more))


def _numbering() -> str:
    table = table_of(SequenceRow)
    statement = insert(table)
    following = {"next_seq": statement.excluded.next_seq}
    return _compiled(statement.on_conflict_do_update(index_elements=[table.c.gateway_id], set_=following))


BEGIN: Final = _beginning()
ADD_UNSIGNED: Final = _keeping(UnsignedHalfRow)
CLOSE_UNSIGNED: Final = _closing()
ADD_RECEIPTS: Final = _adding(ReceiptRow)
ADD_ATTEMPTS: Final = _adding(AttemptRow)
ADD_GATEWAY_BATCH: Final = _adding(GatewayBatchRow)
KEEP_MEMOS: Final = _keeping(ReturnedMemoRow)
KEEP_WORKERS: Final = _keeping(WorkerKeysRow)
KEEP_BATCHES: Final = _keeping(WorkerBatchRow)
KEEP_HALVES: Final = _keeping(WorkerHalfRow)
SIGN_HALVES: Final = _signing()
ADD_UP: Final = _adding_up()
NUMBER: Final = _numbering()
NEXT_NUMBER: Final = _compiled(
    select(table_of(SequenceRow).c.next_seq).where(table_of(SequenceRow).c.gateway_id == bindparam("gateway_id"))
)
ANY_MEMO: Final = _compiled(select(table_of(ReturnedMemoRow).c.half_sha256))
ANY_BEGUN: Final = _compiled(select(table_of(BegunRow).c.request_id))
ANY_UNSIGNED: Final = _compiled(select(table_of(UnsignedHalfRow).c.half_sha256))
WAITING: Final = _compiled(select(func.count()).select_from(table_of(UnsignedHalfRow)).where(text("closed = 0")))


Keys: TypeAlias = "Sequence[BindParameter[bytes]]"
Listing: TypeAlias = Callable[[Keys], ClauseElement]


def recorded(keys: Keys) -> ClauseElement:
    """Those of these request ids that have a receipt."""
    column = table_of(ReceiptRow).c.request_id
    return select(column).where(column.in_(keys))


def returned(keys: Keys) -> ClauseElement:
    """Those of these half digests whose memo is here."""
    column = table_of(ReturnedMemoRow).c.half_sha256
    return select(column).where(column.in_(keys))


def forgotten(keys: Keys) -> ClauseElement:
    """Deletes the memos of these requests."""
    table = table_of(ReturnedMemoRow)
    return delete(table).where(table.c.request_id.in_(keys))


def ended(keys: Keys) -> ClauseElement:
    """Deletes what was begun of these requests."""
    table = table_of(BegunRow)
    return delete(table).where(table.c.request_id.in_(keys))


def unsigned(keys: Keys) -> ClauseElement:
    """Those of these half digests that have no signature."""
    table = table_of(WorkerHalfRow)
    return select(table.c.half_sha256).where(table.c.half_sha256.in_(keys), text("worker_half.batch_sha256 = x''"))


def awaited(keys: Keys) -> ClauseElement:
    """(request id, worker id, provider id, charge) of the receipts that wait for the signature of these halves."""
    table = table_of(UnsignedHalfRow)
    columns = (table.c.request_id, table.c.worker_id, table.c.provider_id, table.c.charge_nanos)
    return select(*columns).where(table.c.half_sha256.in_(keys))


def signed(keys: Keys) -> ClauseElement:
    """Deletes what waits for the signature of these halves."""
    table = table_of(UnsignedHalfRow)
    return delete(table).where(table.c.half_sha256.in_(keys))


def providers(keys: Keys) -> ClauseElement:
    """(keyset id, provider id) of these keysets, where they were admitted here."""
    table = table_of(WorkerKeysRow)
    return select(table.c.keyset_id, table.c.provider_id).where(table.c.keyset_id.in_(keys))


def joined(keys: Keys) -> ClauseElement:
    """(worker id, half digest) of signed halves that name one of these dispatches, of a request that is recorded."""
    halves, attempts = table_of(WorkerHalfRow), table_of(AttemptRow)
    both = halves.join(attempts, attempts.c.dispatch_sha256 == halves.c.dispatch_sha256)
    found = select(halves.c.worker_id, halves.c.half_sha256).select_from(both)
    return found.where(halves.c.dispatch_sha256.in_(keys), text("worker_half.batch_sha256 <> x''"))


def execute(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """Runs the statement for each row, in one call."""
    if rows:
        connection.exec_driver_sql(statement, list(rows))


def find(connection: Connection, listing: Listing, keys: Collection[bytes]) -> list[Any]:
    """The rows this listing has for these keys."""
    found: list[Any] = []
    for chunk in _chunks(list(keys)):
        found.extend(connection.exec_driver_sql(_listed(listing, len(chunk)), chunk).all())
    return found


def remove(connection: Connection, listing: Listing, keys: Collection[bytes]) -> None:
    """Deletes the rows this listing has for these keys."""
    for chunk in _chunks(list(keys)):
        connection.exec_driver_sql(_listed(listing, len(chunk)), chunk)


@cache
def _listed(listing: Listing, size: int) -> str:
    return _compiled(listing([bindparam(f"key{place}") for place in range(size)]))


def _chunks(keys: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        size = 1 << (len(chunk) - 1).bit_length()
        yield (*chunk, *[chunk[-1]] * (size - len(chunk)))
