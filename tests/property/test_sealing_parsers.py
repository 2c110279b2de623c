# SPDX-License-Identifier: Apache-2.0
"""Every parser of the sealed protocol is total: bytes give a value or one named error, and one value has one form."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.binding import Challenge, KeyBinding, Keyset
from attestation.codec import cbor
from attestation.errors import Malformed, NotGenuine, SealingError
from attestation.sealing.batch import HalfProof
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.errors_signed import SignedError, open_error
from attestation.sealing.grant import Grant, open_grant
from attestation.sealing.halves import GatewayHalf, WorkerHalf
from attestation.sealing.header import Header
from attestation.sealing.incoming import IncomingCall
from attestation.sealing.session import SessionInfo
from attestation.sealing.stream import ChunkReader
from tests.support.sealing import NOW, OWN_OFFERS, GatewaySide, WorkerSide

LABELS = {
    Keyset: "sealbid/keyset/1",
    Challenge: "sealbid/challenge/1",
    KeyBinding: "sealbid/binding/1",
    SessionInfo: "sealbid/session/1",
    Header: "sealbid/request/1",
    Dispatch: "sealbid/dispatch/1",
    WorkerHalf: "sealbid/worker-half/1",
    GatewayHalf: "sealbid/gateway-half/1",
    Grant: None,
    SignedError: None,
    HalfProof: None,
}
SIZES = {Keyset: 5, Challenge: 7, KeyBinding: 10, SessionInfo: 6, Header: 14, Dispatch: 11, WorkerHalf: 16,
         GatewayHalf: 11, Grant: 4, SignedError: 4, HalfProof: 4}  # fmt: skip

SCALARS = (
    st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=40)
    | st.binary(min_size=32, max_size=32)
    | st.text(max_size=8)
    | st.booleans()
    | st.none()
)
ITEMS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 23), inner, max_size=3)
)


@pytest.mark.parametrize("kind", LABELS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_structures_parse_or_are_malformed(kind: Any, data: st.DataObject) -> None:
    """Random bytes and near misses alike: a value that encodes to the same bytes, or Malformed."""
    label, size = LABELS[kind], SIZES[kind]
    items = data.draw(st.lists(ITEMS, min_size=size, max_size=size))
    near = dict(enumerate(items)) | ({0: label} if label else {})
    for raw in (data.draw(st.binary(max_size=200)), cbor.encode(near)):
        try:
            value = kind.decode(raw)
        except Malformed:
            continue
        assert value.encode() == raw


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_signed_structures_are_total(data: bytes) -> None:
    """Random bytes are no grant and no signed error."""
    readers: list[Callable[[], object]] = [
        lambda: open_grant(data, bytes(32)),
        lambda: open_error(data, receipt_key=bytes(32), session_id=bytes(32), header_sha256=bytes(32)),
        lambda: ChunkReader().read(data),
    ]
    for read in readers:
        with pytest.raises((SealingError, NotGenuine)):
            read()


GATEWAY = GatewaySide(WorkerSide())
MAYBE = st.binary(max_size=600)


@settings(max_examples=150, deadline=None)
@given(
    call=st.builds(
        IncomingCall, session_id=MAYBE, info=MAYBE, ct=MAYBE, header=MAYBE, counter=st.integers(0, (1 << 64) - 1),
        wrap=MAYBE, dispatch=MAYBE, tag=MAYBE, frame=MAYBE, final=st.booleans(),
    )
)  # fmt: skip
def test_a_call_of_random_bytes_is_refused_by_name(call: IncomingCall) -> None:
    """Whatever arrives, the worker answers with a named refusal."""
    with pytest.raises(SealingError):
        GATEWAY.worker.ring.open(call, transport=GATEWAY.transport, offers=OWN_OFFERS, now=NOW)


@settings(max_examples=100, deadline=None)
@given(header=MAYBE, wrap=MAYBE, frame=MAYBE, final=st.booleans())
def test_a_call_of_random_bytes_under_a_valid_dispatch_is_refused_by_name(
    header: bytes, wrap: bytes, frame: bytes, final: bool
) -> None:
    """Nor does a gateway's own tag make random bytes anything else."""
    sent = GATEWAY.send()
    with pytest.raises(SealingError):
        GATEWAY.open(sent.with_(header=header, wrap=wrap, frame=frame, final=final))
    for changes in ({"wrap": wrap}, {"frame": frame}, {"header": header}):
        with pytest.raises(SealingError):
            GATEWAY.open(sent.with_(**changes))


@settings(max_examples=100, deadline=None)
@given(frame=st.binary(max_size=1100), final=st.booleans())
def test_random_response_frames_are_refused_by_name(frame: bytes, final: bool) -> None:
    """A sender survives whatever its peer sends."""
    sent = GATEWAY.send()
    with pytest.raises(SealingError):
        sent.wrapped.opener.feed(frame, final)
