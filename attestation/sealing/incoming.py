# SPDX-License-Identifier: Apache-2.0
"""Opening one wrapped request at the worker (docs/spec.md, 5.4 and 5.5).

    1 dispatch  its tag verifies under a control session granted on this transport, by this gateway
    2 header    parses, and is the one the dispatch names; so are session, counter and key
    3 limits    price within the sealed cap
    4 replay    not expired; request id and counter not seen; nothing is marked yet
      offer     the worker's own, for this model, at no less than its ask, with a slot free
    5 open      the wrap opens, the content key is the committed one, the first frame opens
    6 mark      counter and request id, together; only now may anything run

Whatever fails before 6 leaves no trace: a forged or damaged request must not burn the counter of the genuine one, and
a request the worker will not run must not cost a place among the ids it remembers. The offer comes after replay, so
that of a request that runs already nobody is told that the worker has no slot for it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.codec.labels import labelled_sha256
from attestation.errors import Reason, SealingError
from attestation.sealing.dispatch import Dispatch, check_tag, digest_of
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.halves import WorkerHalf, WorkerStatus
from attestation.sealing.header import Header
from attestation.sealing.replay import RequestIDs
from attestation.sealing.request import RequestOpener, open_request
from attestation.sealing.response import ResponseSealer
from attestation.sealing.worker_session import WorkerSession


class Offers(Protocol):
    """What the worker has on offer, to which a dispatch is held before anything is marked."""

    def check(self, dispatch: Dispatch, header: Header) -> None:
        """Accepts a dispatch under an offer of this worker with a slot free, without taking the slot.

        Raises:
            SealingError: another's offer, another model, or a price under the ask (DISPATCH_REFUSED), or no slot free
                (WORKER_OVERLOADED).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall:
    """One attempt as it arrives, with its first frame. `info` and `ct` are empty once the session is established."""

    session_id: bytes
    info: bytes
    ct: bytes
    header: bytes
    counter: int
    wrap: bytes
    dispatch: bytes
    tag: bytes
    frame: bytes
    final: bool

    @property
    def header_sha256(self) -> bytes:
        """`hh` of the header bytes as received, by which a signed refusal names the request."""
        return labelled_sha256("request", self.header)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedCall:
    """An accepted request: its first frame is opened, its counter and id are marked, and it may run once.

    It holds this call's own keys and no other, so it survives the end of its session and generation.
    """

    header: Header
    dispatch: Dispatch
    dispatch_sha256: bytes
    request: RequestOpener
    response: ResponseSealer

    def half(
        self,
        *,
        worker_id: bytes,
        keyset_id: bytes,
        binding_digest: bytes,
        engine_sha256: bytes,
        units: int,
        status: WorkerStatus,
        started: int,
        ended: int,
        seq: int,
    ) -> WorkerHalf:
        """The worker's half, after the last frame but the trailer.

        Raises:
            Truncated: the request's final frame has not been opened.
        """
        request, response = self.request.transcript(), self.response.transcript()
        return WorkerHalf(
            worker_id=worker_id,
            keyset_id=keyset_id,
            binding_digest=binding_digest,
            dispatch_sha256=self.dispatch_sha256,
            header_sha256=self.header.digest,
            req_ct=request.ct_sha256,
            resp_ct=response.ct_sha256,
            req_commit=request.commit,
            resp_commit=response.commit,
            engine_sha256=engine_sha256,
            units=units,
            status=status,
            started=started,
            ended=ended,
            seq=seq,
        )


def open_call(
    call: IncomingCall,
    *,
    session: WorkerSession,
    control_keys: tuple[bytes, ...],
    transport: GrantedTransport,
    seen: RequestIDs,
    offers: Offers,
    now: datetime,
    max_bytes: int,
) -> OpenedCall:
    """Opens a call on a session this transport may use, in the order of the module.

    Raises:
        SealingError: a named refusal; nothing was marked, and nothing may run.
    """
    check_tag(control_keys, call.dispatch, call.tag)
    dispatch, header = Dispatch.decode(call.dispatch), Header.decode(call.header)
    _check_names(dispatch, header, session, call.counter, transport)
    if dispatch.price_nanos > header.limits.max_price_nanos:
        raise refused(f"dispatch.price_nanos is {dispatch.price_nanos}, want at most {header.limits.max_price_nanos}")
    seen.check(header.request_id, header.limits.expires, gateway_id=transport.gateway_id, now=now)
    session.check_counter(call.counter)
    offers.check(dispatch, header)
    cek = session.unwrap(header, call.counter, call.wrap)
    request = open_request(cek, header, max_bytes=max_bytes)
    request.feed(call.frame, call.final)
    session.window.mark(call.counter)
    seen.mark(header.request_id, header.limits.expires, gateway_id=transport.gateway_id)
    keys = session.response_keys(header, call.counter)
    return OpenedCall(
        header=header,
        dispatch=dispatch,
        dispatch_sha256=digest_of(call.dispatch),
        request=request,
        response=ResponseSealer(keys, method=header.limits.method, quantum=header.limits.resp_quantum),
    )


def _check_names(
    dispatch: Dispatch, header: Header, session: WorkerSession, counter: int, transport: GrantedTransport
) -> None:
    """The dispatch is about this header, session, counter and key, and by the gateway at the other end."""
    _same("header_sha256", dispatch.header_sha256, header.digest)
    _same("session_id", dispatch.session_id, session.session_id)
    _same("key_id", dispatch.key_id, session.key_id)
    _same("gateway_id", dispatch.gateway_id, transport.gateway_id)
    if dispatch.counter != counter:
        raise refused(f"dispatch.counter is {dispatch.counter}, want {counter}")


def _same(name: str, got: bytes, want: bytes) -> None:
    if got != want:
        raise refused(f"dispatch.{name} is {got.hex()}, want {want.hex()}")


def refused(message: str) -> SealingError:
    """The refusal of a dispatch: DISPATCH_REFUSED."""
    return SealingError(Reason.DISPATCH_REFUSED, message)
