# SPDX-License-Identifier: Apache-2.0
"""Rulings on clones, checks at each seal, suites, padding and streams that fail over."""

import copy
import hashlib
import os
import pickle

import pytest

from attestation.binding import SuiteID
from attestation.errors import NotAcceptable, Reason, SealingError, Stale
from attestation.sealing import schedule
from attestation.sealing.header import Method
from attestation.sealing.session import Role, SenderSession, SessionInfo
from attestation.sealing.stream import PrefixCheck
from attestation.sealing.suite import seal
from tests.support.sealing import (
    BOTH_SUITES,
    NOW,
    FixedEntropy,
    GatewaySide,
    RecordingGuard,
    WorkerSide,
    attested,
    reason_of,
)

# ---- 10: a clone of a sender -----------------------------------------------------------------------------------------


def test_ruling_10_a_session_ends_at_fork(worker: WorkerSide) -> None:
    """A child process that inherited a session cannot use its counters."""
    pid = 100
    key = attested(worker.keyset, SuiteID.X25519)
    session = SenderSession(
        key, role=Role.GATEWAY, max_requests=8, guard=RecordingGuard(), entropy=os.urandom, now=NOW, pid=lambda: pid
    )
    request = GatewaySide(worker).seal()
    session.wrap(request, now=NOW)
    pid = 101
    with pytest.raises(SealingError) as raised:
        session.wrap(request, now=NOW)
    assert reason_of(raised) is Reason.SESSION_CLOSED


def test_ruling_10_a_clone_with_the_same_counter_repeats_no_key(worker: WorkerSide) -> None:
    """Two senders with one secret and one counter still derive different keys, from the header's fresh bytes."""
    gateway = GatewaySide(worker, entropy=FixedEntropy("the same after a snapshot"))
    prk = gateway.session._prk
    one, two = gateway.seal(), gateway.seal()
    assert one.header.salt != two.header.salt
    assert schedule.wrap_key(prk, 1, one.header_sha256) != schedule.wrap_key(prk, 1, two.header_sha256)


def test_ruling_10_a_session_is_neither_copied_nor_pickled(gateway: GatewaySide) -> None:
    """A copied session would hand out each counter twice."""
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(gateway.session)


# ---- 14, 15: the sender's checks at each seal ------------------------------------------------------------------------


def test_ruling_14_the_guard_is_asked_at_every_seal(gateway: GatewaySide) -> None:
    """Expiry, revocation and policy are re-checked at each wrap, not only when the session was made."""
    asked = gateway.guard.asked
    gateway.send()
    gateway.send()
    assert gateway.guard.asked == asked + 2


def test_ruling_14_a_key_past_its_lease_is_not_sealed_to(gateway: GatewaySide) -> None:
    """A session made under a lease ends with it, whatever the guard says."""
    with pytest.raises(Stale) as raised:
        gateway.session.wrap(gateway.seal(), now=gateway.session.key.expires)
    assert raised.value.reason is Reason.LEASE_EXPIRED


def test_ruling_14_a_request_for_another_policy_is_not_sealed(gateway: GatewaySide) -> None:
    """The key was accepted under one policy; the sealed header names that one."""
    with pytest.raises(NotAcceptable) as raised:
        gateway.send(gateway.seal(policy_sha256=b"q" * 32))
    assert raised.value.reason is Reason.POLICY_MISMATCH


def test_ruling_15_revocation_closes_the_session_at_once(gateway: GatewaySide) -> None:
    """After a revocation the session stays closed even if the guard should relent."""
    gateway.guard.refusal = Stale(Reason.REVOKED, "keyset is revoked")
    with pytest.raises(Stale):
        gateway.send()
    gateway.guard.refusal = None
    with pytest.raises(SealingError) as raised:
        gateway.send()
    assert reason_of(raised) is Reason.SESSION_CLOSED


def test_ruling_15_stale_revocation_state_stops_sealing_and_heals(gateway: GatewaySide) -> None:
    """Without a recent heartbeat nothing is sealed, and the session serves again when one arrives."""
    gateway.guard.refusal = Stale(Reason.REVOCATION_STALE, "heartbeat is 61 s old, want at most 60 s")
    with pytest.raises(Stale):
        gateway.send()
    gateway.guard.refusal = None
    assert gateway.open(gateway.send()).request.complete


def test_ruling_15_no_session_is_made_with_a_refused_key(worker: WorkerSide) -> None:
    """The first seal is the one of the session's secret."""
    guard = RecordingGuard(refusal=Stale(Reason.REVOKED, "keyset is revoked"))
    with pytest.raises(Stale):
        GatewaySide(worker, guard=guard)


