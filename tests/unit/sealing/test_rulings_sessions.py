# SPDX-License-Identifier: Apache-2.0
"""Rulings on establishment, grants, generations, replay and linkability."""

import copy
import os
import pickle
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from attestation.binding import SuiteID
from attestation.errors import Malformed, NotGenuine, Reason, Replayed, SealingError, Tampered
from attestation.sealing import schedule
from attestation.sealing.dispatch import authenticate
from attestation.sealing.errors_signed import SIGNABLE, SignedError, open_error, sign_error
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.header import Header, Method
from attestation.sealing.request import open_request
from attestation.sealing.session import Role, SenderSession, SessionInfo
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration
from tests.support.sealing import (
    NOW,
    GatewaySide,
    RecordingGuard,
    WorkerSide,
    attested,
    keyset_for,
    reason_of,
)

# ---- 1: replay of session establishment ------------------------------------------------------------------------------


def test_ruling_01_a_dead_session_is_never_opened_again(gateway: GatewaySide) -> None:
    """A recorded establishment meets a remembered id, not an empty replay window."""
    recorded = gateway.send()
    gateway.open(recorded)
    gateway.worker.generation.close_session(gateway.session.session_id)
    with pytest.raises(Replayed) as raised:
        gateway.open(recorded)
    assert reason_of(raised) is Reason.SESSION_CLOSED


def test_ruling_01_an_exhausted_session_is_dead(worker: WorkerSide) -> None:
    """After its last request a session's establishment opens nothing."""
    gateway = GatewaySide(worker, max_requests=1)
    recorded = gateway.send()
    gateway.open(recorded)
    with pytest.raises(Replayed) as raised:
        gateway.open(recorded)
    assert reason_of(raised) is Reason.SESSION_CLOSED


def test_ruling_01_the_same_establishment_alive_is_the_same_session(gateway: GatewaySide) -> None:
    """Sending the establishment with every request does not reset the window."""
    first, second = gateway.send(), gateway.send()
    gateway.open(first)
    gateway.open(second)
    with pytest.raises(Replayed):
        gateway.open(first)


def test_ruling_01_losing_the_table_is_losing_the_key(gateway: GatewaySide) -> None:
    """Table and private keys live in one object, which is neither copied nor pickled, and go together."""
    sent = gateway.send()
    generation = gateway.worker.generation
    for lose in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            lose(generation)
    generation.drop()
    with pytest.raises(SealingError) as raised:
        generation.accept(sent.call.info, sent.call.ct, transport=gateway.transport, now=NOW)
    assert reason_of(raised) is Reason.KEY_RETIRED


def test_ruling_01_a_full_table_refuses_new_sessions_and_asks_for_new_keys() -> None:
    """No id is evicted to make room."""
    worker = WorkerSide(max_sessions=1)
    first = GatewaySide(worker)
    first.open(first.send())
    second = GatewaySide(worker)
    with pytest.raises(SealingError) as raised:
        second.open(second.send())
    assert reason_of(raised) is Reason.SESSION_TABLE_FULL
    assert worker.generation.needs_rotation
    first.open(first.send())


def test_ruling_01_a_gateway_fills_its_own_share_of_the_session_table_only() -> None:
    """Clients of one gateway that open session after session end at its share: neither the gateway's own sessions nor
    those of another gateway are refused for it, and the worker makes no new keys."""
    worker = WorkerSide(max_each=2)
    full, other = GatewaySide(worker), GatewaySide(worker)
    full.open(full.send())
    known = [full.open_session(Role.SEALED_CLIENT) for _ in range(2)]
    for session in known:
        full.open(full.send(session=session))
    with pytest.raises(SealingError) as raised:
        full.open(full.send(session=full.open_session(Role.SEALED_CLIENT)))
    assert reason_of(raised) is Reason.SESSION_TABLE_FULL
    assert not worker.generation.needs_rotation
    full.open(full.send(session=known[0]))
    renewed = full.session = full.open_session()
    full.grant(renewed)
    full.open(full.send())
    other.open(other.send())
    other.open(other.send(session=other.open_session(Role.SEALED_CLIENT)))


# ---- 2: who sent this ------------------------------------------------------------------------------------------------


class CountingKey(HPKEKeyPair):
    """A key that counts its decapsulations."""

    opened = 0

    @override
    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """Counts."""
        type(self).opened += 1
        return super().open(info, ciphertext)


