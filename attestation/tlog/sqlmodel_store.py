# SPDX-License-Identifier: Apache-2.0
"""Logs in a database through SQLModel (`store.LogStore`): SQLite with a write-ahead log, or PostgreSQL.

Tables and triggers are those of `tables`. Every commit is on disk before it is acknowledged. One process sequences a
log: it holds a lock (`locks`), and each of its writes names the epoch that it began with that lock. Who lost the lock
without noticing meets another epoch, and nothing of that write remains.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from attestation.errors import Reason
from attestation.postgres import open_postgres
from attestation.sqlite import open_sqlite, writing
from attestation.tlog.locks import AdvisoryLock, FileLock, Lock
from attestation.tlog.merkle import MAX_SIZE
from attestation.tlog.postgres_triggers import postgres_triggers
from attestation.tlog.schema import format_time, parse_time
from attestation.tlog.store import (
    LogError,
    LogState,
    NewEntry,
    PendingEntry,
    Step,
    StepHook,
    StoredEntry,
    StoredTile,
    no_step,
)
from attestation.tlog.tables import SQLITE_TRIGGERS, TABLES

SCHEMA_VERSION: Final = 2
_HEAD: Final = "SELECT * FROM tlog_head WHERE id = :log"
_ABOUT: Final = (
    "SELECT idx, kind, subject, at, data FROM tlog_entry WHERE log = :log AND subject = :value AND subject <> '' "
    "AND idx < :end ORDER BY idx DESC LIMIT :limit"
)
_OF_KIND: Final = (
    "SELECT idx, kind, subject, at, data FROM tlog_entry WHERE log = :log AND kind = :value AND kind <> '' "
    "AND idx < :end ORDER BY idx DESC LIMIT :limit"
)
_POSTGRES_VERSION: Final = "CREATE TABLE IF NOT EXISTS tlog_schema (version BIGINT PRIMARY KEY)"
_SCHEMA_KEY: Final = 0x7365616C62696401
"""Two processes that open an empty database at once make its tables one after the other."""


class SQLLogs:
    """A database of logs. Close it when done."""

    def __init__(self, engine: Engine, *, folder: Path | None, step: StepHook = no_step) -> None:
        self.readers = engine
        self.writers = writing(engine)
        self.step = step
        self._folder = folder
        self._locks: dict[str, Lock] = {}
        try:
            with writes(self) as connection:
                _prepare(connection)
        except LogError:
            self.close()
            raise

    @classmethod
    def sqlite(cls, path: Path, *, step: StepHook = no_step) -> "SQLLogs":
        """The logs in the SQLite file at `path`, made if it is not there; lock files stand beside it."""
        # What a deleted shard held is overwritten, not only forgotten.
        return cls(open_sqlite(path, pragmas=("secure_delete=ON",)), folder=path, step=step)

    @classmethod
    def postgres(cls, url: str, *, step: StepHook = no_step) -> "SQLLogs":
        """The logs in the PostgreSQL database at `url`. Raises `SettingsError` for an unusable address."""
        return cls(open_postgres(url), folder=None, step=step)

    def close(self) -> None:
        """Closes every connection and gives back every lock."""
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()
        self.readers.dispose()

    def origins(self) -> Sequence[str]:
        """The logs that are here, in the order they were begun."""
        with reads(self) as connection:
            return list(connection.execute(text("SELECT origin FROM tlog_head ORDER BY id")).scalars())

    def store(self, origin: str) -> "SQLLogStore":
        """The log `origin`, begun empty if it is not there."""
        with writes(self) as connection:
            connection.execute(
                text(_BEGIN),
                {"origin": origin},
            )
            found = connection.execute(text("SELECT id FROM tlog_head WHERE origin = :origin"), {"origin": origin})
            return SQLLogStore(self, int(found.scalar_one()), origin)

    def lock(self, origin: str) -> bool:
        """Takes the lock of a log's sequencer; False if this object has it already. Raises `LogError`."""
        if origin in self._locks:
            return False
        lock = AdvisoryLock(self.readers, origin) if self._folder is None else FileLock(self._folder, origin)
        lock.take()
        self._locks[origin] = lock
        return True


