# SPDX-License-Identifier: Apache-2.0
"""The sequencer apart from what it logs: groups, entries of other processes, witnesses, steps, the end of a log."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from typing_extensions import override

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.evidence_log import EvidenceLog, new_entry
from attestation.tlog.groups import GROUP
from attestation.tlog.sequencer import Drained
from attestation.tlog.store import LogError, NewEntry, Step, StoredTile
from tests.support.log import (
    NOW,
    ORIGIN,
    MemoryHeadStore,
    MemoryLogStore,
    WholeLogCheck,
    change,
    genesis,
    head_of,
    log_signer,
    new_log,
    open_log,
    refusal,
    served_entries,
)

CHECK = WholeLogCheck()
LATER = NOW + timedelta(days=2192)


class SlowStore(MemoryLogStore):
    """Counts appends, and holds the first one up until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.go = threading.Event()
        self.reached = threading.Event()

    @override
    def append(
        self,
        *,
        expected_size: int,
        entries: Sequence[NewEntry],
        tiles: Sequence[StoredTile],
        pending: Sequence[int] = (),
    ) -> None:
        self.groups.append(len(entries))
        if len(self.groups) == 2:
            self.reached.set()
            self.go.wait()
        super().append(expected_size=expected_size, entries=entries, tiles=tiles, pending=pending)


def waiting_appends(log: EvidenceLog, store: SlowStore, batches: Sequence[Sequence[int]]) -> list[range | Reason]:
    """What each batch gets when all of them wait for a slow append before them."""

    def append(batch: Sequence[int]) -> range | Reason:
        try:
            return log.append([genesis() if number < 0 else change(number) for number in batch])
        except (LogError, MalformedEvidence) as error:
            return error.reason

    with ThreadPoolExecutor(len(batches) + 1) as pool:
        first = pool.submit(log.append, [change(0)])
        store.reached.wait()
        rest = [pool.submit(append, batch) for batch in batches]
        while len(log.sequencer._groups) < len(batches):
            pass
        store.go.set()
        first.result()
        return [each.result() for each in rest]


class TestGroups:
    def test_appends_that_wait_are_committed_together(self) -> None:
        """Ten threads that wait for a slow commit share the next one, and each gets indices of its own."""
        store = SlowStore()
        log = new_log(store)
        outcomes = waiting_appends(log, store, [[10 * n, 10 * n + 1] for n in range(1, 11)])
        assert store.groups == [1, 1, 20]
        indices = [index for outcome in outcomes if isinstance(outcome, range) for index in outcome]
        assert sorted(indices) == list(range(2, 22))
        log.publish(NOW)
        assert CHECK.log(log).size == 22

    def test_a_group_has_a_limit(self) -> None:
        """No transaction gathers more than 256 entries from several callers."""
        store = SlowStore()
        log = new_log(store)
        waiting_appends(log, store, [list(range(100 * n, 100 * n + 100)) for n in range(1, 6)])
        assert store.groups == [1, 1, 200, 200, 100]
        assert max(store.groups) <= GROUP

    def test_a_refused_entry_harms_no_other(self) -> None:
        """A batch that the format refuses is refused alone; the others of its group are logged without a gap."""
        store = SlowStore()
        log = new_log(store)
        outcomes = waiting_appends(log, store, [[1], [-1], [2, 3]])
        assert outcomes[1] == Reason.ENTRY_INVALID
        assert sorted(index for outcome in (outcomes[0], outcomes[2]) for index in outcome) == [2, 3, 4]
        log.publish(NOW)
        CHECK.log(log)

    def test_a_failed_group_fails_for_all(self) -> None:
        """When storage fails, every caller of the group hears of it, and none waits for ever."""
        store = SlowStore()
        log = new_log(store)
        store.go.set()
        store.fail["append"] = "before"
        assert refusal(lambda: log.append([change(1)])) == Reason.STORE_UNAVAILABLE
        assert log.append([change(2)]) == range(1, 2)

    def test_an_append_can_wait_for_company(self) -> None:
        """With a time to gather, appends of several threads share a transaction though none was under way."""
        store = SlowStore()
        store.go.set()
        new_log(store)
        log = EvidenceLog(
            origin=ORIGIN, signer=log_signer(), store=store, heads=_holding(store.note), gather_seconds=2.0
        )
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(log.append, [[change(n) for n in range(100)], [change(n) for n in range(200, 356)]]))
        assert store.groups == [1, 256], "256 entries end the wait"