def test_ruling_02_no_key_encapsulation_without_a_grant(worker: WorkerSide) -> None:
    """An ungranted sender costs the worker no private key operation and gets nothing."""
    pair = CountingKey.generate(SuiteID.X25519)
    worker.generation = KeyGeneration(keyset=keyset_for((pair,), worker.receipt_key), keypairs=[pair])
    worker.ring.install(worker.generation, not_after=int(NOW.timestamp()) + 3600, now=NOW)
    gateway = GatewaySide(worker)
    sent = gateway.send()
    gateway.transport = GrantedTransport(gateway_id=gateway.gateway_id, gateway_key=gateway.public_key)
    with pytest.raises(SealingError) as raised:
        gateway.open(sent)
    assert reason_of(raised) is Reason.NOT_GRANTED
    assert CountingKey.opened == 0


def test_ruling_02_a_grant_is_signed_by_the_transports_gateway(gateway: GatewaySide) -> None:
    """A grant by another key, for another gateway, or out of time is refused."""
    grant = gateway.session.grant(Ed25519PrivateKey.generate(), expires=int(NOW.timestamp()) + 60)
    with pytest.raises(NotGenuine):
        gateway.transport.admit(grant, now=NOW)
    stranger = GrantedTransport(gateway_id=bytes(32), gateway_key=gateway.public_key)
    valid = gateway.session.grant(gateway.signing_key, expires=int(NOW.timestamp()) + 60)
    with pytest.raises(SealingError, match="gateway_id"):
        stranger.admit(valid, now=NOW)
    with pytest.raises(SealingError, match="expires"):
        gateway.transport.admit(valid, now=NOW + timedelta(seconds=60))


def test_ruling_02_an_expired_grant_serves_no_request(gateway: GatewaySide) -> None:
    """A grant ends when it says."""
    gateway.grant(gateway.session)
    sent = gateway.send(gateway.seal(expires=int(NOW.timestamp()) + 7200))
    with pytest.raises(SealingError) as raised:
        gateway.worker.generation.accept(
            sent.call.info, sent.call.ct, transport=gateway.transport, now=NOW + timedelta(hours=1)
        )
    assert reason_of(raised) is Reason.NOT_GRANTED


def test_ruling_02_a_dispatch_not_tagged_by_the_control_session_is_refused(gateway: GatewaySide) -> None:
    """Nobody invents an award in a gateway's name."""
    sent = gateway.send()
    with pytest.raises(Tampered) as raised:
        gateway.open(sent.with_(tag=bytes(32)))
    assert reason_of(raised) is Reason.DISPATCH_REFUSED


def test_ruling_02_a_sealed_clients_session_needs_a_granted_transport(gateway: GatewaySide) -> None:
    """A client's session opens on a transport whose control session is granted, and under that session's dispatch."""
    gateway.open(gateway.send())
    client = gateway.open_session(Role.SEALED_CLIENT)
    sent = gateway.send(session=client)
    granted, gateway.transport = (
        gateway.transport,
        GrantedTransport(gateway_id=gateway.gateway_id, gateway_key=gateway.public_key),
    )
    with pytest.raises(SealingError) as raised:
        gateway.open(sent)
    assert reason_of(raised) is Reason.NOT_GRANTED
    gateway.transport = granted
    assert gateway.open(sent).request.plaintext() == b"question"


def test_ruling_02_a_control_session_can_be_established_before_any_request(gateway: GatewaySide) -> None:
    """A gateway that only relays has a control session without a request of its own."""
    info, ct = gateway.session.establishment or (b"", b"")
    gateway.worker.ring.accept(info, ct, transport=gateway.transport, now=NOW)
    sent = gateway.send(session=gateway.open_session(Role.SEALED_CLIENT))
    assert gateway.open(sent).request.plaintext() == b"question"


def test_ruling_02_a_client_cannot_dispatch_itself(gateway: GatewaySide) -> None:
    """A client's session grants nothing and dispatches nothing."""
    client = gateway.open_session(Role.SEALED_CLIENT)
    with pytest.raises(SealingError):
        client.grant(gateway.signing_key, expires=1)
    sent = gateway.send(session=client)
    key = schedule.dispatch_key(client._prk)
    forged = sent.with_(tag=authenticate(key, sent.call.dispatch))
    gateway.open(gateway.send())
    with pytest.raises(Tampered):
        gateway.open(forged)


