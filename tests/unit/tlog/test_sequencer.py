# SPDX-License-Identifier: Apache-2.0
"""The evidence log: what it promises, what it refuses to sign, and what every crash leaves."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from attestation.errors import AttestationError, MalformedEvidence, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import LogError, LogState, LogStore, StoredEntry
from attestation.tlog.tiled import StoredTree
from tests.support.log import (
    NOW,
    ORIGIN,
    MemoryHeadStore,
    MemoryLogStore,
    WholeLogCheck,
    change,
    genesis,
    grow,
    head_of,
    log_signer,
    new_log,
    open_log,
    refusal,
    served_entries,
    verdict,
)

CHECK = WholeLogCheck()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[], LogStore]]:
    """Opens the same SQLite log again and again, as restarts do, each time after the process before has ended."""
    opened: list[SQLLogs] = []

    def again() -> LogStore:
        while opened:
            opened.pop().close()
        opened.append(SQLLogs.sqlite(tmp_path / "log.sqlite"))
        return opened[-1].store(ORIGIN)

    yield again
    for logs in opened:
        logs.close()


class TestPromises:
    @pytest.mark.parametrize("size", [1, 2, 255, 256, 257])
    def test_the_whole_log_verifies(self, size: int) -> None:
        """Every entry of a log is proved by what it serves, to someone with its name and key alone."""
        log = new_log()
        grow(log, size)
        assert CHECK.log(log).size == size

    def test_the_whole_log_verifies_on_disk(self, disk: Callable[[], LogStore], tmp_path: Path) -> None:
        """So does one on SQLite, also after a restart, and the restarted log continues it."""
        heads = FileHeadStore(tmp_path / "head")
        first = head_of(grow(new_log(disk(), heads), 20))
        log = open_log(disk(), heads)
        assert CHECK.log(log) == first
        grow(log, 41)
        CHECK.log(log)
        CHECK.continues(first, served_entries(log))

    def test_indices_are_given_in_order(self) -> None:
        """An append is told which entries are its own."""
        log = new_log()
        assert log.append([change(1), change(2)]) == range(1, 3)
        assert log.append([]) == range(3, 3)
        assert log.append([verdict()]) == range(3, 4)

    def test_every_checkpoint_continues_the_one_before(self) -> None:
        """Between any two checkpoints there is a consistency proof from the stored hashes."""
        store = MemoryLogStore()
        log = new_log(store)
        heads = [head_of(log.checkpoint())] + [head_of(grow(log, size)) for size in (2, 9, 10, 64, 65)]
        for old in heads:
            for new in heads[heads.index(old) :]:
                proof = merkle.consistency_proof(old.size, new.size, StoredTree(store))
                merkle.verify_consistency(old.size, old.root, new.size, new.root, proof)

    def test_publishing_again_changes_nothing(self) -> None:
        """Without new entries the checkpoint stays the same, byte for byte."""
        log = new_log()
        assert log.publish(NOW) == log.publish(NOW) == log.checkpoint()

    def test_publishing_again_writes_nothing(self) -> None:
        """Without new entries neither store is written, so that an idle log costs no disk."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        store.fail["publish"] = heads.fail["swap"] = "before"
        assert log.publish(NOW) == heads.note

    def test_no_proof_before_its_checkpoint(self) -> None:
        """An entry that no published checkpoint covers has no proof yet."""
        log = new_log()
        [index] = log.append([change(1)])
        assert refusal(lambda: log.proof(index)) == Reason.NOT_FOUND
        log.publish(NOW)
        assert log.proof(index)

    @pytest.mark.parametrize("index", [-1, 1, 1 << 70])
    def test_no_proof_of_what_is_not_there(self, index: int) -> None:
        """An index outside the log is not found."""
        log = new_log()
        assert refusal(lambda: log.proof(index)) == Reason.NOT_FOUND

    def test_entries_come_in_pages(self) -> None:
        """A read returns at most 256 entries, and none for a place outside."""
        log = new_log()
        grow(log, 300)
        assert [len(log.entries(0, 1000)), len(log.entries(299)), len(log.entries(300)), len(log.entries(-5, -5))] == [
            256,
            1,
            0,
            0,
        ]

    def test_entries_are_found_by_subject(self) -> None:
        """What was logged about a worker is found, newest first."""
        log = new_log()
        worker = b"\x01" * 32
        log.append([verdict(worker_id=worker), verdict(), verdict(worker_id=worker, passed=False)])
        assert [entry.index for entry in log.about(worker.hex())] == [3, 1]
        assert [entry.index for entry in log.about(worker.hex(), 1)] == [3]

    def test_threads_get_indices_of_their_own(self) -> None:
        """Many threads append and publish at once; every entry is there once and all of them verify."""
        log = new_log()

        def write(worker: int) -> list[int]:
            mine: list[int] = []
            for step in range(10):
                mine += log.append([change(worker * 1000 + step), change(worker * 1000 + step + 500)])
                log.publish(NOW)
            return mine

        with ThreadPoolExecutor(4) as pool:
            indices = [index for mine in pool.map(write, range(4)) for index in mine]
        assert sorted(indices) == list(range(1, 81))
        assert CHECK.log(log).size == 81


