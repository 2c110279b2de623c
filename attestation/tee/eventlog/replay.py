# SPDX-License-Identifier: Apache-2.0
"""One event of a log, and replay: extend each register by its events, as the hardware did.

    register = H(register || digest), from zero; events of type EV_NO_ACTION are not extended
    PCR 0 starts at the locality, 0, 3 or 4, that an event "StartupLocality" names before any other of that register
    (TCG PC Client Firmware Profile, 10.4.5.3)

A log proves nothing by itself: a register that hardware signed and that the replay gives proves its digests, in order.
What an event's data says is proven only where its digest is known to be the hash of it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_EVENTS: Final = 16_384
EV_NO_ACTION: Final = 3
DIGEST_BYTES: Final[Mapping[str, int]] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "sm3_256": 32}
_STARTUPS: Final = frozenset(b"StartupLocality\0" + bytes([locality]) for locality in (0, 3, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One measurement: into which register, of what type, its digests by algorithm, and the data it speaks of."""

    register: int
    kind: int
    digests: Mapping[str, bytes]
    data: bytes


def replay(events: Iterable[Event], algorithm: str, registers: Collection[int]) -> dict[int, bytes]:
    """The values of `registers` after all events, in the bank of `algorithm` (sha256 or sha384).

    An event without a digest of that bank leaves its register as it is, so the result then differs from the hardware's.
    """
    values = {register: bytes(DIGEST_BYTES[algorithm]) for register in registers}
    for event in events:
        if event.register not in values:
            continue
        if event.kind == EV_NO_ACTION:
            # Where the register starts is said before anything is measured into it, and never again.
            if event.register == 0 and event.data in _STARTUPS and not any(values[0]):
                values[0] = values[0][:-1] + event.data[-1:]
        elif algorithm in event.digests:
            extended = values[event.register] + event.digests[algorithm]
            values[event.register] = hashlib.new(algorithm, extended).digest()
    return values