# ---- 7: forward secrecy by generations -------------------------------------------------------------------------------


def test_ruling_07_the_old_key_is_dropped_ten_minutes_after_the_new_one(gateway: GatewaySide) -> None:
    """What was recorded cannot be opened once its generation is gone."""
    gateway.open(gateway.send())
    late = gateway.send(gateway.seal(expires=int(NOW.timestamp()) + 3000))
    gateway.worker.rotate(SuiteID.X25519)
    assert gateway.open(gateway.send(), now=NOW + timedelta(seconds=59)) is not None
    with pytest.raises(SealingError) as raised:
        gateway.open(late, now=NOW + timedelta(seconds=600))
    assert reason_of(raised) is Reason.KEY_RETIRED
    established = late.with_(info=b"", ct=b"")
    with pytest.raises(SealingError) as raised:
        gateway.open(established, now=NOW + timedelta(seconds=600))
    assert reason_of(raised) is Reason.UNKNOWN_SESSION


def test_ruling_07_no_key_outlives_its_binding(gateway: GatewaySide) -> None:
    """not_after ends a generation even within the ten minutes, and even with no successor."""
    worker = gateway.worker
    worker.rotate(SuiteID.X25519, not_after=int(NOW.timestamp()) + 30)
    short = GatewaySide(worker)
    sent = short.send()
    worker.rotate(SuiteID.X25519)
    with pytest.raises(SealingError) as raised:
        short.open(sent, now=NOW + timedelta(seconds=30))
    assert reason_of(raised) is Reason.KEY_RETIRED


def test_ruling_07_a_stream_under_way_survives_its_generation(gateway: GatewaySide) -> None:
    """An opened call holds its own keys until its final frame."""
    sent = gateway.send(gateway.seal(method=Method.STREAM))
    opened = gateway.open(sent)
    frames = opened.response.chunk(b"first", 1)
    gateway.worker.ring.drop_all()
    frames += opened.response.chunk(b"second", 1)
    frames = gateway.worker.answer(opened, b"", frames=frames)
    got = [sent.wrapped.opener.feed(frame, index == len(frames) - 1).data for index, frame in enumerate(frames)]
    assert b"".join(got) == b"firstsecond"


def test_ruling_08_renewal_with_the_same_keyset_drops_no_session(gateway: GatewaySide) -> None:
    """A new binding of the same keys moves their end and closes nothing."""
    gateway.open(gateway.send())
    gateway.session.mark_established()
    gateway.worker.ring.install(gateway.worker.generation, not_after=int(NOW.timestamp()) + 7200, now=NOW)
    late = gateway.send(gateway.seal(expires=int(NOW.timestamp()) + 3000))
    assert gateway.open(late, now=NOW + timedelta(minutes=15)).request.complete


# ---- 9: retries are no replay oracle ---------------------------------------------------------------------------------


def test_ruling_09_a_request_id_runs_once_across_sessions_and_generations(gateway: GatewaySide) -> None:
    """The same request sealed into a new session, or to new keys, is a duplicate for its header's lifetime."""
    request = gateway.seal()
    gateway.open(gateway.send(request))
    again = GatewaySide(gateway.worker)
    with pytest.raises(Replayed) as raised:
        again.open(again.send(request))
    assert reason_of(raised) is Reason.DUPLICATE_REQUEST
    gateway.worker.rotate(SuiteID.X25519)
    newer = GatewaySide(gateway.worker)
    with pytest.raises(Replayed) as raised:
        newer.open(newer.send(request))
    assert reason_of(raised) is Reason.DUPLICATE_REQUEST


@pytest.mark.parametrize("reason", sorted(SIGNABLE))
def test_ruling_09_refusals_are_signed_over_session_and_header(gateway: GatewaySide, reason: Reason) -> None:
    """A refusal is believed only from this worker, about this session and this header."""
    sent = gateway.send()
    key, keyset = gateway.worker.receipt_key, gateway.worker.keyset
    error = SignedError(
        reason=reason,
        session_id=sent.call.session_id,
        header_sha256=sent.call.header_sha256,
        keyset_id=keyset.keyset_id,
    )
    signed = sign_error(key, error)
    told = {"session_id": sent.call.session_id, "header_sha256": sent.request.header_sha256}
    assert open_error(signed, receipt_key=keyset.receipt_key, **told) == error
    with pytest.raises(NotGenuine):
        open_error(sign_error(Ed25519PrivateKey.generate(), error), receipt_key=keyset.receipt_key, **told)
    for name in told:
        with pytest.raises(SealingError) as raised:
            open_error(signed, receipt_key=keyset.receipt_key, **(told | {name: bytes(32)}))
        assert reason_of(raised) is Reason.BINDING_MISMATCH