class TestGenesis:
    def test_a_log_begins_with_its_genesis(self) -> None:
        """The first entry is the genesis, and no later one is; a refused batch leaves nothing."""
        log = open_log(MemoryLogStore(), MemoryHeadStore(), inception=True)
        for batch in ([change(1)], [genesis(), genesis()], [genesis(), change(1), genesis()]):
            with pytest.raises(MalformedEvidence) as caught:
                log.append(batch)
            assert caught.value.reason == Reason.ENTRY_INVALID
        assert log.size() == 0
        log.append([genesis(), change(1)])
        with pytest.raises(MalformedEvidence):
            log.append([genesis()])

    def test_the_genesis_is_its_own(self) -> None:
        """A genesis that names another log or another key is refused."""
        log = open_log(MemoryLogStore(), MemoryHeadStore(), inception=True)
        assert refusal(lambda: log.append([genesis(signer=log_signer("log.example/other"))])) == Reason.LOG_FORK
        assert refusal(lambda: log.append([genesis(signer=log_signer(seed=5))])) == Reason.LOG_FORK

    def test_another_key_cannot_take_over(self) -> None:
        """A log opened with another key, or under another name, is refused at once."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        new_log(store, heads)
        assert refusal(lambda: open_log(store, heads, signer=log_signer(seed=2))) == Reason.LOG_FORK
        assert refusal(lambda: open_log(store, heads, signer=log_signer("log.example/b"))) == Reason.LOG_FORK

    def test_a_foreign_store_at_inception(self) -> None:
        """A store that begins with another log's genesis is refused before anything is signed."""
        store = MemoryLogStore()
        open_log(store, MemoryHeadStore(), signer=log_signer(seed=2), inception=True).append(
            [genesis(signer=log_signer(seed=2))]
        )
        assert refusal(lambda: open_log(store, MemoryHeadStore(), inception=True)) == Reason.LOG_FORK

    def test_the_key_is_named_as_the_log(self) -> None:
        """The signing key's name is the log's origin."""
        with pytest.raises(LogError) as caught:
            EvidenceLog(
                origin="log.example/b",
                signer=log_signer(),
                store=MemoryLogStore(),
                heads=MemoryHeadStore(),
                inception=True,
            )
        assert caught.value.reason == Reason.SETTINGS_INVALID

    def test_an_empty_log_is_not_signed(self) -> None:
        """There is no checkpoint before there is an entry."""
        log = open_log(MemoryLogStore(), MemoryHeadStore(), inception=True)
        assert refusal(lambda: log.publish(NOW)) == Reason.ENTRY_INVALID
        assert refusal(log.checkpoint) == Reason.NOT_FOUND


