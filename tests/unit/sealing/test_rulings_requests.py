# SPDX-License-Identifier: Apache-2.0
"""Rulings on several recipients, dispatch, commitments and receipt halves."""

import dataclasses
import hmac
import os

import pytest

from attestation.errors import Reason, SealingError, Tampered
from attestation.sealing import schedule
from tests.support.sealing import (
    NOW,
    OFFER,
    GatewaySide,
    WorkerSide,
    reason_of,
    receive,
)

# ---- 3: several recipients -------------------------------------------------------------------------------------------


def two_workers() -> tuple[GatewaySide, GatewaySide]:
    """Two workers, each with its own gateway transport, under one entropy."""
    return GatewaySide(WorkerSide()), GatewaySide(WorkerSide())


def test_ruling_03_one_request_wrapped_for_several_workers_opens_at_each() -> None:
    """The frames are sealed once; each recipient gets its own wrap."""
    sides = [GatewaySide(WorkerSide()) for _ in range(4)]
    request = sides[0].seal(b"for any of four")
    for side in sides:
        sent = side.send(request)
        opened = side.open(sent)
        assert opened.request.plaintext() == b"for any of four"
        assert receive(sent, side.worker.answer(opened, b"mine")) == b"mine"


def test_ruling_03_another_recipient_cannot_make_the_winners_answer() -> None:
    """Whoever shares the content key still lacks the response key: it does not depend on the content key."""
    winner, loser = two_workers()
    request = winner.seal()
    to_winner, to_loser = winner.send(request), loser.send(request)
    forged = loser.worker.answer(loser.open(to_loser), b"forged")
    with pytest.raises(Tampered):
        receive(to_winner, forged)


def test_ruling_03_a_wrap_for_one_worker_does_not_open_at_another() -> None:
    """A wrap names its session."""
    one, two = two_workers()
    request = one.seal()
    ours, theirs = one.send(request), two.send(request)
    with pytest.raises(Tampered):
        two.open(theirs.with_(wrap=ours.call.wrap))


# ---- 4: limits are sealed, the award travels in the dispatch ---------------------------------------------------------


def test_ruling_04_failover_clears_again_without_the_sender_sealing_again() -> None:
    """A second attempt carries another award and price with the same header and frames."""
    one, two = two_workers()
    request = one.seal()
    one.open(one.send(request))
    sent = two.send(request, attempt=2, award_sha256=b"b" * 32, price_nanos=499)
    opened = two.open(sent)
    assert (opened.dispatch.attempt, opened.dispatch.price_nanos) == (2, 499)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"price_nanos": 501}, "price_nanos"),
        ({"offer_id": b"o" * 32}, "offer_id"),
        ({"gateway_id": b"g" * 32}, "gateway_id"),
    ],
)
def test_ruling_04_a_dispatch_outside_the_sealed_limits_is_refused(
    gateway: GatewaySide, terms: dict[str, object], field: str
) -> None:
    """The worker refuses a price above the cap, an offer not its own, and another gateway's dispatch."""
    with pytest.raises(SealingError, match=field) as raised:
        gateway.open(gateway.send(**terms))  # type: ignore[arg-type]
    assert reason_of(raised) is Reason.DISPATCH_REFUSED


def test_ruling_04_a_dispatch_for_another_request_is_refused(gateway: GatewaySide) -> None:
    """Header, session and counter of the dispatch are those of the wrap."""
    one, two = gateway.send(), gateway.send()
    with pytest.raises(SealingError, match="header_sha256"):
        gateway.open(one.with_(dispatch=two.call.dispatch, tag=two.call.tag))
    again = gateway.send(one.request)
    with pytest.raises(SealingError, match="counter"):
        gateway.open(one.with_(dispatch=again.call.dispatch, tag=again.call.tag))
    other = GatewaySide(gateway.worker, signing_key=gateway.signing_key)
    foreign = gateway.session.dispatch(
        dataclasses.replace(one.wrapped.ref, session_id=other.session.session_id),
        attempt=1, award_sha256=bytes(32), offer_id=OFFER, price_nanos=1, gateway_id=gateway.gateway_id, deadline_ms=1,
    )  # fmt: skip
    with pytest.raises(SealingError, match="session_id"):
        gateway.open(one.with_(dispatch=foreign.dispatch, tag=foreign.tag))


