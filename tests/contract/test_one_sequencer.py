# SPDX-License-Identifier: Apache-2.0
"""One process sequences a log; another one is refused, also one that lost its lock without knowing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogState
from tests.support.log import NOW, ORIGIN, append_plain, plain, refusal
from tests.support.postgres import PostgresServer, postgres_server

POSTGRES = pytest.param("postgres", marks=pytest.mark.net)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    with postgres_server() as running:
        yield running


class TestOneSequencer:
    @pytest.fixture(params=["sqlite", POSTGRES])
    def databases(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SQLLogs]]:
        """Opens one database again and again, as several processes do."""
        url = None if request.param == "sqlite" else request.getfixturevalue("server").database()
        opened: list[SQLLogs] = []

        def again() -> SQLLogs:
            opened.append(SQLLogs.postgres(url) if url else SQLLogs.sqlite(tmp_path / "log.sqlite"))
            return opened[-1]

        yield again
        for logs in opened:
            logs.close()

    def test_the_second_is_refused(self, databases: Callable[[], SQLLogs]) -> None:
        """While one process sequences a log no other does, but it may sequence another log; its end makes room."""
        logs = databases()
        first = logs.store(ORIGIN)
        first.acquire()
        first.acquire()
        later = databases()
        second = later.store(ORIGIN)
        assert refusal(second.acquire) == Reason.STORE_UNAVAILABLE
        assert refusal(lambda: append_plain(second, 0, 1)) == Reason.STORE_UNAVAILABLE
        later.store("log.example/other").acquire()
        append_plain(first, 0, 1)
        logs.close()
        second.acquire()
        append_plain(second, 1, 1)
        assert [entry.index for entry in second.entries(0, 9)] == [0, 1]

    def test_who_lost_the_lock_writes_nothing(self, databases: Callable[[], SQLLogs]) -> None:
        """A sequencer whose lock is lost without its knowing is refused by the epoch of the one that followed."""
        logs = databases()
        first = logs.store(ORIGIN)
        first.acquire()
        append_plain(first, 0, 1)
        first.publish(b"one", size=1, at=NOW)
        for lock in logs._locks.values():
            lock.release()
        second = databases().store(ORIGIN)
        second.acquire()
        assert refusal(lambda: append_plain(first, 1, 1)) == Reason.STORE_UNAVAILABLE
        assert refusal(lambda: first.publish(b"two", size=1, at=NOW)) == Reason.STORE_UNAVAILABLE
        assert refusal(lambda: first.freeze(size=1, at=NOW, keep_until=NOW)) == Reason.STORE_UNAVAILABLE
        assert second.state() == LogState(size=1, published=b"one")

    def test_who_never_asked_writes_nothing(self, databases: Callable[[], SQLLogs]) -> None:
        """A store that did not take the lock reads and hands in, and does nothing else."""
        store = databases().store(ORIGIN)
        assert refusal(lambda: append_plain(store, 0, 1)) == Reason.STORE_UNAVAILABLE
        store.submit(bytes(16), plain(0))
        assert store.state() == LogState(size=0)

    def test_the_logs_of_a_database(self, databases: Callable[[], SQLLogs]) -> None:
        """A database names its logs, and opening one again finds what it held."""
        logs = databases()
        logs.store(ORIGIN).acquire()
        logs.store("log.example/receipts/2026q4")
        store = logs.store(ORIGIN)
        store.acquire()
        append_plain(store, 0, 2)
        assert list(databases().origins()) == [ORIGIN, "log.example/receipts/2026q4"]
        assert databases().store(ORIGIN).state().size == 2