class TestRefusesToSign:
    def test_a_new_log_without_inception(self) -> None:
        """A log whose files are all missing is not silently begun anew."""
        assert refusal(lambda: open_log(MemoryLogStore(), MemoryHeadStore())) == Reason.LOG_ROLLBACK

    def test_a_lost_store(self) -> None:
        """With the head store alone left, an empty log is a rollback, with inception too."""
        heads = MemoryHeadStore()
        new_log(MemoryLogStore(), heads)
        for inception in (False, True):
            assert refusal(lambda i=inception: open_log(MemoryLogStore(), heads, inception=i)) == Reason.LOG_ROLLBACK  # type: ignore[misc]

    def test_a_lost_head_store(self) -> None:
        """With a log that has published and no head store, nothing is signed, with inception too."""
        store = MemoryLogStore()
        new_log(store, MemoryHeadStore())
        for inception in (False, True):
            assert refusal(lambda i=inception: open_log(store, MemoryHeadStore(), inception=i)) == Reason.LOG_ROLLBACK  # type: ignore[misc]

    def test_yesterdays_backup(self, disk: Callable[[], LogStore], tmp_path: Path) -> None:
        """A database restored from a backup is refused when the log is opened."""
        heads = FileHeadStore(tmp_path / "head")
        new_log(disk(), heads)
        disk()
        shutil.copy(tmp_path / "log.sqlite", tmp_path / "backup")
        grow(open_log(disk(), heads), 5)
        disk()
        for leftover in tmp_path.glob("log.sqlite*"):
            leftover.unlink()
        shutil.copy(tmp_path / "backup", tmp_path / "log.sqlite")
        assert refusal(lambda: open_log(disk(), heads)) == Reason.LOG_ROLLBACK

    def test_a_rollback_under_a_running_log(self) -> None:
        """Entries that vanish while the log runs stop both appending and publishing."""
        store = MemoryLogStore()
        log = new_log(store)
        grow(log, 5)
        del store.stored[3:]
        assert refusal(lambda: log.append([change(9)])) == Reason.LOG_ROLLBACK
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_ROLLBACK

    def test_a_forked_store(self) -> None:
        """A store with another history of the same length or longer is refused, and its head is not signed."""
        heads = MemoryHeadStore()
        grow(new_log(MemoryLogStore(), heads), 5)
        signed = heads.note
        other = MemoryLogStore()
        rival = new_log(other, MemoryHeadStore())
        rival.append([change(index) for index in range(100, 108)])
        assert refusal(lambda: open_log(other, heads)) == Reason.LOG_FORK
        assert heads.note == signed

    def test_a_fork_under_a_running_log(self) -> None:
        """A hash that changes below the signed head stops publishing, and the head store keeps the old head."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        grow(log, 6)
        signed = heads.note
        log.append([change(7)])
        store.tiles[0, 0] = store.tiles[0, 0][:64] + b"\xff" * 32 + store.tiles[0, 0][96:]
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK
        assert heads.note == signed

    def test_a_flipped_bit_in_what_is_new(self) -> None:
        """Bytes that changed between hashing and signing are not signed for."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        signed = heads.note
        log.append([change(1), change(2)])
        entry = store.stored[2]
        store.stored[2] = replace(entry, data=entry.data.replace(b"row-2", b"row-3"))
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK
        assert heads.note == signed

    @pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0)])
    def test_a_flipped_bit_in_a_new_hash(self, place: tuple[int, int]) -> None:
        """A stored hash that changed before signing is not signed for, at any level."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        signed = heads.note
        log.append([change(number) for number in range(1, 300)])
        store.tiles[place] = store.tiles[place][:-1] + bytes([store.tiles[place][-1] ^ 1])
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK
        assert heads.note == signed

    def test_a_missing_entry_in_what_is_new(self) -> None:
        """An entry that is gone from among the new ones is not signed for."""
        store = MemoryLogStore()
        log = new_log(store)
        log.append([change(1), change(2), change(3)])
        gap = store.stored
        store.stored = [*gap[:2], replace(gap[3], index=3), gap[3]]
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK

    def test_a_damaged_old_entry_is_not_proved(self) -> None:
        """An old entry whose bytes changed gets no proof, and its neighbours keep theirs."""
        store = MemoryLogStore()
        log = new_log(store)
        grow(log, 4)
        entry = store.stored[2]
        store.stored[2] = replace(entry, data=entry.data.replace(b"row", b"raw"))
        assert refusal(lambda: log.proof(2)) == Reason.LOG_FORK
        assert log.proof(1)
        with pytest.raises((AttestationError, AssertionError)):
            CHECK.log(log)

    def test_a_head_by_another_signer(self) -> None:
        """A second process that signed a rival head is noticed at the swap, and nothing is published."""
        heads = MemoryHeadStore()
        log = new_log(MemoryLogStore(), heads)
        log.append([change(1)])
        before = log.checkpoint()
        heads.note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=2, root=bytes(32)), log_signer())
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK
        assert log.checkpoint() == before

    def test_a_signer_at_the_same_moment(self) -> None:
        """A head that another process swaps in between reading and swapping stays, and ours is not published."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        log.append([change(1)])
        before = log.checkpoint()
        rival = sign_checkpoint(Checkpoint(origin=ORIGIN, size=2, root=bytes(32)), log_signer())

        def read_then_overtaken() -> bytes | None:
            note, heads.note = heads.note, rival
            return note

        heads.load = read_then_overtaken  # type: ignore[method-assign]
        assert refusal(lambda: log.publish(NOW)) == Reason.LOG_FORK
        assert (heads.note, log.checkpoint()) == (rival, before)

    @pytest.mark.parametrize("note", [b"", b"garbage"])
    def test_a_damaged_head_store(self, note: bytes) -> None:
        """A head store that holds no checkpoint of this log stops signing."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        new_log(store, heads)
        heads.note = note
        assert refusal(lambda: open_log(store, heads)) == Reason.LOG_FORK

    def test_a_second_writer(self) -> None:
        """An append that another process has overtaken is refused."""
        store = MemoryLogStore()
        log = new_log(store)

        class Overtaken(MemoryLogStore):
            """Reports the size from before another process appended."""

            @override
            def state(self) -> LogState:
                state = super().state()
                return replace(state, size=state.size - 1)

        late = Overtaken()
        late.stored, late.tiles, late.note = store.stored, store.tiles, store.note
        log.append([change(1)])
        writer = EvidenceLog(
            origin=ORIGIN, signer=log_signer(), store=late, heads=_holding(store.note), inception=False
        )
        assert refusal(lambda: writer.append([change(2)])) == Reason.LOG_FORK


def _holding(note: bytes | None) -> MemoryHeadStore:
    heads = MemoryHeadStore()
    heads.note = note
    return heads


def test_stored_columns_are_those_of_the_entry() -> None:
    """What a store finds entries by is taken from their bytes."""
    store = MemoryLogStore()
    log = new_log(store)
    entry = verdict()
    log.append([entry])
    assert store.stored[1] == StoredEntry(
        index=1,
        kind="attest.verdict",
        subject="57" * 32,
        at="2026-11-21T22:10:05Z",
        data=entry.encoded,
    )
