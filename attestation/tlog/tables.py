# SPDX-License-Identifier: Apache-2.0
"""The tables of logs and the triggers that guard them, on SQLite and on PostgreSQL.

    tlog_head(id, origin, epoch, size, checkpoint, published_at, frozen_at, keep_until, deleted_at)    one row a log
    tlog_entry(log, idx, kind, subject, at, data)       append-only, without gaps
    tlog_tile(log, level, n, data)                      1 to 256 hashes; grows at its end only, so a full one is fixed
    tlog_pending(number, log, ticket, kind, subject, at, data)     handed in, not yet in the log

Triggers refuse what a log must not do: to change, remove or replace an entry or a hash, to leave a gap, to take a size
back, to thaw a frozen log, to delete one that is not frozen or before its time. They guard against mistakes, here and
at the database's own prompt: whoever may drop a trigger is caught by the signed checkpoints only.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint
from sqlmodel import SQLModel

# SQLite's strict tables know one integer type, and PostgreSQL's INTEGER ends at two thousand million.
_BIG: Final = BigInteger().with_variant(Integer, "sqlite")

HEAD: Final = Table(
    "tlog_head",
    SQLModel.metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("epoch", _BIG, nullable=False),
    Column("size", _BIG, nullable=False),
    Column("checkpoint", LargeBinary),
    Column("published_at", Text),
    Column("frozen_at", Text),
    Column("keep_until", Text),
    Column("deleted_at", Text),
    sqlite_strict=True,
)
ENTRY: Final = Table(
    "tlog_entry",
    SQLModel.metadata,
    Column("log", _BIG, primary_key=True, autoincrement=False),
    Column("idx", _BIG, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
TILE: Final = Table(
    "tlog_tile",
    SQLModel.metadata,
    Column("log", _BIG, primary_key=True, autoincrement=False),
    Column("level", _BIG, primary_key=True, autoincrement=False),
    Column("n", _BIG, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_strict=True,
)
PENDING: Final = Table(
    "tlog_pending",
    SQLModel.metadata,
    Column("number", _BIG, primary_key=True, autoincrement=True),
    Column("log", _BIG, nullable=False),
    Column("ticket", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("log", "ticket"),
    sqlite_strict=True,
)
# Receipts have neither column, and pay for neither index.
_INDICES: Final = tuple(
    Index(
        f"ix_tlog_entry_{column.name}",
        ENTRY.c.log,
        column,
        ENTRY.c.idx,
        sqlite_where=column != "",
        postgresql_where=column != "",
    )
    for column in (ENTRY.c.subject, ENTRY.c.kind)
)

TABLES: Final = (HEAD, ENTRY, TILE, PENDING)

# ---- SQLite ----------------------------------------------------------------------------------------------------------

# An INSERT OR REPLACE deletes without firing a delete trigger, so the insert triggers refuse a place already taken.
_LIVE: Final = "(SELECT deleted_at IS NULL FROM tlog_head WHERE id = OLD.log)"

SQLITE_TRIGGERS: Final = (
    """CREATE TRIGGER IF NOT EXISTS tlog_entry_in_order BEFORE INSERT ON tlog_entry
       WHEN NEW.idx <> (SELECT COALESCE(MAX(idx) + 1, 0) FROM tlog_entry WHERE log = NEW.log)
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_entry_no_update BEFORE UPDATE ON tlog_entry
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS tlog_entry_no_delete BEFORE DELETE ON tlog_entry WHEN {_LIVE}
       BEGIN SELECT RAISE(ABORT, 'tlog_entry is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_tile_grows BEFORE INSERT ON tlog_tile
       WHEN length(NEW.data) NOT BETWEEN 32 AND 8192 OR length(NEW.data) % 32 <> 0 OR EXISTS (
         SELECT 1 FROM tlog_tile WHERE log = NEW.log AND level = NEW.level AND n = NEW.n
           AND (length(data) >= length(NEW.data) OR data <> substr(NEW.data, 1, length(data))))
       BEGIN SELECT RAISE(ABORT, 'tlog_tile is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_tile_grows_at_its_end BEFORE UPDATE ON tlog_tile
       WHEN NEW.log <> OLD.log OR NEW.level <> OLD.level OR NEW.n <> OLD.n
         OR length(NEW.data) NOT BETWEEN 32 AND 8192 OR length(NEW.data) % 32 <> 0
         OR length(NEW.data) <= length(OLD.data) OR OLD.data <> substr(NEW.data, 1, length(OLD.data))
       BEGIN SELECT RAISE(ABORT, 'tlog_tile is append-only'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS tlog_tile_no_delete BEFORE DELETE ON tlog_tile WHEN {_LIVE}
       BEGIN SELECT RAISE(ABORT, 'tlog_tile is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_once BEFORE INSERT ON tlog_head
       WHEN NEW.size <> 0 OR EXISTS (SELECT 1 FROM tlog_head WHERE id = NEW.id OR origin = NEW.origin)
       BEGIN SELECT RAISE(ABORT, 'tlog_head has one row a log'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_grows BEFORE UPDATE ON tlog_head
       WHEN NEW.id <> OLD.id OR NEW.origin <> OLD.origin OR NEW.size < OLD.size OR NEW.epoch < OLD.epoch
         OR (OLD.checkpoint IS NOT NULL AND NEW.checkpoint IS NULL)
       BEGIN SELECT RAISE(ABORT, 'tlog_head only grows'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_stays_frozen BEFORE UPDATE ON tlog_head
       WHEN (OLD.frozen_at IS NOT NULL AND (NEW.size <> OLD.size OR NEW.frozen_at IS NOT OLD.frozen_at
           OR NEW.keep_until IS NULL OR NEW.keep_until < OLD.keep_until OR NEW.checkpoint IS NOT OLD.checkpoint))
         OR (NEW.frozen_at IS NOT NULL AND (NEW.keep_until IS NULL OR NEW.checkpoint IS NULL))
       BEGIN SELECT RAISE(ABORT, 'tlog_head stays frozen'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_kept BEFORE UPDATE ON tlog_head
       WHEN NEW.deleted_at IS NOT OLD.deleted_at AND (OLD.deleted_at IS NOT NULL OR OLD.frozen_at IS NULL
         OR NEW.deleted_at < OLD.keep_until)
       BEGIN SELECT RAISE(ABORT, 'tlog_head is kept'); END""",
    """CREATE TRIGGER IF NOT EXISTS tlog_head_no_delete BEFORE DELETE ON tlog_head
       BEGIN SELECT RAISE(ABORT, 'tlog_head has one row a log'); END""",
)
