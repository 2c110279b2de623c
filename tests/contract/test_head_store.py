# SPDX-License-Identifier: Apache-2.0
"""What every `HeadStore` owes, run against each of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.head_table import SQLHeads
from attestation.tlog.store import HeadStore, LogError
from tests.support.log import ORIGIN, MemoryHeadStore, refusal
from tests.support.postgres import PostgresServer, postgres_server

POSTGRES = pytest.param("postgres", marks=pytest.mark.net)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["memory", "file", "sqlite", POSTGRES])
def heads(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HeadStore]:
    """An empty head store, beside the head of another log where one store has several."""
    if request.param in ("memory", "file"):
        yield MemoryHeadStore() if request.param == "memory" else FileHeadStore(tmp_path / "head")
        return
    if request.param == "sqlite":
        kept = SQLHeads.sqlite(tmp_path / "heads.sqlite")
    else:
        kept = SQLHeads.postgres(request.getfixturevalue("server").database())
    kept.of("log.example/other").swap(None, b"another log's")
    yield kept.of(ORIGIN)
    assert kept.of("log.example/other").load() == b"another log's"
    kept.close()


class TestHeadStore:
    def test_starts_empty(self, heads: HeadStore) -> None:
        """A new store holds no head."""
        assert heads.load() is None

    def test_swaps(self, heads: HeadStore) -> None:
        """The first head replaces nothing, the next replaces it."""
        heads.swap(None, b"one")
        heads.swap(b"one", b"two")
        assert heads.load() == b"two"

    @pytest.mark.parametrize("expected", [None, b"other", b""])
    def test_refuses_a_stale_swap(self, heads: HeadStore, expected: bytes | None) -> None:
        """A swap from anything but what is held is refused and changes nothing."""
        heads.swap(None, b"one")
        assert refusal(lambda: heads.swap(expected, b"two")) == Reason.LOG_FORK
        assert heads.load() == b"one"

    def test_of_many_signers_one_wins(self, heads: HeadStore) -> None:
        """When several threads swap from the same head, exactly one succeeds, and its head is held."""
        start = threading.Barrier(4)

        def swap(number: int) -> bytes | None:
            start.wait()
            try:
                heads.swap(None, b"head %d" % number)
            except LogError:
                return None
            return b"head %d" % number

        with ThreadPoolExecutor(4) as pool:
            won = [head for head in pool.map(swap, range(4)) if head]
        assert won == [heads.load()]
