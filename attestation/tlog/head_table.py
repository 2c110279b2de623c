# SPDX-License-Identifier: Apache-2.0
"""Last signed heads in a database of their own: a compare-and-swap of one note for each log (`store.HeadStore`).

    tlog_signed(origin, note)

On SQLite or PostgreSQL, but never in the database of the log: one backup would bring both back together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, LargeBinary, Table, Text, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from attestation.errors import Reason
from attestation.postgres import open_postgres
from attestation.sqlite import open_sqlite, writing
from attestation.tlog.store import LogError

SIGNED: Final = Table(
    "tlog_signed",
    SQLModel.metadata,
    Column("origin", Text, primary_key=True),
    Column("note", LargeBinary, nullable=False),
    sqlite_strict=True,
)


class SQLHeads:
    """A database of signed heads. Close it when done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = writing(engine)
        try:
            with self.transaction() as connection:
                SQLModel.metadata.create_all(connection, tables=[SIGNED])
        except LogError:
            self.close()
            raise

    @classmethod
    def sqlite(cls, path: Path) -> "SQLHeads":
        """The heads in the SQLite file at `path`, made if it is not there."""
        return cls(open_sqlite(path))

    @classmethod
    def postgres(cls, url: str) -> "SQLHeads":
        """The heads in the PostgreSQL database at `url`."""
        return cls(open_postgres(url))

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    def of(self, origin: str) -> "TableHeadStore":
        """The head of one log."""
        return TableHeadStore(self, origin)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, durable when it ends. Raises `LogError`."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LogError(Reason.STORE_UNAVAILABLE, f"head store failed: {type(error).__name__.lower()}") from error


class TableHeadStore:
    """The last signed head of `origin` in a table (`store.HeadStore`)."""

    def __init__(self, heads: SQLHeads, origin: str) -> None:
        self._heads = heads
        self._origin = origin

    def load(self) -> bytes | None:
        """The note, or None if none was ever stored."""
        with self._heads.transaction() as connection:
            query = text("SELECT note FROM tlog_signed WHERE origin = :origin")
            note = connection.execute(query, {"origin": self._origin}).scalar()
        return None if note is None else bytes(note)

    def swap(self, expected: bytes | None, new: bytes) -> None:
        """Replaces `expected` by `new`, durably, or raises `LogError`."""
        if expected is None:
            query = "INSERT INTO tlog_signed (origin, note) VALUES (:origin, :new) ON CONFLICT (origin) DO NOTHING"
        else:
            query = "UPDATE tlog_signed SET note = :new WHERE origin = :origin AND note = :expected"
        with self._heads.transaction() as connection:
            values = {"origin": self._origin, "new": new, "expected": expected}
            if connection.execute(text(query), values).rowcount != 1:
                raise LogError(Reason.LOG_FORK, "head store holds another head than expected, want one signer")
