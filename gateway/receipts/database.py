# SPDX-License-Identifier: Apache-2.0
"""The journal's database: SQLite in WAL mode with synchronous=FULL, so that a commit that returned survives power loss.

One process writes: a second one would hand out the same sequence numbers. The lock is the operating system's and ends
with the process, however that ends. Statement parameters are kept out of every error text.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from attestation.errors import SettingsError

_BUSY_SECONDS = 10.0


def open_writer(path: Path) -> Engine:
    """The engine of the one writing process; transactions take the write lock when they begin."""
    path.touch(mode=0o600, exist_ok=True)
    return _engine(path, "BEGIN IMMEDIATE")


def open_reader(path: Path) -> Engine:
    """An engine for readers, which neither wait for the writer nor hold it up."""
    return _engine(path, "BEGIN")


class WriterLock:
    """Held for the life of the writing process."""

    def __init__(self, path: Path) -> None:
        """Raises `SettingsError` when another process holds it."""
        self._descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise SettingsError(f"journal {path.name} is in use by another process, want one gateway each") from None

    def release(self) -> None:
        """Lets another process write."""
        os.close(self._descriptor)


def _engine(path: Path, begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
    )

    def connected(connection: Any, _record: object) -> None:
        # The driver's own transactions begin too late, at the first write; `begin` below opens them.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    def started(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", started)
    return engine
