# SPDX-License-Identifier: Apache-2.0
"""Control sessions: one for each attested keyset in this process, made ahead of its first request (docs/spec.md, 4).

A session is one key encapsulation and one signed grant, made when a worker is admitted and again when it is used up,
when the keyset gets a new binding, or when the worker says in a signed error that it no longer holds it. Establishment
and grant ride on every call until the first answer on the link in use: a new link knows no grant.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.attested import AttestedWorker
from attestation.binding import SuiteID
from attestation.errors import Reason, SealingError
from attestation.identity import gateway_id_of
from attestation.sealing.dispatch import SignedDispatch
from attestation.sealing.request import SealedRequest
from attestation.sealing.session import Guard, Role, SenderSession, WrappedCall
from gateway.dispatch.exchange import Order

MAX_REQUESTS: Final = 65536


class ControlSession:
    """A granted session with one worker, and on which link the worker has shown that it holds it."""

    def __init__(self, *, session: SenderSession, worker: AttestedWorker, signing_key: Ed25519PrivateKey) -> None:
        establishment = session.establishment
        assert establishment is not None, "a new session has its establishment"
        self.session: Final = session
        self.worker: Final = worker
        self.grant: Final = session.grant(signing_key, expires=int(worker.expires.timestamp()))
        self.info, self.ciphertext = establishment
        self._held_on = 0
        self._used = False

    @property
    def session_id(self) -> bytes:
        """Which session."""
        return self.session.session_id

    @property
    def used(self) -> bool:
        """True once an answer came on it: a worker that then does not know it has lost it."""
        return self._used

    def held_on(self, link: int) -> bool:
        """True once the worker answered on this session and link, so that neither has to be shown again."""
        return self._held_on == link

    def answered_on(self, link: int) -> None:
        """An answer on this session came over this link."""
        self._held_on = link
        self._used = True

    def wrap(self, request: SealedRequest, *, now: datetime, max_response_bytes: int) -> WrappedCall:
        """Wraps a request; the guard is asked. Raises as `SenderSession.wrap`."""
        return self.session.wrap(request, now=now, max_response_bytes=max_response_bytes)

    def dispatch(self, order: Order, wrapped: WrappedCall, *, gateway_id: bytes, deadline_ms: int) -> SignedDispatch:
        """The dispatch of one attempt under this session."""
        return self.session.dispatch(
            wrapped.ref,
            attempt=order.attempt,
            award_sha256=order.award_sha256,
            offer_id=order.offer_id,
            price_nanos=order.price_nanos,
            gateway_id=gateway_id,
            deadline_ms=deadline_ms,
        )


class Sessions:
    """The sessions of one gateway process, by keyset."""

    def __init__(
        self,
        *,
        signing_key: Ed25519PrivateKey,
        guard: Guard,
        suites: Sequence[SuiteID],
        entropy: Callable[[int], bytes],
        made: Callable[[], None],
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        """`suites` are those the policy allows, best first; `made` counts."""
        self.gateway_id: Final = gateway_id_of(signing_key.public_key().public_bytes_raw())
        self._signing_key = signing_key
        self._guard = guard
        self._suites = tuple(suites)
        self._entropy = entropy
        self._made = made
        self._max_requests = max_requests
        self._by_keyset: dict[bytes, ControlSession] = {}

    def ensure(self, worker: AttestedWorker, *, now: datetime) -> ControlSession:
        """The session with this worker's keyset under its newest binding; makes one where none is usable.

        Raises:
            Stale, NotAcceptable: the guard refuses the key, or no suite of it is allowed.
        """
        held = self._by_keyset.get(worker.keyset_id)
        if held is not None and held.session.remaining and held.worker.binding_digest == worker.binding_digest:
            return held
        self.drop(worker.keyset_id)
        session = SenderSession(
            worker.key(self._suites),
            role=Role.GATEWAY,
            max_requests=self._max_requests,
            guard=self._guard,
            entropy=self._entropy,
            now=now,
        )
        made = ControlSession(session=session, worker=worker, signing_key=self._signing_key)
        self._by_keyset[worker.keyset_id] = made
        self._made()
        return made

    def wrap(
        self, worker: AttestedWorker, request: SealedRequest, *, now: datetime, max_response_bytes: int
    ) -> tuple[ControlSession, WrappedCall]:
        """Wraps a request on the worker's session; one that ended, as after a fork, is made anew.

        Raises:
            SealbidError: the key must not be sealed to now.
        """
        session = self.ensure(worker, now=now)
        try:
            return session, session.wrap(request, now=now, max_response_bytes=max_response_bytes)
        except SealingError as error:
            if error.reason is not Reason.SESSION_CLOSED:
                raise
        self.drop(worker.keyset_id)
        session = self.ensure(worker, now=now)
        return session, session.wrap(request, now=now, max_response_bytes=max_response_bytes)

    def held(self, keyset_id: bytes, session_id: bytes) -> ControlSession | None:
        """The session of this id, while it is the keyset's current one."""
        session = self._by_keyset.get(keyset_id)
        return session if session is not None and session.session_id == session_id else None

    def drop(self, keyset_id: bytes) -> None:
        """Closes the keyset's session. Calls under way keep what they need to open their answers."""
        session = self._by_keyset.pop(keyset_id, None)
        if session is not None:
            session.session.close()
