# SPDX-License-Identifier: Apache-2.0
"""What every `LogStore` owes, run against each of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog import tiled
from attestation.tlog.merkle import leaf_hash
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogError, LogState, LogStore, NewEntry, StoredTile
from tests.support.log import NOW, ORIGIN, MemoryLogStore, append_plain, plain, refusal
from tests.support.postgres import PostgresServer, postgres_server

POSTGRES = pytest.param("postgres", marks=pytest.mark.net)
LATER = NOW + timedelta(days=2192)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStore]:
    """An empty log whose sequencer we are, beside another log of the same database."""
    if request.param == "memory":
        yield MemoryLogStore()
        return
    logs = open_logs(request, tmp_path)
    other = logs.store("log.example/other")
    other.acquire()
    append_plain(other, 0, 3, "s")
    store = logs.store(ORIGIN)
    store.acquire()
    yield store
    assert other.state() == LogState(size=3), "nothing reached another log"
    logs.close()


def open_logs(request: pytest.FixtureRequest, folder: Path) -> SQLLogs:
    """A new database of the kind the test was asked to use."""
    if request.param == "sqlite":
        return SQLLogs.sqlite(folder / "log.sqlite")
    server: PostgresServer = request.getfixturevalue("server")
    return SQLLogs.postgres(server.database())


class TestLogStore:
    def test_starts_empty(self, store: LogStore) -> None:
        """A new store has no entry and has published nothing."""
        assert (store.state(), list(store.entries(0, 10)), store.tile(0, 0)) == (LogState(size=0), [], b"")

    def test_gives_back_what_was_appended(self, store: LogStore) -> None:
        """Entries come back byte for byte, in order, from where and as many as asked."""
        entries = append_plain(store, 0, 5)
        assert store.state().size == 5
        assert list(store.entries(0, 10)) == entries
        assert list(store.entries(2, 2)) == entries[2:4]
        assert list(store.entries(5, 10)) == []

    def test_continues_at_its_size(self, store: LogStore) -> None:
        """A second append goes on where the first ended."""
        entries = append_plain(store, 0, 2) + append_plain(store, 2, 3)
        assert list(store.entries(0, 10)) == entries

    def test_refuses_a_second_writer(self, store: LogStore) -> None:
        """An append that expects another size is refused and leaves nothing behind."""
        append_plain(store, 0, 3)
        assert refusal(lambda: append_plain(store, 2, 1)) == Reason.LOG_FORK
        assert refusal(lambda: append_plain(store, 4, 1)) == Reason.LOG_FORK
        assert store.state().size == 3

    @pytest.mark.parametrize("count", [1, 255, 256, 257])
    def test_tiles_grow_and_stay(self, store: LogStore, count: int) -> None:
        """A tile is what was last written of it; a full one stays while the next one begins."""
        leaves = [leaf_hash(plain(index).data) for index in range(count + 2)]
        append_plain(store, 0, count)
        append_plain(store, count, 2)
        assert store.tile(0, 0) + store.tile(0, 1) == b"".join(leaves)
        assert len(store.tile(1, 0)) == (32 if count + 2 >= 256 else 0)
        assert store.tile(3, 9) == b""

    def test_a_tile_is_not_replaced(self, store: LogStore) -> None:
        """A tile that does not continue the stored one is refused with all that comes with it."""
        if isinstance(store, MemoryLogStore):
            pytest.skip("memory has no triggers")
        append_plain(store, 0, 2)
        for data in (bytes(32 * 3), store.tile(0, 0), store.tile(0, 0) + b"\1" * 31, store.tile(0, 0) * 129):
            tile = StoredTile(level=0, index=0, data=data)
            call = lambda tile=tile: store.append(expected_size=2, entries=[plain(2)], tiles=[tile])  # noqa: E731
            assert refusal(call) == Reason.STORE_UNAVAILABLE
        assert (store.state().size, len(store.tile(0, 0))) == (2, 64)

    def test_finds_by_subject_newest_first(self, store: LogStore) -> None:
        """Entries about one subject come newest first, at most as many as asked."""
        first = append_plain(store, 0, 2, "a")
        append_plain(store, 2, 1, "b")
        last = append_plain(store, 3, 1, "a")
        assert list(store.about("a", 10)) == [*last, first[1], first[0]]
        assert list(store.about("a", 1)) == last
        assert list(store.about("c", 10)) == []
        assert list(store.about("a", 10, before=3)) == [first[1], first[0]]

    def test_finds_by_kind_newest_first(self, store: LogStore) -> None:
        """Entries of some kinds come newest first from any place on; entries without a kind are not found by it."""
        kinds = ["a", "b", "a", "", "c", "b"]
        entries = [NewEntry(data=f"entry {index}".encode(), kind=kind) for index, kind in enumerate(kinds)]
        tiles = tiled.extend(0, [leaf_hash(entry.data) for entry in entries], store)
        store.append(expected_size=0, entries=entries, tiles=tiles)
        for wanted, before, limit, found in (
            ({"a", "b"}, None, 9, [5, 2, 1, 0]),
            ({"b", "a"}, None, 2, [5, 2]),
            ({"a", "b"}, 5, 2, [2, 1]),
            ({"c"}, 4, 9, []),
            ({""}, None, 9, []),
            (set(), None, 9, []),
        ):
            assert [entry.index for entry in store.newest(wanted, limit, before=before)] == found

    def test_replaces_the_published_checkpoint(self, store: LogStore) -> None:
        """The newest published note is the one that is read."""
        append_plain(store, 0, 2)
        store.publish(b"one", size=1, at=NOW)
        store.publish(b"two", size=2, at=NOW)
        assert store.state().published == b"two"

    def test_refuses_to_publish_beyond_its_size(self, store: LogStore) -> None:
        """A checkpoint of entries the store does not have is not published."""
        append_plain(store, 0, 2)
        assert refusal(lambda: store.publish(b"three", size=3, at=NOW)) == Reason.LOG_ROLLBACK
        assert store.state().published is None

    def test_an_empty_append_is_nothing(self, store: LogStore) -> None:
        """Appending no entry changes nothing, whatever size is expected."""
        append_plain(store, 0, 1)
        store.append(expected_size=7, entries=[], tiles=[])
        assert store.state().size == 1

    def test_readers_see_whole_appends(self, store: LogStore) -> None:
        """A reader on another thread sees either none or all entries of one append."""
        done = threading.Event()

        def watch() -> set[int]:
            seen: set[int] = set()
            while not done.is_set():
                seen.add(len(store.entries(0, 1000)) % 7)
            return seen

        with ThreadPoolExecutor() as pool:
            watching = pool.submit(watch)
            for batch in range(20):
                append_plain(store, batch * 7, 7)
            done.set()
            assert watching.result() <= {0}

    def test_of_many_writers_one_wins_each_place(self, store: LogStore) -> None:
        """When several threads append at the same size, one succeeds and the others are refused."""
        start = threading.Barrier(4)

        def write(_: int) -> Reason | None:
            start.wait()
            try:
                append_plain(store, 0, 2)
            except LogError as error:
                return error.reason
            return None

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(write, range(4)))
        assert sorted(outcomes, key=str) == [Reason.LOG_FORK] * 3 + [None]
        assert store.state().size == 2


class TestPending:
    def test_is_handed_in_once(self, store: LogStore) -> None:
        """What is handed in waits in order; the same ticket again is the same."""
        for number in (1, 2, 1):
            store.submit(bytes([number]) * 16, plain(number))
        assert [each.entry for each in store.pending(10)] == [plain(1), plain(2)]
        assert [each.entry for each in store.pending(1)] == [plain(1)]

    def test_is_taken_with_the_append(self, store: LogStore) -> None:
        """An append takes its pending entries away, whole or not at all."""
        store.submit(bytes(16), plain(0))
        [waiting] = store.pending(10)
        call = lambda: store.append(expected_size=7, entries=[plain(0)], tiles=[], pending=[waiting.number])  # noqa: E731
        assert refusal(call) == Reason.LOG_FORK
        assert list(store.pending(10)) == [waiting]
        tiles = tiled.extend(0, [leaf_hash(plain(0).data)], store)
        store.append(expected_size=0, entries=[plain(0)], tiles=tiles, pending=[waiting.number])
        assert (list(store.pending(10)), store.state().size) == ([], 1)

    def test_is_not_taken_twice(self, store: LogStore) -> None:
        """A pending entry that another writer took stops the append."""
        store.submit(bytes(16), plain(0))
        [waiting] = store.pending(10)
        store.drop([waiting.number])
        tiles = tiled.extend(0, [leaf_hash(plain(0).data)], store)
        call = lambda: store.append(expected_size=0, entries=[plain(0)], tiles=tiles, pending=[waiting.number])  # noqa: E731
        assert refusal(call) == Reason.LOG_FORK
        assert (store.state().size, store.tile(0, 0)) == (0, b"")

    def test_of_many_hands(self, store: LogStore) -> None:
        """Threads that hand in at once lose nothing."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: store.submit(bytes([number]) * 16, plain(number)), range(20)))
        assert {each.entry.data for each in store.pending(100)} == {plain(number).data for number in range(20)}


