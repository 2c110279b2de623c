# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as stores open it: every commit on disk before it is acknowledged, UTC, no parameters in error texts.

Refused: an address that is not `postgresql://`, and a server that runs without `fsync`, whose acknowledgements mean
nothing.
"""

from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from attestation.errors import SettingsError

CONNECT_SECONDS: Final = 10
_SETTINGS: Final = ("SET synchronous_commit TO on", "SET TimeZone TO 'UTC'", "SET lock_timeout TO '10s'")


def open_postgres(url: str) -> Engine:
    """The engine of the database at `url` (`postgresql://user@host/name`). Connects when first used.

    Raises:
        SettingsError: the address is none of PostgreSQL's. Its text is not repeated, for it may hold a password.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise SettingsError("database is no address, want postgresql://user@host/name") from None
    if address.drivername not in ("postgresql", "postgresql+psycopg"):
        raise SettingsError(f"database is of {address.drivername}, want postgresql")
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: Any, _record: object) -> None:
    was, connection.autocommit = connection.autocommit, True
    with connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
        if cursor.execute("SHOW fsync").fetchone() != ("on",):
            raise SettingsError("database server runs with fsync off, want on")
    connection.autocommit = was
