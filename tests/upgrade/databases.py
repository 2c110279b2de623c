# SPDX-License-Identifier: Apache-2.0
"""The databases of a version as text: what is in a version's folder, and how it becomes databases again.

    tests/upgrade/VERSION/log.sql  registry.sql  journal.sql     schema and rows, as `sqlite3` dumps them
                          signed-head  trust.toml                as the registry left them

No private key is among them: opening old data for reading needs none, and a gateway that writes on gets a new one.
"""

import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.registry.sqlmodel_store import SQLiteRegistryStore
from attestation.server.state import LOG_DATABASE, STORE_DATABASE
from attestation.tlog.sqlmodel_store import SQLLogs
from gateway.ledger.settlement import Settlement
from gateway.receipts.archive import DATABASE, open_store
from gateway.receipts.memo import MemoKey
from tests.support.tree import ROOT

FOLDER: Final = ROOT / "tests" / "upgrade"
DATABASES: Final = (LOG_DATABASE, STORE_DATABASE, DATABASE)
FILES: Final = ("signed-head", "trust.toml")

Schema = list[tuple[str, str, str, str]]


def versions() -> list[str]:
    """Every version that has a folder."""
    return sorted(path.parent.name for path in FOLDER.glob("*/trust.toml"))


def current_version() -> str:
    """The version of this tree."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def dump_file(folder: Path, database: str) -> Path:
    """Where the text of a database is."""
    return folder / database.replace(".sqlite", ".sql")


def text_of(database: Path) -> str:
    """Schema version, tables with their rows, then indices and triggers."""
    with closing(sqlite3.connect(database)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return "\n".join((f"PRAGMA user_version = {version};", *connection.iterdump(), ""))


def load(folder: Path, state: Path) -> None:
    """Makes the databases of a version's folder anew in `state`, and its files beside them."""
    state.mkdir(mode=0o700)
    for name in DATABASES:
        with closing(sqlite3.connect(state / name)) as connection:
            connection.executescript(dump_file(folder, name).read_text())
    for name in FILES:
        (state / name).write_bytes((folder / name).read_bytes())


def open_by_writers(state: Path) -> None:
    """Opens every database as the processes that write it do, which makes what is missing, and closes it."""
    SQLLogs.sqlite(state / LOG_DATABASE).close()
    SQLiteRegistryStore(state / STORE_DATABASE).close()
    key = Ed25519PrivateKey.generate()
    with open_store(
        state, signing_key=key, memo_key=MemoKey(bytes(32)), instance=bytes(16), settle=Settlement(), lock_seconds=0
    ):
        pass


def schema(database: Path) -> Schema:
    """Tables, indices and triggers with their text, and the schema version as one more row."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return [("version", str(version), "", ""), *sorted((*row[:3], " ".join(row[3].split())) for row in rows)]


def values(database: Path) -> Iterator[bytes]:
    """Every stored text and blob, as bytes."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield from (value for value in row if isinstance(value, bytes))
                yield from (value.encode() for value in row if isinstance(value, str))
