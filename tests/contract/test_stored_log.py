# SPDX-License-Identifier: Apache-2.0
"""A log read for export, on SQLite and PostgreSQL: the same entries and checkpoint, and nothing can be written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from attestation.audit.bundle.stored import StoredArchive, StoredLog
from attestation.errors import Reason, SettingsError
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogError
from tests.support.audit_bundles import genesis
from tests.support.log import NOW, ORIGIN, MemoryHeadStore, change, log_signer, refusal
from tests.support.postgres import postgres_server

ENTRIES = [genesis(), *(change(number) for number in range(300))]


def lived(logs: SQLLogs) -> bytes:
    """Writes a log into a database; its checkpoint."""
    log = EvidenceLog(
        origin=ORIGIN, signer=log_signer(), store=logs.store(ORIGIN), heads=MemoryHeadStore(), inception=True
    )
    log.append(ENTRIES)
    return log.publish(NOW)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.net)])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[StoredLog, bytes]]:
    """A log opened for reading while its registry has it open too, and the checkpoint it published."""
    if request.param == "sqlite":
        logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
        note = lived(logs)
        found = StoredLog.sqlite(tmp_path / "log.sqlite", ORIGIN)
        yield found, note
        found.close()
        logs.close()
        return
    with postgres_server() as server:
        address = server.database()
        logs = SQLLogs.postgres(address)
        note = lived(logs)
        found = StoredLog.postgres(address, ORIGIN)
        yield found, note
        found.close()
        logs.close()


def test_entries_and_checkpoint(stored: tuple[StoredLog, bytes]) -> None:
    """What was logged is read, page by page."""
    log, note = stored
    assert log.note == note
    assert [*log.entries(0, 256), *log.entries(256, 256)] == [entry.encoded for entry in ENTRIES]
    assert log.entries(301, 10) == []


def test_nothing_is_written(stored: tuple[StoredLog, bytes]) -> None:
    """The connection itself refuses to write."""
    log, _ = stored
    with log._engine.connect() as connection, pytest.raises(SQLAlchemyError):
        connection.execute(text("UPDATE tlog_head SET epoch = 99"))


def test_what_is_not_there(tmp_path: Path) -> None:
    """A database that is missing, of another log, or none at all is refused, and none is made."""
    with pytest.raises(SettingsError):
        StoredLog.sqlite(tmp_path / "log.sqlite", ORIGIN)
    assert not list(tmp_path.iterdir())
    logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
    logs.close()
    with pytest.raises(SettingsError):
        StoredLog.sqlite(tmp_path / "log.sqlite", ORIGIN)
    (tmp_path / "registry.sqlite").write_bytes(b"no database at all, but longer than a header of one is" * 20)
    archive = StoredArchive(tmp_path / "registry.sqlite")
    assert refusal(lambda: archive.archived(bytes(32))) is Reason.STORE_UNAVAILABLE
    archive.close()
    with pytest.raises(LogError):
        StoredLog.sqlite(tmp_path / "registry.sqlite", ORIGIN)
