# SPDX-License-Identifier: Apache-2.0
"""A registry's databases, opened for reading only: the log on SQLite or PostgreSQL, and the archive of evidence.

Nothing is written, made or locked, so an export never disturbs a registry that runs. Refused (SETTINGS_INVALID): a
database that is not there or does not hold this log; STORE_UNAVAILABLE when reading fails.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from attestation.errors import Reason, SettingsError
from attestation.postgres import open_postgres
from attestation.tlog.store import LogError

LOG_DATABASE: Final = "log.sqlite"
STORE_DATABASE: Final = "registry.sqlite"
TRUST_FILE: Final = "trust.toml"
_HEAD: Final = "SELECT id, checkpoint FROM tlog_head WHERE origin = :origin"
_ENTRIES: Final = "SELECT data FROM tlog_entry WHERE log = :log AND idx >= :start AND idx < :end ORDER BY idx"


class StoredLog:
    """One log of a database, read only (`export.LogSource`). Close it when done."""

    def __init__(self, engine: Engine, origin: str) -> None:
        self._engine = engine
        with _reading(engine) as connection:
            row = connection.execute(text(_HEAD), {"origin": origin}).one_or_none()
        if row is None or row.checkpoint is None:
            engine.dispose()
            raise SettingsError(f"database has no published log {origin}")
        self._log = int(row.id)
        self.note = bytes(row.checkpoint)
        """The published checkpoint as it was when this was opened."""

    @classmethod
    def sqlite(cls, path: Path, origin: str) -> "StoredLog":
        """The log `origin` in a SQLite file."""
        return cls(_open_sqlite(path), origin)

    @classmethod
    def postgres(cls, url: str, origin: str) -> "StoredLog":
        """The log `origin` in a PostgreSQL database."""
        return cls(open_postgres(url).execution_options(postgresql_readonly=True), origin)

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Up to `limit` entries from index `start`, in order."""
        wanted = {"log": self._log, "start": start, "end": start + limit}
        with _reading(self._engine) as connection:
            return [bytes(data) for data in connection.execute(text(_ENTRIES), wanted).scalars()]

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()


class StoredArchive:
    """The archive in a registry's own database, read only (`export.Archive`). Close it when done."""

    def __init__(self, path: Path) -> None:
        self._engine = _open_sqlite(path)

    def archived(self, sha256: bytes) -> bytes | None:
        """The bytes of a digest."""
        with _reading(self._engine) as connection:
            query = text("SELECT data FROM reg_blob WHERE sha256 = :sha256")
            data = connection.execute(query, {"sha256": sha256}).scalar_one_or_none()
        return None if data is None else bytes(data)

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()


def _open_sqlite(path: Path) -> Engine:
    if not path.is_file():
        raise SettingsError(f"{path.name} is not there, want a registry's database")
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), hide_parameters=True)


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LogError(Reason.STORE_UNAVAILABLE, f"database cannot be read: {type(error).__name__}") from error
