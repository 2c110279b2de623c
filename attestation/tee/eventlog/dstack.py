# SPDX-License-Identifier: Apache-2.0
"""Event logs of dstack guests: JSON, one object per extension of RTMR0..3.

    log     = [{"imr": 0..3, "event_type": u32, "digest": hex 48 or "", "event": text, "event_payload": hex}, ..]
    runtime = an event of type 0x08000001: digest = SHA-384(u32le type ":" event ":" payload); "" means exactly that

Only what runtime events say is proven by a replay; of the firmware's events only the digests are, so their payloads are
dropped. Source: dstack (Apache-2.0), cc-eventlog. Verifies nothing.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from attestation.tee.eventlog.replay import DIGEST_BYTES, MAX_EVENTS, Event
from attestation.tee.strict_json import JSONObject, malformed, objects, read_json

LOG_KIND: Final = "event-log-dstack"
MAX_LOG_BYTES: Final = 2 << 20
RUNTIME_EVENT: Final = 0x08000001
_MAX_NAME: Final = 256
_MAX_PAYLOAD: Final = 64 << 10
_SHA384: Final = DIGEST_BYTES["sha384"]
_APP_RTMR: Final = 3
_COMPOSE: Final = b"compose-hash:"
_COMPOSE_BYTES: Final = 32


def read_dstack(data: bytes) -> tuple[Event, ...]:
    """The events of a log; a runtime event's data is `name:payload`. Raises `MalformedEvidence`."""
    return tuple(_event(item) for item in objects(read_json(data, "event log", MAX_LOG_BYTES), "event log", MAX_EVENTS))


def app_compose(events: Iterable[Event]) -> bytes | None:
    """The SHA-256 of the application's compose file that the guest measured before it started it; None unless once.

    It is what the guest's software says: the registers that measure that software must be those of a dstack image.
    """
    found = [
        event.data.removeprefix(_COMPOSE)
        for event in events
        if (event.register, event.kind) == (_APP_RTMR, RUNTIME_EVENT) and event.data.startswith(_COMPOSE)
    ]
    return found[0] if len(found) == 1 and len(found[0]) == _COMPOSE_BYTES else None


def _event(item: JSONObject) -> Event:
    register, kind = item.integer("imr", 3), item.integer("event_type", 0xFFFFFFFF)
    digest, name = item.octets("digest", 0, _SHA384), item.text("event", _MAX_NAME)
    payload = item.octets("event_payload", 0, _MAX_PAYLOAD)
    data = b""
    if kind == RUNTIME_EVENT:
        data = name.encode() + b":" + payload
        measured = hashlib.sha384(kind.to_bytes(4, "little") + b":" + data).digest()
        if digest not in {b"", measured}:
            raise malformed("event log digest", "another", "the hash of the event it stands for")
        digest = measured
    if len(digest) != _SHA384:
        raise malformed("event log digest", f"{len(digest)} bytes", f"{_SHA384}")
    return Event(register=register, kind=kind, digests={"sha384": digest}, data=data)