def test_ruling_09_no_other_reason_is_signed(gateway: GatewaySide) -> None:
    """A worker signs only refusals after which it has executed nothing."""
    with pytest.raises(Malformed):
        SignedError(reason=Reason.ENGINE_FAILED, session_id=bytes(32), header_sha256=bytes(32), keyset_id=bytes(32))


# ---- 30: clocks ------------------------------------------------------------------------------------------------------


def test_ruling_30_turning_the_clock_forward_and_back_runs_nothing_twice(gateway: GatewaySide) -> None:
    """An id forgotten because the host's clock ran ahead is still refused when it is set back."""
    request = gateway.seal()
    gateway.open(gateway.send(request))
    other = GatewaySide(gateway.worker)
    other.open(other.send(other.seal(expires=int(NOW.timestamp()) + 900)), now=NOW + timedelta(seconds=120))
    assert len(gateway.worker.seen) == 1
    with pytest.raises(SealingError) as raised:
        other.open(other.send(request))
    assert reason_of(raised) is Reason.DISPATCH_REFUSED


def test_ruling_30_a_header_cannot_hold_its_id_for_ever(gateway: GatewaySide) -> None:
    """A header more than an hour ahead is refused, so the table of ids is bounded in time."""
    with pytest.raises(SealingError, match="expires"):
        gateway.open(gateway.send(gateway.seal(expires=int(NOW.timestamp()) + 3601)))


# ---- 34: linkability -------------------------------------------------------------------------------------------------


def test_ruling_34_a_sessions_tag_is_fresh_entropy(worker: WorkerSide) -> None:
    """Two sessions of one client with one worker share no byte string of their infos but what is public."""
    gateway = GatewaySide(worker)
    infos = [SessionInfo.decode((gateway.open_session().establishment or (b"", b""))[0]) for _ in range(8)]
    assert len({info.tag for info in infos}) == 8


def test_ruling_34_a_clients_session_ends_after_256_requests(worker: WorkerSide) -> None:
    """Neither side lets a client's session carry more."""
    with pytest.raises(Malformed):
        SenderSession(
            attested(worker.keyset, SuiteID.X25519),
            role=Role.SEALED_CLIENT, max_requests=257, guard=RecordingGuard(), entropy=os.urandom, now=NOW,
        )  # fmt: skip
    gateway = GatewaySide(worker)
    client = gateway.open_session(Role.SEALED_CLIENT)
    for _ in range(256):
        client.wrap(gateway.seal(), now=NOW)
    assert client.remaining == 0
    with pytest.raises(SealingError) as raised:
        client.wrap(gateway.seal(), now=NOW)
    assert reason_of(raised) is Reason.SESSION_CLOSED


def test_ruling_34_a_clients_session_ends_after_ten_minutes(worker: WorkerSide) -> None:
    """A gateway's does not: it is no pseudonym of anyone."""
    gateway = GatewaySide(worker)
    client = gateway.open_session(Role.SEALED_CLIENT)
    later = NOW + timedelta(minutes=10)
    with pytest.raises(SealingError) as raised:
        client.wrap(gateway.seal(), now=later)
    assert reason_of(raised) is Reason.SESSION_CLOSED
    assert gateway.session.wrap(gateway.seal(), now=later).ref.counter == 1


def test_two_keys_never_share_nonce_zero() -> None:
    """Wrap, request and response keys of one call are pairwise different."""
    gateway = GatewaySide(WorkerSide())
    request = gateway.seal()
    hh, prk, cek = request.header_sha256, gateway.session._prk, request.cek
    wrap = schedule.wrap_key(prk, 1, hh)
    sealed = AESGCM(wrap).encrypt(bytes(12), b"x", b"")
    for keys in (schedule.request_keys(cek, hh), schedule.response_keys(prk, gateway.session.session_id, 1, hh)):
        with pytest.raises(InvalidTag):
            keys.aead.decrypt(bytes(12), sealed, b"")
    assert open_request(cek, Header.decode(request.header_bytes)).feed(request.frames[0], True) == b"question"
