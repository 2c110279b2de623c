# SPDX-License-Identifier: Apache-2.0
"""The worker's private HPKE keys and every session made under them, in one object (docs/spec.md, 4.6 and 4.7).

A session id is the hash of what established it, and is remembered for as long as the private key that could open it
again. An id seen and dead is refused; a full table refuses new sessions and asks for new keys. Before that each gateway
is held to its share, for its own sessions and for those of its clients, and refused alone. Whoever loses the table
has lost the keys with it, so no recorded establishment is ever opened with an empty replay window.
Refused before any key encapsulation: a control session without a grant, a client's session on a transport without one,
and an info that names another key.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.binding import Keyset, SuiteID
from attestation.codec.labels import equal
from attestation.errors import Malformed, Reason, Replayed, SealingError, Tampered, WrongKey
from attestation.sealing import schedule
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.header import Header
from attestation.sealing.replay import ReplayWindow
from attestation.sealing.session import Role, SessionInfo
from attestation.sealing.suite import HPKEKeyPair

MAX_SESSIONS: Final = 1 << 18
MAX_GATEWAY_SESSIONS: Final = 1 << 12
"""Sessions of one role that one gateway may establish with one generation."""
WRAP_BYTES: Final = 48


class WorkerSession:
    """One session as the worker holds it: its secret, its replay window and who may use it."""

    __slots__ = ("_prk", "dispatch_key", "key_id", "max_requests", "role", "session_id", "window")

    def __init__(self, *, session_id: bytes, info: SessionInfo, secret: bytes) -> None:
        self.session_id = session_id
        self.key_id = info.key_id
        self.role = info.role
        self.max_requests = info.max_requests
        self.window = ReplayWindow()
        self._prk = schedule.session_prk(session_id, secret)
        self.dispatch_key = schedule.dispatch_key(self._prk) if info.role is Role.GATEWAY else b""

    def check_transport(self, transport: GrantedTransport, *, now: datetime) -> None:
        """Accepts a transport that may use this session. Raises `SealingError` (NOT_GRANTED)."""
        check_transport(self.role, self.session_id, self.key_id, transport, now)

    def check_counter(self, counter: int) -> None:
        """Accepts a counter not used, without marking it.

        Raises:
            SealingError: beyond what the session may carry (SESSION_CLOSED).
            Replayed: used before, or below the window.
        """
        if counter > self.max_requests:
            message = f"counter is {counter}, want at most {self.max_requests}"
            raise SealingError(Reason.SESSION_CLOSED, message)
        self.window.check(counter)

    def unwrap(self, header: Header, counter: int, wrap: bytes) -> bytes:
        """The content key, known to be the one the header commits to.

        Raises:
            Tampered: the wrap does not open here, or holds another key than the header's.
        """
        if len(wrap) != WRAP_BYTES:
            raise Malformed(f"wrap has {len(wrap)} bytes, want {WRAP_BYTES}")
        key = AESGCM(schedule.wrap_key(self._prk, counter, header.digest))
        try:
            cek = key.decrypt(schedule.ZERO_NONCE, wrap, schedule.wrap_aad(self.session_id, counter, header.digest))
        except InvalidTag:
            raise Tampered(Reason.TAMPERED, "wrap does not authenticate for this session, counter and header") from None
        if not equal(schedule.cek_commit(cek, header.request_id, header.salt), header.cek_commit):
            raise Tampered(Reason.TAMPERED, "header.cek_commit is not that of the wrapped key")
        return cek

    def response_keys(self, header: Header, counter: int) -> schedule.FrameKeys:
        """The keys of this attempt's response; they outlive the session, until the final frame."""
        return schedule.response_keys(self._prk, self.session_id, counter, header.digest)

    def forget(self) -> None:
        """Lets go of the session's secret."""
        self._prk = self.dispatch_key = b""

    __reduce__ = schedule.refuse_copy