class TestEnd:
    @pytest.fixture
    def frozen(self, store: LogStore) -> LogStore:
        """A log of three entries that ended."""
        append_plain(store, 0, 3)
        store.publish(b"final", size=3, at=NOW)
        store.freeze(size=3, at=NOW, keep_until=LATER)
        return store

    def test_a_frozen_log_takes_nothing(self, frozen: LogStore) -> None:
        """Neither entries nor checkpoints nor what others hand in."""
        assert refusal(lambda: append_plain(frozen, 3, 1)) == Reason.LOG_FROZEN
        assert refusal(lambda: frozen.publish(b"more", size=3, at=NOW)) == Reason.LOG_FROZEN
        assert refusal(lambda: frozen.submit(bytes(16), plain(3))) == Reason.LOG_FROZEN
        assert frozen.state() == LogState(size=3, published=b"final", frozen_at=NOW, keep_until=LATER)
        assert len(frozen.entries(0, 10)) == 3

    def test_an_unfinished_log_is_not_frozen(self, store: LogStore) -> None:
        """Not at another size, not before its checkpoint, not while something is pending."""
        append_plain(store, 0, 3)
        assert refusal(lambda: store.freeze(size=3, at=NOW, keep_until=LATER)) == Reason.LOG_ROLLBACK
        store.publish(b"final", size=3, at=NOW)
        assert refusal(lambda: store.freeze(size=2, at=NOW, keep_until=LATER)) == Reason.LOG_ROLLBACK
        store.submit(bytes(16), plain(3))
        assert refusal(lambda: store.freeze(size=3, at=NOW, keep_until=LATER)) == Reason.LOG_ROLLBACK
        assert store.state().frozen_at is None

    def test_the_time_to_keep_only_grows(self, frozen: LogStore) -> None:
        """Freezing again moves nothing but the end of its keeping, and that to later."""
        frozen.freeze(size=3, at=LATER, keep_until=NOW)
        assert frozen.state().keep_until == LATER
        frozen.freeze(size=3, at=LATER, keep_until=LATER + timedelta(days=1))
        assert frozen.state().keep_until == LATER + timedelta(days=1)
        assert frozen.state().frozen_at == NOW

    def test_only_what_is_over_is_deleted(self, store: LogStore) -> None:
        """A log that is not frozen, or is to be kept, loses nothing."""
        append_plain(store, 0, 3)
        store.publish(b"final", size=3, at=NOW)
        assert refusal(lambda: store.delete(LATER)) == Reason.LOG_FROZEN
        store.freeze(size=3, at=NOW, keep_until=LATER)
        assert refusal(lambda: store.delete(LATER - timedelta(seconds=1))) == Reason.LOG_FROZEN
        assert (len(store.entries(0, 10)), len(store.tile(0, 0))) == (3, 96)

    def test_a_deleted_log_keeps_its_end(self, frozen: LogStore) -> None:
        """Entries and hashes are gone; size, final checkpoint and dates stay, and it is deleted once."""
        frozen.delete(LATER)
        frozen.delete(LATER + timedelta(days=9))
        assert (list(frozen.entries(0, 10)), list(frozen.about("s", 9)), frozen.tile(0, 0)) == ([], [], b"")
        assert frozen.state() == LogState(size=3, published=b"final", frozen_at=NOW, keep_until=LATER, deleted_at=LATER)
        assert refusal(lambda: frozen.append(expected_size=3, entries=[plain(3)], tiles=[])) == Reason.LOG_FROZEN


class TestMemoryFaults:
    @pytest.mark.parametrize(("when", "size"), [("before", 0), ("after", 1)])
    def test_append_fails_where_asked(self, when: str, size: int) -> None:
        """The memory store's fault leaves the append out or in, as asked, once."""
        store = MemoryLogStore()
        store.fail["append"] = "before" if when == "before" else "after"
        assert refusal(lambda: append_plain(store, 0, 1)) == Reason.STORE_UNAVAILABLE
        assert store.state().size == size
        append_plain(store, size, 1)