class TestHandedIn:
    def test_each_is_logged_once(self) -> None:
        """What other processes handed in is logged in order, and none of it twice."""
        memory = MemoryLogStore()
        log = new_log(memory)
        handed = [change(number) for number in range(600)]
        for number, entry in enumerate(handed):
            memory.submit(number.to_bytes(16, "big"), new_entry(entry))
        assert log.sequencer.drain() == Drained(logged=600, refused=0)
        assert log.sequencer.drain() == Drained(logged=0, refused=0)
        assert served_entries(log)[1:] == [entry.encoded for entry in handed]
        log.publish(NOW)
        CHECK.log(log, proofs=False)

    def test_what_is_no_entry_is_dropped(self) -> None:
        """Bytes that this log does not take stop nobody else's entry, and are counted."""
        memory = MemoryLogStore()
        log = new_log(memory)
        for number, data in enumerate((b"{}", change(1).encoded, genesis().encoded, change(2).encoded)):
            memory.submit(number.to_bytes(16, "big"), NewEntry(data=data, subject="not what it is about"))
        assert log.sequencer.drain() == Drained(logged=2, refused=2)
        assert list(memory.pending(9)) == []
        assert [entry.subject for entry in log.entries(1)] == ["settings.change", "settings.change"]

    def test_a_failed_drain_loses_nothing(self) -> None:
        """What could not be logged is handed in still."""
        memory = MemoryLogStore()
        log = new_log(memory)
        memory.submit(bytes(16), new_entry(change(1)))
        memory.fail["append"] = "before"
        assert refusal(log.sequencer.drain) == Reason.STORE_UNAVAILABLE
        assert log.sequencer.drain() == Drained(logged=1, refused=0)


