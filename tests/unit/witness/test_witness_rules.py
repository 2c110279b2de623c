# SPDX-License-Identifier: Apache-2.0
"""What a witness cosigns and what it refuses, and with which status (C2SP tlog-witness)."""

import pytest

from attestation.tlog.add_checkpoint import AddCheckpoint
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.cosignature import cosigned_at
from attestation.tlog.note import sign_note
from attestation.witness.store import head_of
from attestation.witness.verdict import Outcome
from attestation.witness.witness import WitnessedLog
from tests.support.log import NOW, ORIGIN, log_signer
from tests.support.witnessing import (
    Hands,
    Leaves,
    MemoryWitnessStore,
    cosigned,
    lattice_signer,
    new_witness,
    witness_signer,
)

LOG = Leaves()
SIZES = (1, 2, 5, 255, 256, 257)


@pytest.mark.parametrize("old", [0, *SIZES])
@pytest.mark.parametrize("size", SIZES)
def test_a_head_that_continues_the_last_one_is_cosigned(old: int, size: int) -> None:
    """Whatever the sizes, a head with a proof from the last one is cosigned with the time of now, and kept."""
    if old > size:
        return
    store = MemoryWitnessStore()
    witness = new_witness(store)
    answered = cosigned(witness, LOG, *([old] if old else []), size)
    assert answered.outcome is Outcome.COSIGNED
    (line,) = answered.lines
    witness_signer().verifier.verify(LOG.head(size).text, line)
    assert cosigned_at(line) == int(NOW.timestamp())
    kept = store.notes[ORIGIN]
    assert head_of(kept) == LOG.head(size)
    assert kept == LOG.note(size) + line.text.encode()


def test_the_same_head_is_cosigned_again_with_a_newer_time() -> None:
    """Readers judge freshness by the time of the cosignature, so a quiet log can have it renewed."""
    clock = Hands()
    witness = new_witness(clock=clock)
    cosigned(witness, LOG, 7)
    clock.forward(90)
    answered = witness.add_checkpoint(LOG.request(7, 7))
    assert [cosigned_at(line) for line in answered.lines] == [int(NOW.timestamp()) + 90]


def test_both_kinds_of_cosignature_are_made() -> None:
    """A witness with an Ed25519 and an ML-DSA-44 key answers with a line of each."""
    signers = (witness_signer(), lattice_signer())
    answered = cosigned(new_witness(signers=signers), LOG, 3)
    for signer, line in zip(signers, answered.lines, strict=True):
        signer.verifier.verify(LOG.head(3).text, line)


def _other_size_root() -> bytes:
    return AddCheckpoint(old=9, proof=(), note=Leaves(world="two").note(9)).encode()


def _with_proof(old: int, size: int, proof: tuple[bytes, ...]) -> bytes:
    return AddCheckpoint(old=old, proof=proof, note=LOG.note(size)).encode()


def _empty_with_root() -> bytes:
    head = Checkpoint(origin=ORIGIN, size=0, root=b"\x01" * 32)
    return AddCheckpoint(old=0, proof=(), note=sign_checkpoint(head, log_signer())).encode()


