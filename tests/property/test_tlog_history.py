# SPDX-License-Identifier: Apache-2.0
"""Logs through any history of appends, publications, failures and restarts."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import Reason
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.store import LogError
from tests.support.log import (
    NOW,
    ORIGIN,
    MemoryHeadStore,
    MemoryLogStore,
    WholeLogCheck,
    change,
    log_signer,
    new_log,
    open_log,
    served_entries,
)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 9)),
        st.tuples(st.just("publish"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.sampled_from(["fail append", "fail swap", "fail publish"]), st.integers(0, 1)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(history=steps)
def test_every_head_ever_kept_stays_true(history: list[tuple[str, int]]) -> None:
    """Every head ever signed is of a prefix of the final log, which verifies as a whole; failures are storage ones."""
    store, heads = MemoryLogStore(), MemoryHeadStore()
    log = new_log(store, heads)
    kept: list[Checkpoint] = []
    for step, number in history:
        if step.startswith("fail "):
            operation = step.removeprefix("fail ")
            (heads if operation == "swap" else store).fail[operation] = "after" if number else "before"
        elif step == "restart":
            log = open_log(store, heads)
        else:
            with contextlib.suppress(LogError):
                if step == "append":
                    log.append([change(log.size() + extra) for extra in range(number)])
                else:
                    log.publish(NOW)
        kept.append(_head(heads.load()))
        assert _head(log.checkpoint()).size <= kept[-1].size, "nothing is shown that was not kept"
    store.fail.clear()
    heads.fail.clear()
    log.publish(NOW)
    check = WholeLogCheck()
    check.log(log)
    for old in kept:
        check.continues(old, served_entries(log))


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 40), lost=st.integers(1, 39))
def test_no_shorter_store_is_signed_for(size: int, lost: int) -> None:
    """However many entries are lost below the signed head, the log refuses to open."""
    store, heads = MemoryLogStore(), MemoryHeadStore()
    log = new_log(store, heads)
    log.append([change(number) for number in range(1, size)])
    log.publish(NOW)
    del store.stored[max(1, size - lost) :]
    with pytest.raises(LogError) as caught:
        open_log(store, heads)
    assert caught.value.reason == Reason.LOG_ROLLBACK


def _head(note: bytes | None) -> Checkpoint:
    assert note is not None
    return open_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=NO_WITNESSES)