class KeyGeneration:
    """One generation's private keys and its session table. Used by one task at a time."""

    __slots__ = ("_established", "_keypairs", "_max_each", "_max_sessions", "_sessions", "keyset", "needs_rotation")

    def __init__(
        self,
        *,
        keyset: Keyset,
        keypairs: Iterable[HPKEKeyPair],
        max_sessions: int = MAX_SESSIONS,
        max_each: int = MAX_GATEWAY_SESSIONS,
    ) -> None:
        """`keypairs` are the private keys of exactly the keyset's suites.

        Raises:
            WrongKey: a private key is not that of the keyset.
        """
        pairs = {pair.suite: pair for pair in keypairs}
        if tuple((suite, pairs[suite].public_bytes) for suite in sorted(pairs)) != keyset.suites:
            raise WrongKey(Reason.KEYSET_MISMATCH, "private keys are not those of the keyset")
        self.keyset = keyset
        self.needs_rotation = False
        self._keypairs = {keyset.key_id(suite): pair for suite, pair in pairs.items()}
        self._sessions: dict[bytes, WorkerSession | None] = {}
        self._established: Counter[tuple[bytes, Role]] = Counter()
        self._max_sessions = max_sessions
        self._max_each = max_each

    def owns(self, key_id: bytes) -> bool:
        """True while this generation holds that key."""
        return key_id in self._keypairs

    def session(self, session_id: bytes) -> WorkerSession | None:
        """The session if it is alive, None if it was never seen here.

        Raises:
            Replayed: it was seen and is dead (SESSION_CLOSED).
        """
        if session_id not in self._sessions:
            return None
        session = self._sessions[session_id]
        if session is None:
            raise Replayed(Reason.SESSION_CLOSED, "session was closed, want a new one")
        return session

    def alive(self, session_id: bytes) -> WorkerSession | None:
        """The session if it is alive here, else None."""
        return self._sessions.get(session_id)

    def accept(self, info: bytes, ciphertext: bytes, *, transport: GrantedTransport, now: datetime) -> WorkerSession:
        """The session these bytes establish: the one alive, or a new one.

        Raises:
            Replayed: it was seen and is dead (SESSION_CLOSED).
            SealingError: KEY_RETIRED, NOT_GRANTED or SESSION_TABLE_FULL.
            Malformed, WrongKey: it is none, or not sealed to the key it names.
        """
        session_id = schedule.session_id(info, ciphertext)
        known = self.session(session_id)
        if known is not None:
            known.check_transport(transport, now=now)
            return known
        parsed = SessionInfo.decode(info)
        pair = self._keypair(parsed)
        check_transport(parsed.role, session_id, parsed.key_id, transport, now)
        by = (transport.gateway_id, parsed.role)
        self._check_room(by)
        session = WorkerSession(session_id=session_id, info=parsed, secret=pair.open(info, ciphertext))
        self._sessions[session_id] = session
        self._established[by] += 1
        return session

    def close_session(self, session_id: bytes) -> None:
        """Ends a session seen here; its id stays."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.forget()
            self._sessions[session_id] = None

    def drop(self) -> None:
        """Drops the private keys, and with them every session and the table of their ids."""
        for session in self._sessions.values():
            if session is not None:
                session.forget()
        self._keypairs = {}
        self._sessions = {}
        self._established.clear()

    __reduce__ = schedule.refuse_copy

    def _check_room(self, by: tuple[bytes, Role]) -> None:
        """Only the whole table's end asks for new keys: one gateway alone must not make a worker attest again."""
        if self._established[by] >= self._max_each:
            message = f"sessions of this gateway and role are {self._established[by]}, want under {self._max_each}"
            raise SealingError(Reason.SESSION_TABLE_FULL, message)
        if len(self._sessions) >= self._max_sessions:
            self.needs_rotation = True
            raise SealingError(Reason.SESSION_TABLE_FULL, f"worker remembers {self._max_sessions} sessions, want fewer")

    def _keypair(self, info: SessionInfo) -> HPKEKeyPair:
        pair = self._keypairs.get(info.key_id)
        if pair is None:
            raise SealingError(Reason.KEY_RETIRED, f"session.key_id is {info.key_id.hex()}, which is not in use")
        if pair.suite != info.suite:
            raise WrongKey(Reason.WRONG_KEY, f"session.suite is {int(info.suite)}, want {int(pair.suite)} for its key")
        return pair


def check_transport(role: Role, session_id: bytes, key_id: bytes, transport: GrantedTransport, now: datetime) -> None:
    """Accepts a session of this role on this transport.

    Raises:
        SealingError: a control session without its own grant, or a client's without any (NOT_GRANTED).
    """
    if role is Role.GATEWAY:
        transport.require(session_id, key_id, now=now)
    else:
        transport.require_any(now=now)


def suites_of(keypairs: Iterable[HPKEKeyPair]) -> tuple[tuple[SuiteID, bytes], ...]:
    """What a keyset says of these private keys."""
    return tuple((pair.suite, pair.public_bytes) for pair in sorted(keypairs, key=lambda pair: pair.suite))
