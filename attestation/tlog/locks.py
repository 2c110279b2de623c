# SPDX-License-Identifier: Apache-2.0
"""The lock that makes one process the sequencer of a log: a locked file beside SQLite, an advisory lock in PostgreSQL.

Either is given back when its holder dies, whatever it dies of. Neither is trusted alone: a file lock may not reach
across a network file system, and an advisory lock is lost with its connection. The store's epoch catches both.
"""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import IO, Final, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from attestation.errors import Reason
from attestation.tlog.store import LogError

WAIT_MILLISECONDS: Final = 1000
"""How long PostgreSQL may take to notice that the holder before has died."""
_NOT_AVAILABLE: Final = "55P03"


class Lock(Protocol):
    """A lock that is not queued for. `take` raises `LogError`, STORE_UNAVAILABLE, while another holds it."""

    def take(self) -> None: ...

    def release(self) -> None: ...


class FileLock:
    """The lock of log `origin` in the SQLite file `database`."""

    def __init__(self, database: Path, origin: str) -> None:
        self._path = database.with_name(f"{database.name}.{_digest(origin)[:8].hex()}.lock")
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Locks the file, which is made if it is not there and never removed."""
        file = None
        try:
            file = self._path.open("ab")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if file is not None:
                file.close()
            if isinstance(error, BlockingIOError):
                raise _held() from None
            message = f"log lock failed: {os.strerror(error.errno or 0).lower()}"
            raise LogError(Reason.STORE_UNAVAILABLE, message) from error
        self._file = file

    def release(self) -> None:
        """Unlocks the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class AdvisoryLock:
    """The lock of log `origin` in a PostgreSQL database, held by a connection of its own."""

    def __init__(self, engine: Engine, origin: str) -> None:
        self._engine = engine
        self._key = int.from_bytes(_digest(origin)[:8], signed=True)
        self._connection: Connection | None = None

    def take(self) -> None:
        """Takes the lock for as long as the connection lives."""
        connection = None
        try:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            # Never given back to the pool: a pooled connection would keep the lock for whoever gets it next.
            connection.detach()
            connection.execute(text(f"SET lock_timeout TO {WAIT_MILLISECONDS}"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
        except SQLAlchemyError as error:
            if connection is not None:
                connection.close()
            if getattr(getattr(error, "orig", None), "sqlstate", None) == _NOT_AVAILABLE:
                raise _held() from None
            message = f"log lock failed: {type(error).__name__.lower()}"
            raise LogError(Reason.STORE_UNAVAILABLE, message) from error
        self._connection = connection

    def release(self) -> None:
        """Ends the connection, and with it the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _digest(origin: str) -> bytes:
    return hashlib.sha256(b"sealbid/sequencer/1\n" + origin.encode()).digest()


def _held() -> LogError:
    return LogError(Reason.STORE_UNAVAILABLE, "log has another sequencer, want one at a time")
