# SPDX-License-Identifier: Apache-2.0
"""The log on SQLite through SQLModel (`store.LogStore`): write-ahead log, every commit synced to disk.

    tlog_entry(idx, leaf_hash, kind, subject, at, data)      append-only, without gaps
    tlog_node(level, idx, hash)                              append-only; level 0 are the leaf hashes
    tlog_head(id = 1, size, checkpoint, published_at)        one row; its size never falls

Tables are STRICT, so a column holds its own type only. Triggers refuse what a log must not do, so that neither a
mistake here nor a hand at the database's own prompt does it unnoticed. They guard against accidents: whoever may drop a
trigger is caught by the signed checkpoints only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Text, insert, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, Session, SQLModel, col, select

from attestation.errors import Reason
from attestation.sqlite import open_sqlite, writing
from attestation.tlog.merkle import Node
from attestation.tlog.schema import format_time
from attestation.tlog.store import LogError, StoredEntry

SCHEMA_VERSION: Final = 1


class TLogEntry(SQLModel, table=True):
    """One entry; `data` is the leaf."""

    __tablename__ = "tlog_entry"
    __table_args__ = {"sqlite_strict": True}

    idx: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    leaf_hash: bytes
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text, index=True)
    at: str = Field(sa_type=Text)
    data: bytes


class TLogNode(SQLModel, table=True):
    """The hash of one complete subtree."""

    __tablename__ = "tlog_node"
    __table_args__ = {"sqlite_with_rowid": False, "sqlite_strict": True}

    level: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    idx: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    hash: bytes


class TLogHead(SQLModel, table=True):
    """The size of the log and the checkpoint that readers are given."""

    __tablename__ = "tlog_head"
    __table_args__ = {"sqlite_strict": True}

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    size: int
    checkpoint: bytes | None = None
    published_at: str | None = Field(default=None, sa_type=Text)


_TABLES: Final = ("tlog_entry", "tlog_node", "tlog_head")

# An INSERT OR REPLACE deletes without firing a delete trigger, so the insert triggers refuse a place already taken.
_TRIGGERS: Final = (
    """CREATE TRIGGER IF NOT EXISTS tlog_entry_in_order BEFORE INSERT ON tlog_entry
       WHEN NEW.idx <> (SELECT COALESCE(MAX(idx) + 1, 0) FROM tlog_entry)
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_entry_no_update BEFORE UPDATE ON tlog_entry
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_entry_no_delete BEFORE DELETE ON tlog_entry
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_node_once BEFORE INSERT ON tlog_node
       WHEN EXISTS (SELECT 1 FROM tlog_node WHERE level = NEW.level AND idx = NEW.idx)
       BEGIN SELECT RAISE(ABORT, 'tlog_node is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_node_no_update BEFORE UPDATE ON tlog_node
       BEGIN SELECT RAISE(ABORT, 'tlog_node is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_node_no_delete BEFORE DELETE ON tlog_node
       BEGIN SELECT RAISE(ABORT, 'tlog_node is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_once BEFORE INSERT ON tlog_head
       WHEN NEW.id <> 1 OR EXISTS (SELECT 1 FROM tlog_head)
       BEGIN SELECT RAISE(ABORT, 'tlog_head has one row'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_grows BEFORE UPDATE ON tlog_head
       WHEN NEW.id <> 1 OR NEW.size < OLD.size
       BEGIN SELECT RAISE(ABORT, 'tlog_head only grows'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_no_delete BEFORE DELETE ON tlog_head
       BEGIN SELECT RAISE(ABORT, 'tlog_head has one row'); END""",
)


class SQLiteLogStore:
    """The log in the SQLite file at `path`, made if it is not there. Close it when done."""

    def __init__(self, path: Path) -> None:
        self._engine = open_sqlite(path)
        self._writer = writing(self._engine)
        try:
            with self._session(write=True) as session:
                _prepare(session)
        except LogError:
            self.close()
            raise

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    def size(self) -> int:
        """The number of entries."""
        with self._session() as session:
            return session.exec(select(TLogHead.size)).one()

    def append(self, *, expected_size: int, entries: Sequence[StoredEntry], nodes: Sequence[Node]) -> None:
        """Adds entries and nodes and moves the head, in one transaction."""
        if not entries:
            return
        with self._session(write=True) as session:
            size = session.exec(select(TLogHead.size)).one()
            if size != expected_size:
                raise LogError(Reason.LOG_FORK, f"log has {size} entries, want {expected_size}: another writer appends")
            connection = session.connection()
            connection.execute(insert(TLogEntry), [_entry_row(entry) for entry in entries])
            connection.execute(
                insert(TLogNode), [{"level": node.level, "idx": node.index, "hash": node.hash} for node in nodes]
            )
            connection.execute(update(TLogHead).values(size=size + len(entries)))

    def read(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree."""
        with self._session() as session:
            found = session.exec(
                select(TLogNode.hash).where(col(TLogNode.level) == level, col(TLogNode.idx) == index)
            ).first()
        if found is None:
            raise LogError(Reason.LOG_FORK, f"log store has no hash at level {level}, index {index}: it is damaged")
        return found

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries from index `start`, in order."""
        with self._session() as session:
            rows = select(TLogEntry).where(col(TLogEntry.idx) >= start).order_by(col(TLogEntry.idx)).limit(limit)
            return [_stored(row) for row in session.exec(rows)]

    def about(self, subject: str, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries about `subject`, newest first."""
        with self._session() as session:
            rows = select(TLogEntry).where(col(TLogEntry.subject) == subject).order_by(col(TLogEntry.idx).desc())
            return [_stored(row) for row in session.exec(rows.limit(limit))]

    def published(self) -> bytes | None:
        """The newest published checkpoint note, or None before the first."""
        with self._session() as session:
            return session.exec(select(TLogHead.checkpoint)).one()

    def publish(self, note: bytes, *, size: int, at: datetime) -> None:
        """Replaces the published checkpoint."""
        with self._session(write=True) as session:
            if session.exec(select(TLogHead.size)).one() < size:
                raise LogError(Reason.LOG_ROLLBACK, f"log is shorter than the checkpoint of size {size} to publish")
            session.connection().execute(update(TLogHead).values(checkpoint=note, published_at=format_time(at)))

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Session]:
        """One transaction: committed at the end, undone by any exception."""
        try:
            with Session(self._writer if write else self._engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            # The driver's text may hold parameters, which the public log has and a screen need not; its type is enough.
            raise LogError(Reason.STORE_UNAVAILABLE, f"log store failed: {type(error).__name__.lower()}") from error


def _prepare(session: Session) -> None:
    connection = session.connection()
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    if version not in (0, SCHEMA_VERSION):
        raise LogError(Reason.UNSUPPORTED, f"log store has schema {version}, want {SCHEMA_VERSION}")
    SQLModel.metadata.create_all(connection, tables=[SQLModel.metadata.tables[name] for name in _TABLES])
    for trigger in _TRIGGERS:
        connection.execute(text(trigger))
    if session.exec(select(TLogHead.id)).first() is None:
        connection.execute(insert(TLogHead).values(id=1, size=0))
    connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def _entry_row(entry: StoredEntry) -> dict[str, object]:
    return {
        "idx": entry.index,
        "leaf_hash": entry.leaf_hash,
        "kind": entry.kind,
        "subject": entry.subject,
        "at": entry.at,
        "data": entry.data,
    }


def _stored(row: TLogEntry) -> StoredEntry:
    return StoredEntry(
        index=row.idx, leaf_hash=row.leaf_hash, kind=row.kind, subject=row.subject, at=row.at, data=row.data
    )
