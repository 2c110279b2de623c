# SPDX-License-Identifier: Apache-2.0
"""Event logs are read totally: any bytes give events or one named error."""

import json
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.tee.eventlog.dstack import RUNTIME_EVENT, app_compose, read_dstack
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import read_tcg2
from tests.unit.tee.eventlog.test_tcg2 import SHA256, SHA384, event, first

LOG = first(SHA256, SHA384) + event(1, 8, b"one", SHA256, SHA384) + event(2, 8, b"two", SHA256, SHA384)
HEX = st.binary(max_size=60).map(bytes.hex)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "imr": st.integers(-1, 5),
        "event_type": st.sampled_from([RUNTIME_EVENT, 4, -1, 1 << 40]),
        "digest": st.just("") | st.binary(min_size=48, max_size=48).map(bytes.hex) | HEX,
        "event": st.text(max_size=20),
        "event_payload": HEX | st.text(max_size=8),
    },
)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=600))
@example(data=b"")
def test_random_bytes_are_events_or_an_error(data: bytes) -> None:
    """In both forms, after a right beginning too."""
    for reader, log in ((read_tcg2, data), (read_tcg2, LOG + data), (read_dstack, data)):
        with suppress(MalformedEvidence):
            replay(reader(log), "sha384", range(5))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(LOG) - 1), value=st.integers(0, 255), cut=st.integers(0, len(LOG)))
def test_a_binary_log_changed_or_cut_is_events_or_an_error(place: int, value: int, cut: int) -> None:
    """A changed byte in a length is never an allocation or a read past the end."""
    for log in (LOG[:place] + bytes([value]) + LOG[place + 1 :], LOG[:cut]):
        with suppress(MalformedEvidence):
            replay(read_tcg2(log), "sha256", range(5))


@settings(max_examples=150, deadline=None)
@given(events=st.lists(EVENTS, max_size=5))
def test_any_json_events_are_read_or_refused(events: list[dict[str, object]]) -> None:
    """Registers, types, digests and payloads of any value; what is read has a digest for every event."""
    with suppress(MalformedEvidence):
        read = read_dstack(json.dumps(events).encode())
        assert all(len(one.digests["sha384"]) == 48 for one in read)
        app_compose(read)