REFUSED: dict[str, tuple[int, bytes, Outcome, int]] = {
    "no such log": (0, Leaves(signer=log_signer("other.example/log")).request(0, 3), Outcome.UNKNOWN_LOG, 404),
    "not signed by the log": (0, Leaves(signer=log_signer(seed=9)).request(0, 3), Outcome.UNSIGNED, 403),
    "a signature that is none": (
        0,
        LOG.request(0, 3).replace(b"log.example/evidence\n3\n", b"log.example/evidence\n4\n"),
        Outcome.UNSIGNED,
        403,
    ),
    "old above new": (9, LOG.request(0, 3).replace(b"old 0", b"old 9"), Outcome.OLD_TOO_LARGE, 400),
    "never seen, said to be": (0, LOG.request(2, 3), Outcome.CONFLICT, 409),
    "said to be smaller": (9, LOG.request(4, 12), Outcome.CONFLICT, 409),
    "said to be new": (9, LOG.request(0, 12), Outcome.CONFLICT, 409),
    "said to be larger": (9, LOG.request(11, 12), Outcome.CONFLICT, 409),
    "a smaller log": (9, LOG.request(3, 3), Outcome.CONFLICT, 409),
    "an empty tree with a root": (0, _empty_with_root(), Outcome.EMPTY_ROOT, 422),
    "a proof from nothing": (0, _with_proof(0, 3, (b"\x00" * 32,)), Outcome.INCONSISTENT, 422),
    "no proof": (9, _with_proof(9, 12, ()), Outcome.INCONSISTENT, 422),
    "a wrong proof": (9, _with_proof(9, 12, LOG.proof(8, 12)), Outcome.INCONSISTENT, 422),
    "a proof too long": (9, _with_proof(9, 12, (*LOG.proof(9, 12), b"\x00" * 32)), Outcome.INCONSISTENT, 422),
    "a proof of nothing new": (9, _with_proof(9, 9, (b"\x00" * 32,)), Outcome.INCONSISTENT, 422),
    "another history, longer": (9, Leaves(world="two").request(9, 12), Outcome.INCONSISTENT, 422),
    "another history, same size": (9, _other_size_root(), Outcome.FORKED, 422),
    "no request": (0, b"", Outcome.MALFORMED, 400),
    "no note": (0, b"old 0\n\nnothing signed\n", Outcome.MALFORMED, 400),
    "no checkpoint": (0, b"old 0\n\n" + sign_note(f"{ORIGIN}\nmany\n", [log_signer()]), Outcome.MALFORMED, 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_its_status_and_leaves_no_trace(name: str) -> None:
    """Each refusal has the status C2SP gives it, names the size cosigned last, and changes nothing that is kept."""
    known, request, outcome, status = REFUSED[name]
    store = MemoryWitnessStore()
    witness = new_witness(store)
    if known:
        cosigned(witness, LOG, known)
    before = dict(store.notes)
    answered = witness.add_checkpoint(request)
    assert (answered.outcome, answered.outcome.status) == (outcome, status)
    assert answered.lines == ()
    assert store.notes == before
    if outcome is Outcome.CONFLICT:
        assert answered.size == known


def test_a_log_may_begin_empty() -> None:
    """The empty tree is a head like others: cosigned, and continued by any without proof."""
    witness = new_witness()
    assert cosigned(witness, LOG, 0).outcome is Outcome.COSIGNED
    assert cosigned(witness, LOG, 4).outcome is Outcome.COSIGNED


def test_extension_lines_are_cosigned_as_they_stand() -> None:
    """Other logs have extension lines; the cosignature covers them and the note is kept with them."""
    store = MemoryWitnessStore()
    text = LOG.head(3).text + "an extension\n"
    request = AddCheckpoint(old=0, proof=(), note=sign_note(text, [log_signer()])).encode()
    answered = new_witness(store).add_checkpoint(request)
    assert answered.outcome is Outcome.COSIGNED
    witness_signer().verifier.verify(text, answered.lines[0])
    assert head_of(store.notes[ORIGIN]).size == 3


def test_any_key_of_a_log_signs() -> None:
    """A log with several keys, as while one replaces another, is known by each."""
    keys = (log_signer(seed=8).verifier, log_signer(seed=9).verifier)
    witness = new_witness(logs=[WitnessedLog(origin=ORIGIN, keys=keys, per_day=100)])
    assert cosigned(witness, Leaves(signer=log_signer(seed=8)), 2).outcome is Outcome.COSIGNED
    newer = Leaves(signer=log_signer(seed=9))
    assert witness.add_checkpoint(newer.request(2, 3)).outcome is Outcome.COSIGNED
    assert witness.add_checkpoint(LOG.request(3, 4)).outcome is Outcome.UNSIGNED


def test_logs_do_not_share_their_memory() -> None:
    """One log's size says nothing about another's."""
    other = log_signer("other.example/log")
    logs = [WitnessedLog(origin=key.name, keys=(key.verifier,), per_day=100) for key in (log_signer(), other)]
    witness = new_witness(logs=logs)
    assert cosigned(witness, LOG, 9).outcome is Outcome.COSIGNED
    assert cosigned(witness, Leaves(signer=other), 2).outcome is Outcome.COSIGNED


def test_only_signed_heads_use_up_the_quota() -> None:
    """A log's quota is taken by heads it signed, and by nobody else; with time it fills again."""
    clock = Hands()
    witness = new_witness(clock=clock, per_day=24)
    for _ in range(50):
        witness.add_checkpoint(Leaves(signer=log_signer(seed=9)).request(0, 3))
    outcomes = [witness.add_checkpoint(LOG.request(0 if place == 0 else 3, 3)).outcome for place in range(11)]
    assert outcomes == [Outcome.COSIGNED] * 10 + [Outcome.LIMITED]
    clock.forward(3600)
    assert witness.add_checkpoint(LOG.request(3, 3)).outcome is Outcome.COSIGNED


def test_a_clock_that_fell_back_stops_cosigning() -> None:
    """A later statement with an earlier time would contradict the first; a few seconds are bridged by its time."""
    clock = Hands()
    witness = new_witness(clock=clock)
    cosigned(witness, LOG, 4)
    clock.forward(-3)
    answered = witness.add_checkpoint(LOG.request(4, 5))
    assert [cosigned_at(line) for line in answered.lines] == [int(NOW.timestamp())]
    clock.forward(-60)
    assert witness.add_checkpoint(LOG.request(5, 6)).outcome is Outcome.CLOCK
    clock.forward(120)
    assert witness.add_checkpoint(LOG.request(5, 6)).outcome is Outcome.COSIGNED


def test_a_witness_that_meets_its_own_signature_of_a_longer_log_has_forgotten_and_stops() -> None:
    """Restored from a backup, a witness knows by its own line that it has signed more: it cosigns nothing further."""
    ours = cosigned(new_witness(), LOG, 9).lines[0]
    store = MemoryWitnessStore()
    restored = new_witness(store)
    cosigned(restored, LOG, 4)
    note = LOG.note(9) + ours.text.encode()
    request = AddCheckpoint(old=4, proof=LOG.proof(4, 9), note=note).encode()
    answered = restored.add_checkpoint(request)
    assert (answered.outcome, answered.outcome.status) == (Outcome.ROLLED_BACK, 503)
    assert restored.add_checkpoint(LOG.request(4, 6)).outcome is Outcome.ROLLED_BACK
    assert head_of(store.notes[ORIGIN]).size == 4


def test_its_own_signature_of_what_it_knows_stops_nothing() -> None:
    """A log that sends back a cosignature of the head that is known, or a forged one, is answered as any other."""
    witness = new_witness()
    ours = cosigned(witness, LOG, 9).lines[0]
    again = AddCheckpoint(old=9, proof=(), note=LOG.note(9) + ours.text.encode()).encode()
    assert witness.add_checkpoint(again).outcome is Outcome.COSIGNED
    forged = AddCheckpoint(old=9, proof=LOG.proof(9, 12), note=LOG.note(12) + ours.text.encode()).encode()
    assert witness.add_checkpoint(forged).outcome is Outcome.COSIGNED


def test_a_failing_store_lets_no_cosignature_out() -> None:
    """What cannot be kept is not signed to anybody."""
    store = MemoryWitnessStore()
    witness = new_witness(store)
    store.failing = True
    answered = cosigned(witness, LOG, 4)
    assert (answered.outcome, answered.lines) == (Outcome.UNAVAILABLE, ())


def test_the_size_of_a_proof_from_zero_is_not_believed() -> None:
    """Consistency from the empty tree proves nothing, so a witness that knows something never starts over."""
    witness = new_witness()
    cosigned(witness, LOG, 9)
    assert witness.add_checkpoint(Leaves(world="two").request(0, 12)).outcome is Outcome.CONFLICT
