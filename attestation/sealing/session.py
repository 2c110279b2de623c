# SPDX-License-Identifier: Apache-2.0
"""The sender's side of a session with one attested key (docs/spec.md, 4 and 5.3).

    S          = 32 random bytes, sealed once by HPKE to the attested key
    info       = CBOR {0: "sealbid/session/1", 1: suite, 2: key_id, 3: role, 4: tag(16 random), 5: max_requests}
    session_id = H(L("session") || lp(info) || lp(ct))         prk = HKDF-Extract(session_id, S)

One key encapsulation serves all requests of a session. It rides on each request until the first answer. The counter
starts at 1 and no value is used twice; a session ends after `max_requests`, a sealed client's also after ten minutes,
and it never outlives a fork: a copy of it would use the same counters.
Refused at every wrap: a guard that says no, a key past its lease, a header that names another policy.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.binding import SuiteID, suite_id
from attestation.codec import cbor
from attestation.codec.cbor import decode_map
from attestation.codec.fields import octets, uint
from attestation.errors import Malformed, NotAcceptable, Reason, SealingError, Stale
from attestation.identity import gateway_id_of
from attestation.sealing import schedule
from attestation.sealing.dispatch import Dispatch, SignedDispatch, authenticate, digest_of
from attestation.sealing.frames import MAX_MESSAGE_BYTES
from attestation.sealing.grant import Grant, sign_grant
from attestation.sealing.halves import code
from attestation.sealing.request import Entropy, SealedRequest
from attestation.sealing.response import Expected, ResponseOpener
from attestation.sealing.suite import SECRET_BYTES, seal

if TYPE_CHECKING:
    from attestation.attested import AttestedKey

LABEL: Final = "sealbid/session/1"
TAG_BYTES: Final = 16
MAX_CLIENT_SESSION: Final = timedelta(minutes=10)
MAX_INFO_BYTES: Final = 256


class Role(IntEnum):
    """Who opened the session: a gateway, whose control session it is, or a sealed client through a gateway."""

    GATEWAY = 1
    SEALED_CLIENT = 2

    @property
    def max_requests(self) -> int:
        """The most requests one session of this role may carry: a session is a pseudonym, so a client's is short."""
        return 65536 if self is Role.GATEWAY else 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What the key encapsulation authenticates (B5). Raises `Malformed` for a field out of range."""

    suite: SuiteID
    key_id: bytes
    role: Role
    tag: bytes
    max_requests: int

    def __post_init__(self) -> None:
        octets(self.key_id, "session.key_id", 32)
        octets(self.tag, "session.tag", TAG_BYTES)
        if not 1 <= self.max_requests <= self.role.max_requests:
            raise Malformed(f"session.max_requests is {self.max_requests}, want 1..{self.role.max_requests}")

    def encode(self) -> bytes:
        """The canonical bytes."""
        return cbor.encode(
            {
                0: LABEL,
                1: int(self.suite),
                2: self.key_id,
                3: int(self.role),
                4: self.tag,
                5: self.max_requests,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The info of exactly these bytes. Raises `Malformed`."""
        if len(data) > MAX_INFO_BYTES:
            raise Malformed(f"session.info has {len(data)} bytes, want at most {MAX_INFO_BYTES}")
        items = decode_map(data, LABEL, 6)
        return cls(
            suite=suite_id(items[1], "session.suite"),
            key_id=octets(items[2], "session.key_id"),
            role=code(items[3], Role, "session.role"),
            tag=octets(items[4], "session.tag"),
            max_requests=uint(items[5], "session.max_requests"),
        )


class Guard(Protocol):
    """Says whether a key may be sealed to right now; it reads memory only, and is asked before every seal.

    It raises `Stale` (REVOKED, LEASE_EXPIRED, REVOCATION_STALE) or `NotAcceptable` (POLICY_MISMATCH), and otherwise
    returns nothing.
    """

    def check(self, key: "AttestedKey", now: datetime) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRef:
    """Which wrapped request: all that a gateway relaying a sealed client's request needs to dispatch it."""

    header_sha256: bytes
    session_id: bytes
    counter: int
    key_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedCall:
    """A request wrapped for one worker: the 48-byte wrap, where it belongs, and the opener of its answer."""

    ref: CallRef
    wrap: bytes
    opener: ResponseOpener


