# SPDX-License-Identifier: Apache-2.0
"""A sender and a worker face to face: keys, sessions, calls and answers for the tests of the sealed protocol."""

import dataclasses
import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.binding import Keyset, Profile, SuiteID
from attestation.errors import Reason, SealingError
from attestation.identity import gateway_id_of
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import Header, Method, RequestLimits
from attestation.sealing.incoming import IncomingCall, Offers, OpenedCall, refused
from attestation.sealing.replay import RequestIDs
from attestation.sealing.request import SealedRequest, seal_request
from attestation.sealing.rotation import KeyRing
from attestation.sealing.session import Role, SenderSession, WrappedCall
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration, suites_of

if TYPE_CHECKING:
    from attestation.attested import AttestedKey

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = hashlib.sha256(b"policy").digest()
OFFER = hashlib.sha256(b"offer").digest()
AWARD = hashlib.sha256(b"award").digest()
BINDING = hashlib.sha256(b"binding").digest()
ENGINE = hashlib.sha256(b"engine").digest()
_GATEWAYS = count()
BOTH_SUITES = (SuiteID.MLKEM768_X25519, SuiteID.X25519)


class FixedEntropy:
    """Bytes that look random and are the same each time: SHA-256 of a seed and a counter."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._drawn = 0

    def __call__(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            out += hashlib.sha256(self._seed + self._drawn.to_bytes(8, "big")).digest()
            self._drawn += 1
        return out[:size]


@dataclass(frozen=True, slots=True)
class OffersNamed:
    """Offers by their ids alone, at any price, for any model and with slots without end."""

    offer_ids: Container[bytes]

    def check(self, dispatch: Dispatch, header: Header) -> None:
        """Refuses an id that is not among them."""
        if dispatch.offer_id not in self.offer_ids:
            raise refused(f"dispatch.offer_id is {dispatch.offer_id.hex()}, want an offer of this worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInKey:
    """The attributes of `AttestedKey` that sealing reads, without the verification that makes a real one."""

    suite: SuiteID
    public_key: bytes
    key_id: bytes
    keyset_id: bytes
    worker_id: bytes
    receipt_key: bytes
    binding_digest: bytes = BINDING
    profile: Profile = Profile.DEVELOPMENT
    policy_sha256: bytes = POLICY
    expires: datetime = NOW + timedelta(hours=1)


@dataclass
class RecordingGuard:
    """A guard that counts what it is asked and raises what it is told to."""

    asked: int = 0
    refusal: Exception | None = None

    def check(self, key: "AttestedKey", now: datetime) -> None:
        """Counts, and refuses if told to."""
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal


def keyset_for(keypairs: tuple[HPKEKeyPair, ...], receipt_key: Ed25519PrivateKey, generation: int = 1) -> Keyset:
    """The keyset of these private keys."""
    return Keyset(
        suites=suites_of(keypairs),
        receipt_key=receipt_key.public_key().public_bytes_raw(),
        tls_spki_sha256=hashlib.sha256(b"spki").digest(),
        generation=generation,
    )


def attested(keyset: Keyset, suite: SuiteID, **changes: object) -> "AttestedKey":
    """A stand-in for the attested key of this suite."""
    public_key = keyset.public_key(suite)
    assert public_key is not None
    key = StandInKey(
        suite=suite,
        public_key=public_key,
        key_id=keyset.key_id(suite),
        keyset_id=keyset.keyset_id,
        worker_id=keyset.worker_id,
        receipt_key=keyset.receipt_key,
    )
    return cast("AttestedKey", dataclasses.replace(key, **changes))  # type: ignore[arg-type]


OWN_OFFERS = OffersNamed(frozenset({OFFER}))


class WorkerSide:
    """One worker: a receipt key, key generations, and the ids it has executed."""

    def __init__(self, *suites: SuiteID, max_sessions: int = 1 << 18, max_each: int = 1 << 12) -> None:
        self.receipt_key = Ed25519PrivateKey.generate()
        self.seen = RequestIDs()
        self.ring = KeyRing(seen=self.seen)
        self.generation = self.rotate(*(suites or (SuiteID.X25519,)), max_sessions=max_sessions, max_each=max_each)

    def rotate(
        self,
        *suites: SuiteID,
        now: datetime = NOW,
        max_sessions: int = 1 << 18,
        max_each: int = 1 << 12,
        not_after: int | None = None,
    ) -> KeyGeneration:
        """Makes and installs a new generation of keys."""
        keypairs = tuple(HPKEKeyPair.generate(suite) for suite in suites)
        keyset = keyset_for(keypairs, self.receipt_key)
        self.generation = KeyGeneration(keyset=keyset, keypairs=keypairs, max_sessions=max_sessions, max_each=max_each)
        self.ring.install(self.generation, not_after=not_after or int(now.timestamp()) + 3600, now=now)
        return self.generation

    @property
    def keyset(self) -> Keyset:
        """The current keyset."""
        return self.generation.keyset

    def answer(
        self,
        opened: OpenedCall,
        data: bytes,
        *,
        status: WorkerStatus = WorkerStatus.OK,
        frames: list[bytes] | None = None,
        **half_changes: object,
    ) -> list[bytes]:
        """The frames of a unary answer, the trailer last; `frames` are sent instead of a message where given."""
        sent = opened.response.message(data) if frames is None else frames
        half = opened.half(
            worker_id=self.keyset.worker_id,
            keyset_id=self.keyset.keyset_id,
            binding_digest=BINDING,
            engine_sha256=ENGINE,
            units=1000,
            status=status,
            started=1,
            ended=2,
            seq=0,
        )
        half = dataclasses.replace(half, **half_changes)  # type: ignore[arg-type]
        return [*sent, opened.response.trailer(status, half.encode())]


def limits(method: Method = Method.INFER, **changes: object) -> RequestLimits:
    """A caller's limits, valid at `NOW`."""
    given = RequestLimits(
        method=method,
        model="magika",
        intent_sha256=hashlib.sha256(b"intent").digest(),
        policy_sha256=POLICY,
        max_price_nanos=500,
        expires=int(NOW.timestamp()) + 60,
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


@dataclass
class Sent:
    """One attempt as it travels, with what opens its answer."""

    request: SealedRequest
    wrapped: WrappedCall
    call: IncomingCall
    dispatch_sha256: bytes

    def with_(self, **changes: object) -> IncomingCall:
        """The call with some fields exchanged."""
        return dataclasses.replace(self.call, **changes)  # type: ignore[arg-type]


@dataclass
class GatewaySide:
    """One gateway with a granted transport to one worker."""

    worker: WorkerSide
    suite: SuiteID = SuiteID.X25519
    signing_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    guard: RecordingGuard = field(default_factory=RecordingGuard)
    max_requests: int = 65536
    entropy: FixedEntropy | None = None

    def __post_init__(self) -> None:
        self.transport = GrantedTransport(gateway_id=self.gateway_id, gateway_key=self.public_key)
        self.session = self.open_session()
        self.grant(self.session)

    @property
    def public_key(self) -> bytes:
        """The gateway's Ed25519 key."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def gateway_id(self) -> bytes:
        """Who it is."""
        return gateway_id_of(self.public_key)

    def draw(self, size: int) -> bytes:
        """Entropy: fixed where the test wants it."""
        if self.entropy is None:
            self.entropy = FixedEntropy(f"gateway {next(_GATEWAYS)}")
        return self.entropy(size)

    def open_session(self, role: Role = Role.GATEWAY, **changes: object) -> SenderSession:
        """A session of this role with the worker's current key."""
        key = attested(self.worker.keyset, self.suite, **changes)
        most = min(self.max_requests, role.max_requests)
        return SenderSession(key, role=role, max_requests=most, guard=self.guard, entropy=self.draw, now=NOW)

    def grant(self, session: SenderSession) -> None:
        """Sends the session's grant over the transport."""
        expires = int(NOW.timestamp()) + 3600
        self.transport.admit(session.grant(self.signing_key, expires=expires), now=NOW)

    def seal(self, plaintext: bytes = b"question", **changes: object) -> SealedRequest:
        """A sealed request for nobody yet."""
        return seal_request(limits(**changes), plaintext, entropy=self.draw)  # type: ignore[arg-type]

    def send(
        self,
        request: SealedRequest | None = None,
        *,
        session: SenderSession | None = None,
        now: datetime = NOW,
        **dispatch: object,
    ) -> Sent:
        """Wraps a request on a session and dispatches it under the control session."""
        request = request or self.seal()
        session = session or self.session
        wrapped = session.wrap(request, now=now)
        terms: dict[str, object] = {
            "attempt": 1,
            "award_sha256": AWARD,
            "offer_id": OFFER,
            "price_nanos": 400,
            "gateway_id": self.gateway_id,
            "deadline_ms": 1000,
        }
        signed = self.session.dispatch(wrapped.ref, **(terms | dispatch))  # type: ignore[arg-type]
        info, ct = session.establishment or (b"", b"")
        call = IncomingCall(
            session_id=session.session_id,
            info=info,
            ct=ct,
            header=request.header_bytes,
            counter=wrapped.ref.counter,
            wrap=wrapped.wrap,
            dispatch=signed.dispatch,
            tag=signed.tag,
            frame=request.frames[0],
            final=len(request.frames) == 1,
        )
        return Sent(request=request, wrapped=wrapped, call=call, dispatch_sha256=signed.digest)

    def open(self, sent: Sent | IncomingCall, *, offers: Offers | None = None, now: datetime = NOW) -> OpenedCall:
        """The worker opens it, further frames included."""
        call = sent.call if isinstance(sent, Sent) else sent
        opened = self.worker.ring.open(call, transport=self.transport, offers=offers or OWN_OFFERS, now=now)
        if isinstance(sent, Sent):
            last = len(sent.request.frames) - 1
            for index, frame in enumerate(sent.request.frames[1:], start=1):
                opened.request.feed(frame, index == last)
        return opened


def receive(sent: Sent, frames: list[bytes]) -> bytes:
    """Feeds an answer whose last frame is final, and gives its plaintext."""
    for index, frame in enumerate(frames):
        sent.wrapped.opener.feed(frame, index == len(frames) - 1)
    return sent.wrapped.opener.finish(dispatch_sha256=sent.dispatch_sha256).data


def reason_of(raised: pytest.ExceptionInfo[SealingError]) -> Reason:
    """The reason a refusal names."""
    return raised.value.reason
