# SPDX-License-Identifier: Apache-2.0
"""SQLite files as stores open them: write-ahead log, commits synced to disk, transactions that begin where we say.

Statement parameters are kept out of every error text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event

_BUSY_MILLISECONDS: Final = 10_000
# FULL, not WAL's usual NORMAL: what was acknowledged must survive power loss, or a lease outlives its verdict, a
# challenge is spent twice and a receipt is lost.
_PRAGMAS: Final = (f"busy_timeout={_BUSY_MILLISECONDS}", "journal_mode=WAL", "synchronous=FULL")
_WRITES: Final = "sealbid_write"


def open_sqlite(path: Path, *, pragmas: Sequence[str] = ()) -> Engine:
    """The engine of the file at `path`, made if it is not there; its transactions read. Close it by `dispose`.

    `pragmas` (`name=value`) are for speed; what durability needs is set here.
    """
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)

    def configure(connection: Any, _record: object) -> None:
        # The driver would otherwise begin transactions by itself, and never for reads.
        connection.isolation_level = None
        for pragma in (*_PRAGMAS, *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write: each takes the write lock when it begins."""
    return engine.execution_options(**{_WRITES: True})


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once; upgrading later could fail half way for want of it.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")