# ---- 21: suites ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", BOTH_SUITES)
def test_ruling_21_the_info_names_suite_and_key(suite: SuiteID) -> None:
    """What the key encapsulation authenticates says which key and which suite it is for."""
    gateway = GatewaySide(WorkerSide(*BOTH_SUITES), suite=suite)
    info, _ = gateway.session.establishment or (b"", b"")
    parsed = SessionInfo.decode(info)
    assert (parsed.suite, parsed.key_id) == (suite, gateway.worker.keyset.key_id(suite))
    assert gateway.open(gateway.send()).request.plaintext() == b"question"


def test_ruling_21_a_suite_that_is_not_the_keys_is_refused() -> None:
    """A session that names a key with another suite's number does not reach the private key."""
    worker = WorkerSide(*BOTH_SUITES)
    keyset = worker.keyset
    info = SessionInfo(
        suite=SuiteID.X25519,
        key_id=keyset.key_id(SuiteID.MLKEM768_X25519),
        role=Role.SEALED_CLIENT,
        tag=bytes(16),
        max_requests=1,
    ).encode()
    ct = seal(SuiteID.X25519, keyset.public_key(SuiteID.X25519) or b"", info, bytes(32))
    gateway = GatewaySide(worker)
    with pytest.raises(SealingError, match="suite"):
        worker.generation.accept(info, ct, transport=gateway.transport, now=NOW)


# ---- 22: padding -----------------------------------------------------------------------------------------------------


def test_ruling_22_short_messages_of_any_length_look_alike(gateway: GatewaySide) -> None:
    """Up to 507 bytes a request is one frame of 512, an answer two."""
    assert {len(frame) for size in (0, 1, 5, 507) for frame in gateway.seal(bytes(size)).frames} == {528}
    lengths = set()
    for size in (0, 5, 507):
        sent = gateway.send()
        lengths.add(tuple(len(frame) for frame in gateway.worker.answer(gateway.open(sent), bytes(size))))
    assert lengths == {(528, 528)}


def test_ruling_22_stream_frames_are_all_of_one_length(gateway: GatewaySide) -> None:
    """A token's length does not show, nor an empty interval, nor an error, nor the end."""
    opened = gateway.open(gateway.send(gateway.seal(method=Method.STREAM)))
    response = opened.response
    frames = [*response.chunk(b""), *response.chunk(b"a", 1), *response.chunk(b"word" * 300, 1)]
    frames.append(response.error("ENGINE_FAILED", "é" * 1000))
    assert {len(frame) for frame in frames} == {528}
    assert len(frames) == 6


def test_ruling_22_nothing_but_the_model_and_the_limits_is_in_the_clear(gateway: GatewaySide) -> None:
    """Neither header nor dispatch holds a byte of the payload, its names or its exact length."""
    marker = os.urandom(64)
    sent = gateway.send(gateway.seal(marker))
    clear = sent.call.header + sent.call.dispatch + sent.call.info + sent.call.ct + b"".join(sent.request.frames)
    assert marker not in clear
    assert not any(marker[i : i + 8] in clear for i in range(56))


# ---- 23: streams that fail over --------------------------------------------------------------------------------------


def streamed(gateway: GatewaySide, output: list[bytes]) -> list[bytes]:
    """The output as the sender gets it, chunk by chunk."""
    sent = gateway.send(gateway.seal(method=Method.STREAM))
    opened = gateway.open(sent)
    return [sent.wrapped.opener.feed(frame, False).data for part in output for frame in opened.response.chunk(part, 1)]


def test_ruling_23_a_second_worker_continues_where_the_first_stopped() -> None:
    """What the second repeats is dropped only as far as it is the same, wherever its frames are cut."""
    one, two = GatewaySide(WorkerSide()), GatewaySide(WorkerSide())
    first = b"".join(streamed(one, [b"the quick ", b"brown "]))
    check = PrefixCheck(length=len(first), sha256_of_prefix=hashlib.sha256(first).digest())
    rest = b"".join(check.feed(part) for part in streamed(two, [b"the ", b"quick brown f", b"ox"]))
    assert first + rest == b"the quick brown fox"
    assert check.passed


def test_ruling_23_a_second_worker_that_differs_is_stopped() -> None:
    """One differing byte in the prefix ends the stream, and it stays ended."""
    check = PrefixCheck(length=5, sha256_of_prefix=hashlib.sha256(b"the q").digest())
    assert check.feed(b"the") == b""
    with pytest.raises(SealingError) as raised:
        check.feed(b" Quick")
    assert reason_of(raised) is Reason.STREAM_DIVERGED
    with pytest.raises(SealingError):
        check.feed(b"more")