def test_ruling_04_an_expired_header_is_refused(gateway: GatewaySide) -> None:
    """The caller's deadline is sealed."""
    sent = gateway.send(gateway.seal(expires=int(NOW.timestamp())))
    with pytest.raises(SealingError, match="expires") as raised:
        gateway.open(sent)
    assert reason_of(raised) is Reason.DISPATCH_REFUSED


def test_ruling_04_the_half_names_the_dispatch(gateway: GatewaySide) -> None:
    """A worker that answers under other terms than the sender's is found out."""
    sent = gateway.send()
    frames = gateway.worker.answer(gateway.open(sent), b"answer", dispatch_sha256=b"d" * 32)
    with pytest.raises(SealingError, match="dispatch_sha256") as raised:
        receive(sent, frames)
    assert reason_of(raised) is Reason.RECEIPT_INVALID


# ---- 11: key commitment ----------------------------------------------------------------------------------------------


def test_ruling_11_a_wrap_of_another_content_key_is_refused_before_any_frame(gateway: GatewaySide) -> None:
    """A sender cannot make one header open differently at different workers."""
    request = gateway.seal()
    sent = gateway.send(dataclasses.replace(request, cek=b"k" * 32))
    with pytest.raises(Tampered, match="cek_commit"):
        gateway.open(sent)


# ---- 12 and 13: receipt halves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["worker_id", "keyset_id", "header_sha256", "req_ct", "resp_ct", "req_commit", "resp_commit"]
)
def test_ruling_12_a_half_about_another_call_is_refused(gateway: GatewaySide, name: str) -> None:
    """Every field of the half that the sender knows must be its own."""
    sent = gateway.send()
    frames = gateway.worker.answer(gateway.open(sent), b"answer", **{name: b"x" * 32})  # type: ignore[arg-type]
    with pytest.raises(SealingError, match=name) as raised:
        receive(sent, frames)
    assert reason_of(raised) is Reason.RECEIPT_INVALID


def test_ruling_12_the_half_is_the_last_sealed_frame(gateway: GatewaySide) -> None:
    """Whoever got the answer got the half: without it the answer is truncated."""
    sent = gateway.send()
    frames = gateway.worker.answer(gateway.open(sent), b"answer")
    for frame in frames[:-1]:
        sent.wrapped.opener.feed(frame, False)
    with pytest.raises(SealingError) as raised:
        sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256)
    assert reason_of(raised) is Reason.TRUNCATED


def test_ruling_13_commitments_are_salted_and_over_unpadded_plaintext(gateway: GatewaySide) -> None:
    """The same short prompt gives another commitment each time, and neither salt is the other's."""
    one, two = gateway.seal(b"yes"), gateway.seal(b"yes")
    assert one.transcript.commit != two.transcript.commit
    salt = schedule.request_keys(one.cek, one.header_sha256).salt
    assert hmac.digest(salt, b"yes", "sha256") == one.transcript.commit


def test_ruling_13_sender_and_worker_compute_the_same_four_values(gateway: GatewaySide) -> None:
    """Ciphertext transcripts and plaintext commitments agree on both sides, over several frames."""
    sent = gateway.send(gateway.seal(os.urandom(2_500_000)))
    opened = gateway.open(sent)
    assert len(sent.request.frames) == 3
    assert opened.request.transcript() == sent.request.transcript
    assert len(receive(sent, gateway.worker.answer(opened, os.urandom(1_200_000)))) == 1_200_000
