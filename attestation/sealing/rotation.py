# SPDX-License-Identifier: Apache-2.0
"""The key generations a worker holds, and how long (docs/spec.md, 4.7).

A new generation, once its binding is logged and usable, becomes the current one. The one before serves what is in
flight for at most ten minutes, and none serves past its binding's `not_after`; then its keys, sessions and id table go
together. Forward secrecy has this grain: a recorded request can be opened as long as its generation's key exists.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.errors import Malformed, Reason, SealingError
from attestation.sealing import schedule
from attestation.sealing.frames import MAX_MESSAGE_BYTES
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.incoming import IncomingCall, Offers, OpenedCall, open_call
from attestation.sealing.replay import RequestIDs
from attestation.sealing.session import Role, SessionInfo
from attestation.sealing.worker_session import KeyGeneration, WorkerSession

GRACE_SECONDS: Final = 600


@dataclass(slots=True, kw_only=True)
class _Held:
    generation: KeyGeneration
    drop_at: int


class KeyRing:
    """All generations in use, newest first, and the request ids executed under any of them.

    One per worker, used by one task at a time.
    """

    __slots__ = ("_held", "_seen")

    def __init__(self, *, seen: RequestIDs) -> None:
        self._seen = seen
        self._held: list[_Held] = []

    @property
    def current(self) -> KeyGeneration:
        """The generation that new sessions are sealed to.

        Raises:
            SealingError: none is in use (KEY_RETIRED).
        """
        if not self._held:
            raise SealingError(Reason.KEY_RETIRED, "worker holds no key generation")
        return self._held[0].generation

    def install(self, generation: KeyGeneration, *, not_after: int, now: datetime) -> None:
        """Makes a generation current from now until its binding's `not_after`, and starts the others' grace.

        The current generation installed again is a renewal: its end moves and no session is lost.
        """
        if self._held and self._held[0].generation is generation:
            self._held[0].drop_at = not_after
            return
        grace = int(now.timestamp()) + GRACE_SECONDS
        for held in self._held:
            held.drop_at = min(held.drop_at, grace)
        self._held.insert(0, _Held(generation=generation, drop_at=not_after))
        self.sweep(now)

    def sweep(self, now: datetime) -> None:
        """Drops every generation whose time is over; also done whenever a call is opened."""
        at = now.timestamp()
        for held in self._held:
            if held.drop_at <= at:
                held.generation.drop()
        self._held = [held for held in self._held if held.drop_at > at]

    def drop_all(self) -> None:
        """Drops every generation, for a worker that ends or was revoked."""
        for held in self._held:
            held.generation.drop()
        self._held = []

    def open(
        self,
        call: IncomingCall,
        *,
        transport: GrantedTransport,
        offers: Offers,
        now: datetime,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> OpenedCall:
        """Opens one wrapped request, accepting its session where it is new. Synchronous, so it marks atomically.

        Raises:
            SealingError: a named refusal, those in `errors_signed.SIGNABLE` to be signed; nothing was executed.
        """
        self.sweep(now)
        generation, session = self._session(call, transport, now)
        opened = open_call(
            call,
            session=session,
            control_keys=self._control_keys(session, transport, now),
            transport=transport,
            seen=self._seen,
            offers=offers,
            now=now,
            max_bytes=max_bytes,
        )
        if session.window.accepted == session.max_requests:
            generation.close_session(session.session_id)
        return opened

    def accept(self, info: bytes, ct: bytes, *, transport: GrantedTransport, now: datetime) -> WorkerSession:
        """Accepts a session ahead of any request: how a gateway that only relays establishes its control session.

        Raises:
            SealingError: see `KeyGeneration.accept`; KEY_RETIRED where no generation here has the key.
        """
        self.sweep(now)
        return self._accept(info, ct, transport, now)[1]

    def _session(
        self, call: IncomingCall, transport: GrantedTransport, now: datetime
    ) -> tuple[KeyGeneration, WorkerSession]:
        if call.info:
            if schedule.session_id(call.info, call.ct) != call.session_id:
                raise Malformed("session_id is not the hash of the info and ct it came with")
            return self._accept(call.info, call.ct, transport, now)
        for held in self._held:
            session = held.generation.session(call.session_id)
            if session is not None:
                session.check_transport(transport, now=now)
                return held.generation, session
        raise SealingError(Reason.UNKNOWN_SESSION, f"session_id is {call.session_id.hex()}, which is not known here")

    def _accept(
        self, info: bytes, ct: bytes, transport: GrantedTransport, now: datetime
    ) -> tuple[KeyGeneration, WorkerSession]:
        key_id = SessionInfo.decode(info).key_id
        for held in self._held:
            if held.generation.owns(key_id):
                return held.generation, held.generation.accept(info, ct, transport=transport, now=now)
        raise SealingError(Reason.KEY_RETIRED, f"session.key_id is {key_id.hex()}, which is not in use")

    def _control_keys(self, session: WorkerSession, transport: GrantedTransport, now: datetime) -> tuple[bytes, ...]:
        """The dispatch keys that may speak for this call: its own session's, or the transport's control sessions'."""
        if session.role is Role.GATEWAY:
            return (session.dispatch_key,)
        keys: list[bytes] = []
        for grant in transport.granted(now):
            keys.extend(
                control.dispatch_key
                for held in self._held
                if (control := held.generation.alive(grant.session_id)) is not None and control.role is Role.GATEWAY
            )
        return tuple(keys)
