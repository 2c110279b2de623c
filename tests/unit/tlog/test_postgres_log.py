# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL log: what the database itself refuses, and which server is refused."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import create_engine

from attestation.errors import Reason, SettingsError
from attestation.postgres import open_postgres
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogError
from tests.support.log import NOW, ORIGIN, append_plain, refusal
from tests.support.postgres import PostgresServer, postgres_server

pytestmark = pytest.mark.net
FROZEN = "log.example/receipts/2026q3"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def address(server: PostgresServer) -> str:
    """A database with a log of four entries and a frozen one of two."""
    url = server.database()
    logs = SQLLogs.postgres(url)
    live, frozen = logs.store(ORIGIN), logs.store(FROZEN)
    for store, count in ((live, 4), (frozen, 2)):
        store.acquire()
        append_plain(store, 0, count)
        store.publish(b"note", size=count, at=NOW)
    frozen.freeze(size=2, at=NOW, keep_until=NOW + timedelta(days=1))
    logs.close()
    return url


@pytest.fixture
def database(address: str) -> Iterator[psycopg.Connection]:
    """Someone else's hand at the database's own prompt."""
    with psycopg.connect(address) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tlog_entry SET data = '\\x00' WHERE idx = 1",
        "DELETE FROM tlog_entry WHERE idx = 3",
        "TRUNCATE tlog_entry",
        "INSERT INTO tlog_entry SELECT log, 9, kind, subject, at, data FROM tlog_entry WHERE idx = 3",
        "INSERT INTO tlog_entry SELECT log, -1, kind, subject, at, data FROM tlog_entry WHERE idx = 3",
        "INSERT INTO tlog_entry VALUES (1, 4, '', '', '', ''), (1, 6, '', '', '', '')",
        "INSERT INTO tlog_entry VALUES (1, 3, '', '', '', '') ON CONFLICT (log, idx) DO UPDATE SET data = '\\x00'",
        "UPDATE tlog_tile SET data = decode(repeat('00', 256), 'hex')",
        "UPDATE tlog_tile SET data = substring(data FROM 1 FOR 32)",
        "UPDATE tlog_tile SET data = data",
        "UPDATE tlog_tile SET data = data || '\\x00'",
        "UPDATE tlog_tile SET n = 7, data = data || data",
        "DELETE FROM tlog_tile",
        "TRUNCATE tlog_tile",
        "UPDATE tlog_head SET size = size - 1",
        "UPDATE tlog_head SET origin = origin || 'x'",
        "UPDATE tlog_head SET epoch = 0",
        "UPDATE tlog_head SET checkpoint = NULL",
        "UPDATE tlog_head SET frozen_at = 'x' WHERE id = 1",
        "UPDATE tlog_head SET size = 3 WHERE id = 2",
        "UPDATE tlog_head SET frozen_at = NULL WHERE id = 2",
        "UPDATE tlog_head SET keep_until = '2020-01-01T00:00:00Z' WHERE id = 2",
        "UPDATE tlog_head SET deleted_at = '2026-11-21T23:00:00Z' WHERE id = 2",
        "UPDATE tlog_head SET deleted_at = '2036-11-21T23:00:00Z' WHERE id = 1",
        "DELETE FROM tlog_head",
        "TRUNCATE tlog_head",
        "INSERT INTO tlog_head (origin, epoch, size) VALUES ('log.example/b', 0, 1)",
    ],
)
def test_the_database_refuses_to_forget(database: psycopg.Connection, statement: str) -> None:
    """No statement changes, removes or replaces an entry or a hash, takes a head back or thaws a log."""
    with pytest.raises(psycopg.IntegrityError, match=r"append-only|one row|only grows|stays frozen|is kept"):
        database.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tlog_entry VALUES (1, 4, '', '', '', ''), (1, 5, '', '', '', '')",
        "UPDATE tlog_tile SET data = data || data",
        "UPDATE tlog_head SET size = size + 1 WHERE id = 1",
        "UPDATE tlog_head SET keep_until = '2046-11-21T23:00:00Z' WHERE id = 2",
    ],
)
def test_a_log_still_grows(database: psycopg.Connection, statement: str) -> None:
    """The refusals above are about the past (positive control)."""
    assert database.execute(statement.encode()).rowcount > 0


def test_a_newer_schema_is_refused(server: PostgresServer) -> None:
    """A database written by a later version is not touched."""
    url = server.database()
    SQLLogs.postgres(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tlog_schema VALUES (99)")
    assert refusal(lambda: SQLLogs.postgres(url)) == Reason.UNSUPPORTED


def test_a_server_that_is_not_there() -> None:
    """No server is a storage failure, named without the address."""
    with pytest.raises(LogError) as caught:
        SQLLogs.postgres("postgresql://sealbid:secret@/x?host=/nonexistent")
    assert caught.value.reason == Reason.STORE_UNAVAILABLE
    assert caught.value.message == "log store failed: operationalerror"


@pytest.mark.parametrize("url", ["", "no address", "sqlite:///x", "mysql://a:secret@b/c"])
def test_an_address_of_something_else(url: str) -> None:
    """An address that is not PostgreSQL's is a setting that must not start, and is not repeated."""
    with pytest.raises(SettingsError) as caught:
        open_postgres(url)
    assert "secret" not in caught.value.message


def test_a_server_without_fsync(server: PostgresServer) -> None:
    """A server that acknowledges what is not on its disk is refused."""
    url = server.database()
    server.stop()
    server.start("fsync=off")
    try:
        with pytest.raises(SettingsError, match="fsync off"):
            SQLLogs.postgres(url)
    finally:
        server.stop()
        server.start()


def test_commits_are_waited_for(server: PostgresServer) -> None:
    """Connections wait for their commits to be on disk, whatever the server was told."""
    url = server.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit TO off".encode())
    engine = open_postgres(url)
    with engine.connect() as opened:
        assert opened.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    engine.dispose()
    plain = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with plain.connect() as opened:
        assert opened.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off"
    plain.dispose()
