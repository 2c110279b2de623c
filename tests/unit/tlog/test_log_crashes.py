# SPDX-License-Identifier: Apache-2.0
"""What every crash of the log leaves, and what the check of a whole log finds."""

import pytest

from attestation.errors import AttestationError, Reason
from tests.support.log import (
    NOW,
    MemoryHeadStore,
    MemoryLogStore,
    When,
    WholeLogCheck,
    change,
    genesis,
    grow,
    head_of,
    new_log,
    open_log,
    refusal,
    served_entries,
)

CHECK = WholeLogCheck()


class TestCrashes:
    """Each step fails before and after it took effect; the same process goes on, and a restarted one does."""

    @pytest.mark.parametrize("restart", [False, True])
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("step", ["append", "swap", "publish"])
    def test_every_step(self, step: str, when: When, restart: bool) -> None:
        """After any crash the log goes on, never shows a head it has not kept, and everything verifies."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        old = head_of(grow(log, 6))
        (heads if step == "swap" else store).fail[step] = when
        if step == "append":
            assert refusal(lambda: log.append([change(50), change(51)])) == Reason.STORE_UNAVAILABLE
        else:
            log.append([change(50), change(51)])
            assert refusal(lambda: log.publish(NOW)) == Reason.STORE_UNAVAILABLE
        shown, kept = head_of(log.checkpoint()), head_of(heads.load() or b"")
        assert shown.size <= kept.size
        if restart:
            log = open_log(store, heads)
        log.append([change(60)])
        assert head_of(log.publish(NOW)).size == log.size()
        CHECK.log(log)
        CHECK.continues(old, served_entries(log))
        CHECK.continues(kept, served_entries(log))

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_an_unanswered_append(self, when: When) -> None:
        """After a failed append the log's size tells whether the entries are there."""
        store = MemoryLogStore()
        log = new_log(store)
        store.fail["append"] = when
        assert refusal(lambda: log.append([change(1)])) == Reason.STORE_UNAVAILABLE
        assert log.size() == (1 if when == "before" else 2)

    def test_signed_but_not_shown(self) -> None:
        """A head kept but not shown is shown, byte for byte, by the next process that publishes."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = new_log(store, heads)
        log.append([change(1)])
        store.fail["publish"] = "before"
        assert refusal(lambda: log.publish(NOW)) == Reason.STORE_UNAVAILABLE
        assert head_of(log.checkpoint()).size == 1
        assert open_log(store, heads).publish(NOW) == heads.note == store.note

    def test_the_first_head_of_all(self) -> None:
        """A crash between the first append and the first head is repaired while inception is still set."""
        store, heads = MemoryLogStore(), MemoryHeadStore()
        log = open_log(store, heads, inception=True)
        log.append([genesis()])
        heads.fail["swap"] = "before"
        assert refusal(lambda: log.publish(NOW)) == Reason.STORE_UNAVAILABLE
        assert refusal(lambda: open_log(store, heads)) == Reason.LOG_ROLLBACK
        again = open_log(store, heads, inception=True)
        again.publish(NOW)
        assert CHECK.log(again).size == 1


class TestWholeLogCheck:
    """The check that other tests rely on finds what it should."""

    def test_a_flipped_byte(self) -> None:
        """One changed byte in any entry is found."""
        log = new_log()
        grow(log, 4)
        entries, note = served_entries(log), log.checkpoint()
        CHECK.data(entries, note)
        for index, entry in enumerate(entries):
            damaged = entry.replace(b"2026", b"2025", 1)
            with pytest.raises((AttestationError, AssertionError)):
                CHECK.data([*entries[:index], damaged, *entries[index + 1 :]], note)

    def test_a_missing_or_moved_entry(self) -> None:
        """A dropped, doubled or moved entry is found."""
        log = new_log()
        grow(log, 4)
        entries, note = served_entries(log), log.checkpoint()
        a, b, c, d = entries
        for other in ([a, b, c], [a, b, c, d, d], [a, c, b, d], [b, a, c, d]):
            with pytest.raises((AttestationError, AssertionError)):
                CHECK.data(other, note)

    def test_a_rewritten_history(self) -> None:
        """A longer log that changed an old entry does not continue the old head."""
        old = head_of(grow(new_log(), 3))
        other = new_log()
        other.append([change(70), change(71), change(72)])
        other.publish(NOW)
        with pytest.raises(AssertionError):
            CHECK.continues(old, served_entries(other))