_BEGIN: Final = (
    "INSERT INTO tlog_head (origin, epoch, size) SELECT :origin, 0, 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM tlog_head WHERE origin = :origin) ON CONFLICT (origin) DO NOTHING"
)


class SQLLogStore:
    """One log of a database (`store.LogStore`)."""

    def __init__(self, logs: SQLLogs, log: int, origin: str) -> None:
        self._logs = logs
        self._log = log
        self._origin = origin
        self._epoch: int | None = None
        self._postgres = logs.readers.dialect.name == "postgresql"
        self._for_update = " FOR UPDATE" if self._postgres else ""

    def acquire(self) -> None:
        """Makes this object the log's sequencer."""
        if not self._logs.lock(self._origin) and self._epoch is not None:
            return
        with writes(self._logs) as connection:
            self._run(connection, "UPDATE tlog_head SET epoch = epoch + 1 WHERE id = :log")
            self._epoch = int(self._run(connection, "SELECT epoch FROM tlog_head WHERE id = :log").scalar_one())

    def state(self) -> LogState:
        """Size and circumstances."""
        with reads(self._logs) as connection:
            return _state(self._head(connection))

    def append(
        self,
        *,
        expected_size: int,
        entries: Sequence[NewEntry],
        tiles: Sequence[StoredTile],
        pending: Sequence[int] = (),
    ) -> None:
        """Adds entries and tiles, takes pending ones away and moves the size, in one transaction."""
        if not entries:
            return
        step = self._logs.step
        with writes(self._logs) as connection:
            head = self._own_head(connection)
            if head["size"] != expected_size:
                message = f"log has {head['size']} entries, want {expected_size}: another writer appends"
                raise LogError(Reason.LOG_FORK, message)
            self._insert(connection, expected_size, entries)
            step(Step.ENTRIES_WRITTEN)
            self._put_tiles(connection, tiles)
            step(Step.TILES_WRITTEN)
            self._forget(connection, pending)
            step(Step.PENDING_TAKEN)
            size = expected_size + len(entries)
            self._run(connection, "UPDATE tlog_head SET size = :size WHERE id = :log", size=size)
            step(Step.SIZE_MOVED)
        step(Step.COMMITTED)

    def tile(self, level: int, index: int) -> bytes:
        """What there is of a tile."""
        with reads(self._logs) as connection:
            query = "SELECT data FROM tlog_tile WHERE log = :log AND level = :level AND n = :n"
            return bytes(self._run(connection, query, level=level, n=index).scalar() or b"")

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries from index `start`."""
        query = (
            "SELECT idx, kind, subject, at, data FROM tlog_entry WHERE log = :log AND idx >= :start "
            "ORDER BY idx LIMIT :limit"
        )
        with reads(self._logs) as connection:
            return [_entry(row) for row in self._run(connection, query, start=start, limit=limit)]

    def about(self, subject: str, limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` entries about `subject`, newest first."""
        return self._newest(_ABOUT, subject, limit, before) if subject else []

    def newest(self, kinds: Collection[str], limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        """Up to `limit` entries of these kinds, newest first."""
        # Each kind by its index, then the newest of all: a scan for a rare kind would read the whole log.
        found = [entry for kind in sorted({*kinds} - {""}) for entry in self._newest(_OF_KIND, kind, limit, before)]
        return sorted(found, key=lambda entry: -entry.index)[:limit]

    def _newest(self, query: str, value: str, limit: int, before: int | None) -> list[StoredEntry]:
        end = MAX_SIZE if before is None else before
        with reads(self._logs) as connection:
            return [_entry(row) for row in self._run(connection, query, value=value, limit=limit, end=end)]

    def publish(self, note: bytes, *, size: int, at: datetime) -> None:
        """Replaces the published checkpoint."""
        with writes(self._logs) as connection:
            if self._own_head(connection)["size"] < size:
                raise LogError(Reason.LOG_ROLLBACK, f"log is shorter than the checkpoint of size {size} to publish")
            query = "UPDATE tlog_head SET checkpoint = :note, published_at = :at WHERE id = :log"
            self._run(connection, query, note=note, at=format_time(at))

    def submit(self, ticket: bytes, entry: NewEntry) -> None:
        """Hands in an entry."""
        with writes(self._logs) as connection:
            # A share lock: many hand in at once, and none while the log is being frozen.
            self._want_live(self._head(connection, lock=" FOR SHARE" if self._postgres else ""))
            query = (
                "INSERT INTO tlog_pending (log, ticket, kind, subject, at, data) "
                "VALUES (:log, :ticket, :kind, :subject, :at, :data) ON CONFLICT (log, ticket) DO NOTHING"
            )
            row = {"kind": entry.kind, "subject": entry.subject, "at": entry.at, "data": entry.data}
            self._run(connection, query, ticket=ticket, **row)

    def pending(self, limit: int) -> Sequence[PendingEntry]:
        """Up to `limit` entries not yet in the log, oldest first."""
        query = "SELECT number, kind, subject, at, data FROM tlog_pending WHERE log = :log ORDER BY number LIMIT :limit"
        with reads(self._logs) as connection:
            return [_pending(row) for row in self._run(connection, query, limit=limit)]

    def drop(self, numbers: Sequence[int]) -> None:
        """Forgets pending entries."""
        with writes(self._logs) as connection:
            self._own_head(connection)
            self._forget(connection, numbers)

    def freeze(self, *, size: int, at: datetime, keep_until: datetime) -> None:
        """Ends the log."""
        with writes(self._logs) as connection:
            head = self._own_head(connection, frozen=True)
            waiting = self._run(connection, "SELECT COUNT(*) FROM tlog_pending WHERE log = :log").scalar_one()
            if head["size"] != size or waiting or head["checkpoint"] is None:
                message = f"log has {head['size']} entries and {waiting} pending, want {size} and none to freeze it"
                raise LogError(Reason.LOG_ROLLBACK, message)
            query = (
                "UPDATE tlog_head SET frozen_at = COALESCE(frozen_at, :at), keep_until = "
                "CASE WHEN keep_until > :keep THEN keep_until ELSE :keep END WHERE id = :log"
            )
            self._run(connection, query, at=format_time(at), keep=format_time(keep_until))

    def delete(self, now: datetime) -> None:
        """Deletes what a frozen log held, once its time is over."""
        with writes(self._logs) as connection:
            state = _state(self._head(connection, lock=self._for_update))
            if state.deleted_at is not None:
                return
            if state.keep_until is None or now < state.keep_until:
                until = "it is frozen" if state.keep_until is None else format_time(state.keep_until)
                raise LogError(Reason.LOG_FROZEN, f"log is to be kept, want no deletion before {until}")
            self._run(connection, "UPDATE tlog_head SET deleted_at = :at WHERE id = :log", at=format_time(now))
            self._run(connection, "DELETE FROM tlog_entry WHERE log = :log")
            self._run(connection, "DELETE FROM tlog_tile WHERE log = :log")

    def _own_head(self, connection: Connection, *, frozen: bool = False) -> RowMapping:
        """The head row, locked until the transaction ends, of the log that this object sequences."""
        head = self._head(connection, lock=self._for_update)
        if self._epoch is None or head["epoch"] != self._epoch:
            raise LogError(Reason.STORE_UNAVAILABLE, "log is sequenced by another process, want one")
        if not frozen:
            self._want_live(head)
        return head

    def _head(self, connection: Connection, *, lock: str = "") -> RowMapping:
        found: RowMapping = self._run(connection, _HEAD + lock).mappings().one()
        return found

    @staticmethod
    def _want_live(head: RowMapping) -> None:
        if head["frozen_at"] is not None:
            raise LogError(Reason.LOG_FROZEN, f"log is frozen at size {head['size']}, want one that takes entries")

    def _run(self, connection: Connection, query: str, **values: Any) -> Any:
        return connection.execute(text(query), {"log": self._log, **values})

    def _insert(self, connection: Connection, start: int, entries: Sequence[NewEntry]) -> None:
        indices = range(start, start + len(entries))
        if self._postgres:
            # One statement for all rows: the trigger over it looks once, and the network is crossed once.
            columns = [
                list(indices),
                *map(list, zip(*[(e.kind, e.subject, e.at, e.data) for e in entries], strict=True)),
            ]
            connection.exec_driver_sql(
                "INSERT INTO tlog_entry (log, idx, kind, subject, at, data) SELECT %s::bigint, * FROM "
                "unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[])",
                (self._log, *columns),
            )
            return
        connection.exec_driver_sql(
            "INSERT INTO tlog_entry (log, idx, kind, subject, at, data) VALUES (?, ?, ?, ?, ?, ?)",
            [(self._log, idx, e.kind, e.subject, e.at, e.data) for idx, e in zip(indices, entries, strict=True)],
        )

    def _put_tiles(self, connection: Connection, tiles: Sequence[StoredTile]) -> None:
        query = (
            "INSERT INTO tlog_tile (log, level, n, data) VALUES (:log, :level, :n, :data) "
            "ON CONFLICT (log, level, n) DO UPDATE SET data = excluded.data"
        )
        rows: list[Mapping[str, Any]] = [
            {"log": self._log, "level": tile.level, "n": tile.index, "data": tile.data} for tile in tiles
        ]
        connection.execute(text(query), rows)

    def _forget(self, connection: Connection, numbers: Sequence[int]) -> None:
        for number in numbers:
            gone = self._run(
                connection, "DELETE FROM tlog_pending WHERE log = :log AND number = :number", number=number
            )
            if gone.rowcount != 1:
                raise LogError(Reason.LOG_FORK, "pending entry is gone, want it there: another writer appends")


@contextmanager
def reads(logs: SQLLogs) -> Iterator[Connection]:
    """One transaction that reads. Raises `LogError`."""
    with _named_errors(), logs.readers.connect() as connection:
        yield connection


@contextmanager
def writes(logs: SQLLogs) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, undone by any exception. Raises `LogError`."""
    with _named_errors(), logs.writers.begin() as connection:
        yield connection


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        # The driver's text may hold parameters, which the public log has and a screen need not; its type is enough.
        raise LogError(Reason.STORE_UNAVAILABLE, f"log store failed: {type(error).__name__.lower()}") from error


def _prepare(connection: Connection) -> None:
    postgres = connection.dialect.name == "postgresql"
    version = _postgres_version(connection) if postgres else connection.execute(text("PRAGMA user_version")).scalar()
    if version not in (0, SCHEMA_VERSION):
        raise LogError(Reason.UNSUPPORTED, f"log store has schema {version}, want {SCHEMA_VERSION}")
    SQLModel.metadata.create_all(connection, tables=list(TABLES))
    for trigger in postgres_triggers() if postgres else SQLITE_TRIGGERS:
        connection.execute(text(trigger))
    if version == 0:
        record = "INSERT INTO tlog_schema VALUES ({})" if postgres else "PRAGMA user_version = {}"
        connection.exec_driver_sql(record.format(SCHEMA_VERSION))


def _postgres_version(connection: Connection) -> int:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_KEY})
    connection.execute(text(_POSTGRES_VERSION))
    return int(connection.execute(text("SELECT COALESCE(MAX(version), 0) FROM tlog_schema")).scalar_one())


def _state(head: RowMapping) -> LogState:
    times = {name: parse_time(head[name], name) for name in ("frozen_at", "keep_until", "deleted_at") if head[name]}
    note = head["checkpoint"]
    return LogState(size=head["size"], published=None if note is None else bytes(note), **times)


def _entry(row: Any) -> StoredEntry:
    index, kind, subject, at, data = row
    return StoredEntry(index=index, kind=kind, subject=subject, at=at, data=bytes(data))


def _pending(row: Any) -> PendingEntry:
    number, kind, subject, at, data = row
    return PendingEntry(number=number, entry=NewEntry(kind=kind, subject=subject, at=at, data=bytes(data)))
