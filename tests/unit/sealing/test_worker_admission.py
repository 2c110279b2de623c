# SPDX-License-Identifier: Apache-2.0
"""Who may use a session, on which transport and how far: the worker's side, one refusal each."""

import dataclasses

import pytest

from attestation.binding import SuiteID
from attestation.errors import Malformed, Reason, Replayed, SealingError, Tampered, WrongKey
from attestation.sealing.dispatch import authenticate
from attestation.sealing.grant import Grant, GrantedTransport, sign_grant
from attestation.sealing.incoming import IncomingCall
from attestation.sealing.replay import WINDOW, ReplayWindow
from attestation.sealing.session import Role
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration
from tests.support.sealing import AWARD, NOW, OFFER, GatewaySide, WorkerSide, keyset_for

LATER = int(NOW.timestamp()) + 3600


@pytest.fixture
def gateway() -> GatewaySide:
    """A gateway whose control session the worker knows."""
    side = GatewaySide(WorkerSide())
    side.open(side.send())
    return side


def bare(call: IncomingCall) -> IncomingCall:
    """The call as it is sent once the session is established."""
    return dataclasses.replace(call, info=b"", ct=b"")


@pytest.mark.parametrize("established", [True, False])
@pytest.mark.parametrize("role", list(Role))
def test_a_live_session_does_not_move_to_a_transport_without_its_grant(
    gateway: GatewaySide, role: Role, established: bool
) -> None:
    """Whoever records a call cannot use the session on a connection of its own, nor can the same gateway unasked."""
    session = gateway.session if role is Role.GATEWAY else gateway.open_session(role)
    gateway.open(gateway.send(session=session))
    sent = gateway.send(session=session)
    gateway.transport = GrantedTransport(gateway_id=gateway.gateway_id, gateway_key=gateway.public_key)
    with pytest.raises(SealingError) as raised:
        gateway.open(bare(sent.call) if established else sent)
    assert raised.value.reason is Reason.NOT_GRANTED


def test_a_grant_for_another_key_grants_nothing(gateway: GatewaySide) -> None:
    """A grant names session and key, and both must be those of the session."""
    side = GatewaySide(gateway.worker)
    side.transport = GrantedTransport(gateway_id=side.gateway_id, gateway_key=side.public_key)
    wrong = Grant(gateway_id=side.gateway_id, session_id=side.session.session_id, key_id=bytes(32), expires=LATER)
    side.transport.admit(sign_grant(side.signing_key, wrong), now=NOW)
    with pytest.raises(SealingError) as raised:
        side.open(side.send())
    assert raised.value.reason is Reason.NOT_GRANTED


def test_a_granted_client_session_is_no_control_session(gateway: GatewaySide) -> None:
    """Even a gateway that signs a grant for a client's session cannot dispatch under it, nor under an empty key."""
    client = gateway.open_session(Role.SEALED_CLIENT)
    grant = Grant(gateway_id=gateway.gateway_id, session_id=client.session_id, key_id=client.key.key_id, expires=LATER)
    gateway.transport.admit(sign_grant(gateway.signing_key, grant), now=NOW)
    gateway.open(gateway.send(session=client))
    sent = gateway.send(session=client)
    with pytest.raises(Tampered):
        gateway.open(sent.with_(tag=authenticate(b"", sent.call.dispatch)))


def test_a_dispatch_for_another_key_is_refused(gateway: GatewaySide) -> None:
    """The dispatch names the key the request is sealed to."""
    sent = gateway.send()
    signed = gateway.session.dispatch(
        dataclasses.replace(sent.wrapped.ref, key_id=bytes(32)),
        attempt=1, award_sha256=AWARD, offer_id=OFFER, price_nanos=1, gateway_id=gateway.gateway_id, deadline_ms=1,
    )  # fmt: skip
    with pytest.raises(SealingError, match="key_id") as raised:
        gateway.open(sent.with_(dispatch=signed.dispatch, tag=signed.tag))
    assert raised.value.reason is Reason.DISPATCH_REFUSED


def test_a_counter_beyond_what_the_session_may_carry_is_refused() -> None:
    """The worker holds a sender to the number it asked for."""
    gateway = GatewaySide(WorkerSide(), max_requests=4)
    gateway.session._next, gateway.session._info = 5, dataclasses.replace(gateway.session._info, max_requests=9)
    with pytest.raises(SealingError) as raised:
        gateway.open(gateway.send())
    assert raised.value.reason is Reason.SESSION_CLOSED


def test_a_session_nobody_knows_is_unknown(gateway: GatewaySide) -> None:
    """Without its establishment a session cannot be made."""
    stranger = GatewaySide(gateway.worker)
    with pytest.raises(SealingError) as raised:
        stranger.open(bare(stranger.send().call))
    assert raised.value.reason is Reason.UNKNOWN_SESSION


def test_a_session_id_that_is_not_the_hash_of_what_came_with_it_is_malformed(gateway: GatewaySide) -> None:
    """Two sessions' establishments are not exchanged under one id."""
    other = GatewaySide(gateway.worker).send().call
    with pytest.raises(Malformed, match="hash"):
        gateway.open(gateway.send().with_(info=other.info, ct=other.ct))


def test_dropping_a_generation_drops_its_keys(gateway: GatewaySide) -> None:
    """Whoever still holds the object holds no key: the ring drops, it does not merely forget."""
    old = gateway.worker.generation
    key_id = old.keyset.key_id(SuiteID.X25519)
    gateway.worker.rotate(SuiteID.X25519)
    assert old.owns(key_id)
    gateway.worker.ring.sweep(NOW.replace(hour=1))
    assert not old.owns(key_id)
    with pytest.raises(SealingError) as raised:
        _ = gateway.worker.ring.current
    assert raised.value.reason is Reason.KEY_RETIRED


def test_a_keyset_of_other_keys_is_no_generation() -> None:
    """A worker does not announce keys it cannot open with."""
    worker = WorkerSide()
    mine, other = HPKEKeyPair.generate(SuiteID.X25519), HPKEKeyPair.generate(SuiteID.X25519)
    for pairs in ([other], [], [mine, HPKEKeyPair.generate(SuiteID.MLKEM768_X25519)]):
        with pytest.raises(WrongKey):
            KeyGeneration(keyset=keyset_for((mine,), worker.receipt_key), keypairs=pairs)


@pytest.mark.parametrize("high", [WINDOW, WINDOW + 1, 5000, 1 << 63])
def test_the_window_has_exactly_1024_places(high: int) -> None:
    """The highest accepted and 1,023 below it; the next below is refused though it was never seen."""
    window = ReplayWindow()
    window.mark(high)
    window.check(high - WINDOW + 1)
    with pytest.raises(Replayed):
        window.check(high - WINDOW)
    window.mark(high - WINDOW + 1)
    with pytest.raises(Replayed):
        window.check(high - WINDOW + 1)
    window.mark(high + 1)
    with pytest.raises(Replayed):
        window.check(high - WINDOW + 1)


def test_a_wrap_of_another_length_is_malformed(gateway: GatewaySide) -> None:
    """48 bytes, before any key is derived."""
    sent = gateway.send()
    with pytest.raises(Malformed, match="wrap has 47 bytes"):
        gateway.open(sent.with_(wrap=sent.call.wrap[:47]))
