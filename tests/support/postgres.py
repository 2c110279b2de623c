# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the tests' own: made in a temporary folder, on a socket there and no port, gone afterwards.

The server refuses to run as root; then it runs as the user `nobody`, whom the folder is given to. Where no server
program is installed its tests are skipped, or fail if SEALBID_REQUIRE_POSTGRES is 1, as in CI.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
START_SECONDS = 60
SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0777",
    "fsync=on",
    "shared_buffers=64MB",
    "max_connections=60",
    "logging_collector=off",
    "log_min_messages=fatal",
)


@dataclass(slots=True)
class PostgresServer:
    """A running server; every call of `database` makes an empty one."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"d{uuid.uuid4().hex}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self._address(name)

    def start(self, *settings: str) -> None:
        """Starts the server, with more settings than usual, and waits until it answers."""
        options = [item for setting in (*SETTINGS, *settings) for item in ("-c", setting)]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **_as_unprivileged())
        self.process = process
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self._address("postgres")).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError((self.folder / "server.log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server: SIGINT after its clients are cut off, SIGQUIT at once and without a word to the disk."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait()
        self.process = None

    def _address(self, name: str) -> str:
        return f"postgresql://sealbid@/{name}?host={self.folder}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's name has at most 107 characters
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        _run(programs / "initdb", "-D", folder / "data", "-U", "sealbid", "-A", "trust", "-E", "UTF8", "--locale=C")
        server = PostgresServer(programs, folder)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    for folder in FOLDERS:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    reason = "no PostgreSQL server is installed (Debian: postgresql-15)"
    if os.environ.get("SEALBID_REQUIRE_POSTGRES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", **_as_unprivileged())
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(str(output))


def _as_unprivileged() -> dict[str, Any]:
    return {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
