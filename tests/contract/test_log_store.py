# SPDX-License-Identifier: Apache-2.0
"""What every `LogStore` and every `HeadStore` owes, run against each of them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.merkle import Node, leaf_hash, node_hash
from attestation.tlog.sqlmodel_store import SQLiteLogStore
from attestation.tlog.store import HeadStore, LogError, LogStore, StoredEntry
from tests.support.log import NOW, MemoryHeadStore, MemoryLogStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStore]:
    """An empty log store."""
    if request.param == "memory":
        yield MemoryLogStore()
        return
    sqlite = SQLiteLogStore(tmp_path / "log.sqlite")
    yield sqlite
    sqlite.close()


@pytest.fixture(params=["memory", "file"])
def heads(request: pytest.FixtureRequest, tmp_path: Path) -> HeadStore:
    """An empty head store."""
    return MemoryHeadStore() if request.param == "memory" else FileHeadStore(tmp_path / "head")


def stored(index: int, subject: str = "s") -> StoredEntry:
    """An entry of a store that does not look inside."""
    data = f"entry {index}".encode()
    return StoredEntry(
        index=index, leaf_hash=leaf_hash(data), kind="k", subject=subject, at="2026-11-21T22:10:05Z", data=data
    )


def leaf_node(entry: StoredEntry) -> Node:
    """The level 0 node of an entry."""
    return Node(level=0, index=entry.index, hash=entry.leaf_hash)


def append(store: LogStore, start: int, count: int, subject: str = "s") -> list[StoredEntry]:
    """Appends entries with their leaf nodes."""
    entries = [stored(index, subject) for index in range(start, start + count)]
    store.append(expected_size=start, entries=entries, nodes=[leaf_node(entry) for entry in entries])
    return entries


def refusal(call: Callable[[], object]) -> Reason:
    """The reason a call is refused with."""
    with pytest.raises(LogError) as caught:
        call()
    return caught.value.reason


class TestLogStore:
    def test_starts_empty(self, store: LogStore) -> None:
        """A new store has no entry and has published nothing."""
        assert (store.size(), list(store.entries(0, 10)), store.published()) == (0, [], None)

    def test_gives_back_what_was_appended(self, store: LogStore) -> None:
        """Entries come back byte for byte, in order, from where and as many as asked."""
        entries = append(store, 0, 5)
        assert store.size() == 5
        assert list(store.entries(0, 10)) == entries
        assert list(store.entries(2, 2)) == entries[2:4]
        assert list(store.entries(5, 10)) == []

    def test_continues_at_its_size(self, store: LogStore) -> None:
        """A second append goes on where the first ended."""
        entries = append(store, 0, 2) + append(store, 2, 3)
        assert list(store.entries(0, 10)) == entries

    def test_refuses_a_second_writer(self, store: LogStore) -> None:
        """An append that expects another size is refused and leaves nothing behind."""
        append(store, 0, 3)
        assert refusal(lambda: append(store, 2, 1)) == Reason.LOG_FORK
        assert refusal(lambda: append(store, 4, 1)) == Reason.LOG_FORK
        assert store.size() == 3

    def test_reads_nodes(self, store: LogStore) -> None:
        """A node is read by level and index; one that was never stored is reported as damage."""
        entries = [stored(0), stored(1)]
        above = node_hash(entries[0].leaf_hash, entries[1].leaf_hash)
        nodes = [*map(leaf_node, entries), Node(level=1, index=0, hash=above)]
        store.append(expected_size=0, entries=entries, nodes=nodes)
        assert [store.read(0, 0), store.read(0, 1), store.read(1, 0)] == [node.hash for node in nodes]
        assert refusal(lambda: store.read(1, 1)) == Reason.LOG_FORK

    def test_finds_by_subject_newest_first(self, store: LogStore) -> None:
        """Entries about one subject come newest first, at most as many as asked."""
        first = append(store, 0, 2, "a")
        append(store, 2, 1, "b")
        last = append(store, 3, 1, "a")
        assert list(store.about("a", 10)) == [*last, first[1], first[0]]
        assert list(store.about("a", 1)) == last
        assert list(store.about("c", 10)) == []

    def test_replaces_the_published_checkpoint(self, store: LogStore) -> None:
        """The newest published note is the one that is read."""
        append(store, 0, 2)
        store.publish(b"one", size=1, at=NOW)
        store.publish(b"two", size=2, at=NOW)
        assert store.published() == b"two"

    def test_refuses_to_publish_beyond_its_size(self, store: LogStore) -> None:
        """A checkpoint of entries the store does not have is not published."""
        append(store, 0, 2)
        assert refusal(lambda: store.publish(b"three", size=3, at=NOW)) == Reason.LOG_ROLLBACK
        assert store.published() is None

    def test_an_empty_append_is_nothing(self, store: LogStore) -> None:
        """Appending no entry changes nothing, whatever size is expected."""
        append(store, 0, 1)
        store.append(expected_size=7, entries=[], nodes=[])
        assert store.size() == 1

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
                append(store, batch * 7, 7)
            done.set()
            assert watching.result() <= {0}

    def test_of_many_writers_one_wins_each_place(self, store: LogStore) -> None:
        """When several threads append at the same size, one succeeds and the others are refused."""
        start = threading.Barrier(4)

        def write(_: int) -> Reason | None:
            start.wait()
            try:
                append(store, 0, 2)
            except LogError as error:
                return error.reason
            return None

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(write, range(4)))
        assert sorted(outcomes, key=str) == [Reason.LOG_FORK] * 3 + [None]
        assert store.size() == 2


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


class TestMemoryFaults:
    @pytest.mark.parametrize(("when", "size"), [("before", 0), ("after", 1)])
    def test_append_fails_where_asked(self, when: str, size: int) -> None:
        """The memory store's fault leaves the append out or in, as asked, once."""
        store = MemoryLogStore()
        store.fail["append"] = "before" if when == "before" else "after"
        assert refusal(lambda: append(store, 0, 1)) == Reason.STORE_UNAVAILABLE
        assert store.size() == size
        append(store, size, 1)
