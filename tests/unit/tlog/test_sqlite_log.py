# SPDX-License-Identifier: Apache-2.0
"""The SQLite log: what the database itself refuses, what survives, and how storage failures are named."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLiteLogStore
from attestation.tlog.store import LogError
from tests.support.log import NOW, WholeLogCheck, change, new_log, open_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of four entries, closed."""
    store = SQLiteLogStore(tmp_path / "log.sqlite")
    log = new_log(store, FileHeadStore(tmp_path / "head"))
    log.append([change(1), change(2), change(3)])
    store.close()
    return tmp_path / "log.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Someone else's hand at the database's own prompt."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tlog_entry SET data = x'00' WHERE idx = 1",
        "UPDATE tlog_entry SET subject = 'x'",
        "DELETE FROM tlog_entry WHERE idx = 3",
        "DELETE FROM tlog_entry",
        "INSERT OR REPLACE INTO tlog_entry SELECT idx, leaf_hash, kind, subject, at, x'00' FROM tlog_entry LIMIT 1",
        "INSERT INTO tlog_entry SELECT 9, leaf_hash, kind, subject, at, data FROM tlog_entry WHERE idx = 1",
        "UPDATE tlog_node SET hash = zeroblob(32)",
        "DELETE FROM tlog_node",
        "INSERT OR REPLACE INTO tlog_node VALUES (0, 1, zeroblob(32))",
        "UPDATE tlog_head SET size = size - 1",
        "UPDATE tlog_head SET id = 2",
        "DELETE FROM tlog_head",
        "INSERT OR REPLACE INTO tlog_head VALUES (1, 0, NULL, NULL)",
        "INSERT INTO tlog_head VALUES (2, 0, NULL, NULL)",
    ],
)
def test_the_database_refuses_to_forget(database: sqlite3.Connection, statement: str) -> None:
    """No statement changes, removes or replaces an entry or a hash, or takes the head back."""
    before = list(database.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|one row|only grows"):
        database.execute(statement)
    database.rollback()
    assert list(database.iterdump()) == before


def test_appends_are_still_allowed(database: sqlite3.Connection) -> None:
    """The refusals above are about the past: the next entry is accepted (positive control)."""
    database.execute(
        "INSERT INTO tlog_entry SELECT 4, leaf_hash, kind, subject, at, data FROM tlog_entry WHERE idx = 1"
    )
    assert database.execute("SELECT COUNT(*) FROM tlog_entry").fetchone() == (5,)


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Connections use the write-ahead log and sync each commit to disk."""
    store = SQLiteLogStore(tmp_path / "log.sqlite")
    with store._engine.connect() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")]
    store.close()
    assert modes == ["wal", 2]


def test_a_newer_schema_is_refused(path: Path) -> None:
    """A file written by a later version is not touched."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError) as caught:
        SQLiteLogStore(path)
    assert caught.value.reason == Reason.UNSUPPORTED


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Garbage in place of the database is a storage failure, by name and without its content."""
    (tmp_path / "log.sqlite").write_bytes(b"not a database at all, but long enough to be read" * 40)
    with pytest.raises(LogError) as caught:
        SQLiteLogStore(tmp_path / "log.sqlite")
    assert caught.value.reason == Reason.STORE_UNAVAILABLE
    assert caught.value.message == "log store failed: databaseerror"


def test_an_entry_changed_behind_the_triggers_is_found(path: Path, tmp_path: Path) -> None:
    """Whoever drops the triggers and changes an entry not yet signed for is caught before signing."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER tlog_entry_no_update")
        database.execute(
            "UPDATE tlog_entry SET data = CAST(replace(CAST(data AS TEXT), 'row-2', 'row-9') AS BLOB) WHERE idx = 2"
        )
        database.commit()
    store = SQLiteLogStore(path)
    log = open_log(store, FileHeadStore(tmp_path / "head"))
    with pytest.raises(LogError) as caught:
        log.publish(NOW)
    store.close()
    assert caught.value.reason == Reason.LOG_FORK


def test_the_log_is_the_same_after_reopening(path: Path, tmp_path: Path) -> None:
    """Entries appended but never signed for before the end are signed for by the next process."""
    store = SQLiteLogStore(path)
    log = open_log(store, FileHeadStore(tmp_path / "head"))
    assert log.size() == 4
    log.publish(NOW)
    assert WholeLogCheck().log(log).size == 4
    store.close()


class TestHeadFile:
    def test_the_file_is_the_note(self, tmp_path: Path) -> None:
        """The head is kept as it was signed, and survives the object."""
        FileHeadStore(tmp_path / "head").swap(None, b"note")
        assert (tmp_path / "head").read_bytes() == b"note"
        assert FileHeadStore(tmp_path / "head").load() == b"note"

    def test_a_half_written_successor_is_ignored(self, tmp_path: Path) -> None:
        """What a crash before the rename leaves is not taken for the head, and does not stop the next swap."""
        heads = FileHeadStore(tmp_path / "head")
        heads.swap(None, b"one")
        (tmp_path / "head.next").write_bytes(b"tw")
        assert heads.load() == b"one"
        heads.swap(b"one", b"two")
        assert heads.load() == b"two"

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        """Storage that is not there is a storage failure, not an empty head store that could be written."""
        heads = FileHeadStore(tmp_path / "absent" / "head")
        with pytest.raises(LogError) as caught:
            heads.swap(None, b"one")
        assert caught.value.reason == Reason.STORE_UNAVAILABLE

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        """What cannot be read is a storage failure, not an empty head store."""
        with pytest.raises(LogError) as caught:
            FileHeadStore(tmp_path).load()
        assert caught.value.reason == Reason.STORE_UNAVAILABLE
