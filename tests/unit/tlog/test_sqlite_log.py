# SPDX-License-Identifier: Apache-2.0
"""The SQLite log: what the database itself refuses, what survives, and how storage failures are named."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogError
from tests.support.log import NOW, ORIGIN, WholeLogCheck, change, new_log, open_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of four entries, closed."""
    logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
    log = new_log(logs.store(ORIGIN), FileHeadStore(tmp_path / "head"))
    log.append([change(1), change(2), change(3)])
    logs.close()
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
        "INSERT OR REPLACE INTO tlog_entry SELECT log, idx, kind, subject, at, x'00' FROM tlog_entry LIMIT 1",
        "INSERT INTO tlog_entry SELECT log, 9, kind, subject, at, data FROM tlog_entry WHERE idx = 1",
        "UPDATE tlog_tile SET data = zeroblob(128)",
        "UPDATE tlog_tile SET data = substr(data, 1, 96)",
        "UPDATE tlog_tile SET data = CAST(data || x'00' AS BLOB)",
        "UPDATE tlog_tile SET data = CAST(data || zeroblob(8096) AS BLOB)",
        "UPDATE tlog_tile SET n = 1",
        "DELETE FROM tlog_tile",
        "INSERT OR REPLACE INTO tlog_tile VALUES (1, 0, 0, zeroblob(160))",
        "INSERT INTO tlog_tile VALUES (1, 1, 0, zeroblob(33))",
        "UPDATE tlog_head SET size = size - 1",
        "UPDATE tlog_head SET id = 2",
        "UPDATE tlog_head SET origin = 'log.example/b'",
        "UPDATE tlog_head SET epoch = 0",
        "UPDATE tlog_head SET checkpoint = NULL",
        "UPDATE tlog_head SET frozen_at = '2026-11-21T22:10:05Z'",
        "UPDATE tlog_head SET deleted_at = '2036-11-21T22:10:05Z'",
        "DELETE FROM tlog_head",
        "INSERT OR REPLACE INTO tlog_head (id, origin, epoch, size) VALUES (1, 'log.example/b', 0, 0)",
        "INSERT OR REPLACE INTO tlog_head (origin, epoch, size) VALUES ('log.example/evidence', 0, 0)",
        "INSERT INTO tlog_head (origin, epoch, size) VALUES ('log.example/b', 0, 1)",
    ],
)
def test_the_database_refuses_to_forget(database: sqlite3.Connection, statement: str) -> None:
    """No statement changes, removes or replaces an entry or a hash, or takes the head back."""
    before = list(database.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|one row|only grows|stays frozen|is kept"):
        database.execute(statement)
    database.rollback()
    assert list(database.iterdump()) == before


def test_appends_are_still_allowed(database: sqlite3.Connection) -> None:
    """The refusals above are about the past: the next entry is accepted (positive control)."""
    database.execute("INSERT INTO tlog_entry SELECT log, 4, kind, subject, at, data FROM tlog_entry WHERE idx = 1")
    assert database.execute("SELECT COUNT(*) FROM tlog_entry").fetchone() == (5,)


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Connections use the write-ahead log and sync each commit to disk."""
    logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
    with logs.readers.connect() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")]
    logs.close()
    assert modes == ["wal", 2]


def test_a_newer_schema_is_refused(path: Path) -> None:
    """A file written by a later version is not touched."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LogError) as caught:
        SQLLogs.sqlite(path)
    assert caught.value.reason == Reason.UNSUPPORTED


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Garbage in place of the database is a storage failure, by name and without its content."""
    (tmp_path / "log.sqlite").write_bytes(b"not a database at all, but long enough to be read" * 40)
    with pytest.raises(LogError) as caught:
        SQLLogs.sqlite(tmp_path / "log.sqlite")
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
    logs = SQLLogs.sqlite(path)
    log = open_log(logs.store(ORIGIN), FileHeadStore(tmp_path / "head"))
    with pytest.raises(LogError) as caught:
        log.publish(NOW)
    logs.close()
    assert caught.value.reason == Reason.LOG_FORK


def test_the_log_is_the_same_after_reopening(path: Path, tmp_path: Path) -> None:
    """Entries appended but never signed for before the end are signed for by the next process."""
    logs = SQLLogs.sqlite(path)
    log = open_log(logs.store(ORIGIN), FileHeadStore(tmp_path / "head"))
    assert log.size() == 4
    log.publish(NOW)
    assert WholeLogCheck().log(log).size == 4
    logs.close()


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