class SenderSession:
    """One session with one attested key, used by one task at a time.

    It holds the session's secret until it is closed or collected; erasing it from memory is best effort, since the
    libraries hand out immutable bytes.
    """

    __slots__ = (
        "_closed",
        "_dispatch_key",
        "_established",
        "_getpid",
        "_guard",
        "_info",
        "_next",
        "_pid",
        "_prk",
        "_started",
        "key",
        "session_id",
    )

    def __init__(
        self,
        key: "AttestedKey",
        *,
        role: Role,
        max_requests: int,
        guard: Guard,
        entropy: Entropy,
        now: datetime,
        pid: Callable[[], int] = os.getpid,
    ) -> None:
        """Seals a fresh secret to `key`.

        Raises:
            Stale, NotAcceptable: the guard refuses the key, or its lease is over.
            Malformed: more requests than the role may ask for.
            WrongKey: the key is not usable.
        """
        _check_key(key, guard, now)
        self.key = key
        self._guard = guard
        self._getpid = pid
        self._pid = pid()
        self._started = now
        self._info = SessionInfo(
            suite=key.suite, key_id=key.key_id, role=role, tag=entropy(TAG_BYTES), max_requests=max_requests
        )
        secret, info = entropy(SECRET_BYTES), self._info.encode()
        ciphertext = seal(key.suite, key.public_key, info, secret)
        self.session_id = schedule.session_id(info, ciphertext)
        self._prk = schedule.session_prk(self.session_id, secret)
        self._dispatch_key = schedule.dispatch_key(self._prk)
        self._established: tuple[bytes, bytes] | None = (info, ciphertext)
        self._next = 1
        self._closed = False

    @property
    def role(self) -> Role:
        """Who opened it."""
        return self._info.role

    @property
    def establishment(self) -> tuple[bytes, bytes] | None:
        """`(info, ct)`, to send with every request, or None once the worker has answered on this session."""
        return self._established

    @property
    def remaining(self) -> int:
        """How many requests it can still wrap; 0 once closed."""
        return 0 if self._closed else self._info.max_requests - self._next + 1

    def mark_established(self) -> None:
        """Says that an answer on this session was opened: the worker holds it, later requests name it only."""
        self._established = None

    def close(self) -> None:
        """Ends the session and lets go of its secret. Openers of calls under way keep their own keys."""
        self._closed = True
        self._established = None
        self._prk = self._dispatch_key = b""

    def grant(self, gateway_key: Ed25519PrivateKey, *, expires: int) -> bytes:
        """The gateway's signature that this control session is its own: the first message on a transport.

        Raises:
            SealingError: not a gateway's session, or it is over (SESSION_CLOSED).
        """
        self._require_control()
        gateway_id = gateway_id_of(gateway_key.public_key().public_bytes_raw())
        grant = Grant(gateway_id=gateway_id, session_id=self.session_id, key_id=self.key.key_id, expires=expires)
        return sign_grant(gateway_key, grant)

    def wrap(
        self, request: SealedRequest, *, now: datetime, max_response_bytes: int = MAX_MESSAGE_BYTES
    ) -> WrappedCall:
        """Wraps the request's content key for this worker under the next counter.

        The same request may be wrapped for several workers, and again for the same one: each wrap has its own counter
        and its own response keys.

        Raises:
            SealingError: the session is used up, too old, closed, or another process's (SESSION_CLOSED).
            Stale, NotAcceptable: the guard refuses, the lease is over, or the header names another policy.
        """
        self._require_usable(now)
        self._ask_guard(now)
        header = request.header
        if header.limits.policy_sha256 != self.key.policy_sha256:
            got, want = header.limits.policy_sha256.hex(), self.key.policy_sha256.hex()
            raise NotAcceptable(Reason.POLICY_MISMATCH, f"header.policy_sha256 is {got}, want {want}")
        counter, self._next = self._next, self._next + 1
        key = AESGCM(schedule.wrap_key(self._prk, counter, header.digest))
        aad = schedule.wrap_aad(self.session_id, counter, header.digest)
        return WrappedCall(
            ref=CallRef(
                header_sha256=header.digest, session_id=self.session_id, counter=counter, key_id=self.key.key_id
            ),
            wrap=key.encrypt(schedule.ZERO_NONCE, request.cek, aad),
            opener=self._opener(request, counter, max_response_bytes),
        )

    def dispatch(
        self,
        ref: CallRef,
        *,
        attempt: int,
        award_sha256: bytes,
        offer_id: bytes,
        price_nanos: int,
        gateway_id: bytes,
        deadline_ms: int,
    ) -> SignedDispatch:
        """The dispatch of one attempt under this control session's tag.

        Raises:
            SealingError: not a gateway's session, or it is over (SESSION_CLOSED).
        """
        self._require_control()
        data = Dispatch(
            header_sha256=ref.header_sha256,
            session_id=ref.session_id,
            counter=ref.counter,
            attempt=attempt,
            award_sha256=award_sha256,
            offer_id=offer_id,
            price_nanos=price_nanos,
            gateway_id=gateway_id,
            key_id=ref.key_id,
            deadline_ms=deadline_ms,
        ).encode()
        tag = authenticate(self._dispatch_key, data)
        return SignedDispatch(dispatch=data, tag=tag, digest=digest_of(data))

    __reduce__ = schedule.refuse_copy

    def _opener(self, request: SealedRequest, counter: int, max_bytes: int) -> ResponseOpener:
        keys = schedule.response_keys(self._prk, self.session_id, counter, request.header_sha256)
        expected = Expected(
            worker_id=self.key.worker_id,
            keyset_id=self.key.keyset_id,
            header=request.header,
            request=request.sealer.transcript,
        )
        return ResponseOpener(keys, expected=expected, max_bytes=max_bytes)

    def _ask_guard(self, now: datetime) -> None:
        try:
            _check_key(self.key, self._guard, now)
        except Stale as stale:
            if stale.reason is Reason.REVOKED:  # Revocation closes sessions at once, and a later heartbeat opens none.
                self.close()
            raise

    def _require_control(self) -> None:
        if self.role is not Role.GATEWAY:
            raise _closed(f"session.role is {int(self.role)}, want 1 for a grant or a dispatch")
        self._require_alive()

    def _require_alive(self) -> None:
        if self._getpid() != self._pid:
            raise _closed(f"session belongs to process {self._pid}, want this process {self._getpid()}")
        if self._closed:
            raise _closed("session is closed, want a new one")

    def _require_usable(self, now: datetime) -> None:
        self._require_alive()
        if self._next > self._info.max_requests:
            raise _closed(f"session has carried {self._info.max_requests} requests, want a new one")
        if self.role is Role.SEALED_CLIENT and now - self._started >= MAX_CLIENT_SESSION:
            raise _closed(f"session is {MAX_CLIENT_SESSION.seconds} seconds old, want a new one")


def _check_key(key: "AttestedKey", guard: Guard, now: datetime) -> None:
    guard.check(key, now)
    if now >= key.expires:
        raise Stale(Reason.LEASE_EXPIRED, f"key.expires is {key.expires.isoformat()}, want later than the request")


def _closed(message: str) -> SealingError:
    return SealingError(Reason.SESSION_CLOSED, message)