class Witnesses:
    """Cosigns after it has checked what a witness checks, or refuses."""

    def __init__(self) -> None:
        self.size = 1
        self.root = b""
        self.asked: list[int] = []
        self.answer = True

    def cosign(self, note: bytes, head: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> bytes:
        """The note with a line of ours."""
        if self.root:
            merkle.verify_consistency(self.size, self.root, head.size, head.root, prove(self.size))
        self.size, self.root = head.size, head.root
        self.asked.append(head.size)
        if not self.answer:
            raise LogError(Reason.STORE_UNAVAILABLE, "too few witnesses answer")
        line = b"\xe2\x80\x94 witness.example AAAAAAAA%s\n" % (b"A" * 88)
        return note if line in note else note + line


class TestWitnesses:
    def test_the_cosigned_note_is_shown(self) -> None:
        """Readers get the witnesses' lines; the head store keeps what the log itself signed."""
        store, heads, witnesses = MemoryLogStore(), MemoryHeadStore(), Witnesses()
        log = _with(store, heads, witnesses)
        log.append([genesis()])
        note = log.publish(NOW)
        assert b"witness.example" in note
        assert (log.checkpoint(), heads.note) == (note, note[: len(heads.note or b"")])
        log.append([change(1), change(2)])
        log.publish(NOW)
        log.publish(NOW)
        assert witnesses.asked == [1, 3, 3], "they are asked for an old head too, so that it stays fresh"

    def test_nothing_is_shown_without_them(self) -> None:
        """While too few answer, readers keep the checkpoint before; the head is kept, and shown once they do."""
        store, heads, witnesses = MemoryLogStore(), MemoryHeadStore(), Witnesses()
        log = _with(store, heads, witnesses)
        log.append([genesis()])
        before = log.publish(NOW)
        log.append([change(1)])
        witnesses.answer = False
        assert refusal(lambda: log.publish(NOW)) == Reason.STORE_UNAVAILABLE
        assert log.checkpoint() == before
        assert head_of(heads.note).size == 2
        witnesses.answer = True
        assert head_of(log.publish(NOW)).size == 2

    def test_a_slow_witness_delays_no_append(self) -> None:
        """While witnesses are asked, entries are logged; what came meanwhile is under the next checkpoint."""
        store, heads, witnesses = MemoryLogStore(), MemoryHeadStore(), Witnesses()
        log = _with(store, heads, witnesses)
        log.append([genesis()])
        cosign = witnesses.cosign

        def meanwhile(note: bytes, head: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> bytes:
            with ThreadPoolExecutor(1) as another:
                another.submit(log.append, [change(log.size())]).result()
            return cosign(note, head, prove)

        witnesses.cosign = meanwhile  # type: ignore[method-assign]
        assert [head_of(log.publish(NOW)).size, head_of(log.publish(NOW)).size] == [1, 2]
        assert (head_of(log.checkpoint()).size, log.size()) == (2, 3)

    def test_what_comes_while_a_log_ends_is_under_its_end(self) -> None:
        """An entry logged while witnesses are asked for the final checkpoint gets a final checkpoint that covers it."""
        store, heads, witnesses = MemoryLogStore(), MemoryHeadStore(), Witnesses()
        log = _with(store, heads, witnesses)
        log.append([genesis()])
        cosign, late = witnesses.cosign, [change(1), change(2)]

        def meanwhile(note: bytes, head: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> bytes:
            if late:
                log.append([late.pop()])
            return cosign(note, head, prove)

        witnesses.cosign = meanwhile  # type: ignore[method-assign]
        assert head_of(log.sequencer.freeze(NOW, LATER)).size == store.state().size == 3


class TestSteps:
    def test_they_come_in_order(self) -> None:
        """A publication goes through its steps in its order, the head kept before it is shown."""
        seen: list[Step] = []
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = EvidenceLog(
            origin=ORIGIN, signer=log_signer(), store=store, heads=heads, inception=True, step=seen.append
        )
        log.append([genesis()])
        log.publish(NOW)
        order = [step for step in Step if step in seen]
        assert seen == order == [Step.HASHED_AGAIN, Step.SIGNED, Step.HEAD_KEPT, Step.COSIGNED, Step.SHOWN]


class TestEnd:
    def test_a_frozen_log_is_read_and_not_written(self) -> None:
        """The final checkpoint covers everything, proofs go on, appends and what is handed in are refused."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        log.append([change(1), change(2)])
        final = log.sequencer.freeze(NOW, LATER)
        assert head_of(final).size == 3
        CHECK.log(log)
        for again in (log, open_log(store, heads)):
            assert refusal(lambda log=again: log.append([change(3)])) == Reason.LOG_FROZEN  # type: ignore[misc]
            assert again.publish(NOW) == final
        assert refusal(lambda: store.submit(bytes(16), new_entry(change(3)))) == Reason.LOG_FROZEN

    def test_what_is_handed_in_comes_before_the_end(self) -> None:
        """A log with entries pending is not frozen; drained, it is."""
        store = MemoryLogStore()
        log = new_log(store)
        store.submit(bytes(16), new_entry(change(1)))
        assert refusal(lambda: log.sequencer.freeze(NOW, LATER)) == Reason.LOG_ROLLBACK
        log.sequencer.drain()
        assert head_of(log.sequencer.freeze(NOW, LATER)).size == 2

    def test_a_deleted_log_shows_its_end(self) -> None:
        """After deletion the final checkpoint stays, no proof is made, and no sequencer begins the log anew."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        log.append([change(1)])
        final = log.sequencer.freeze(NOW, LATER)
        store.delete(LATER)
        assert log.checkpoint() == final
        assert refusal(lambda: log.proof(1)) == Reason.NOT_FOUND
        for inception in (False, True):
            assert refusal(lambda i=inception: open_log(store, heads, inception=i)) == Reason.LOG_FROZEN  # type: ignore[misc]


def _with(store: MemoryLogStore, heads: MemoryHeadStore, witnesses: Witnesses) -> EvidenceLog:
    return EvidenceLog(origin=ORIGIN, signer=log_signer(), store=store, heads=heads, inception=True, cosigner=witnesses)


def _holding(note: bytes | None) -> MemoryHeadStore:
    heads = MemoryHeadStore()
    heads.note = note
    return heads
