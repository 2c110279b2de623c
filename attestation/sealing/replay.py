# SPDX-License-Identifier: Apache-2.0
"""What a worker remembers so that nothing is executed twice (docs/spec.md, 4.6 and 5.4).

`ReplayWindow` is per session and needs no clock. `RequestIDs` spans sessions and key generations, because a sender
that was lied to about a lost session seals the same request again in a new one. Checking never marks: a request that
fails to open must leave no trace by which a later, genuine one would be refused.
"""

import heapq
from collections import Counter
from datetime import datetime
from typing import Final

from attestation.errors import Reason, Replayed, SealingError

WINDOW: Final = 1024
MAX_REQUEST_SECONDS: Final = 3600
_MASK: Final = (1 << WINDOW) - 1


class ReplayWindow:
    """Accepts each counter once, and none 1,024 or more below the highest accepted."""

    __slots__ = ("_bits", "_highest", "accepted")

    def __init__(self) -> None:
        self.accepted = 0
        self._highest = 0
        self._bits = 0  # bit i stands for counter `_highest - i`

    def check(self, counter: int) -> None:
        """Accepts a counter not seen, without marking it.

        Raises:
            Replayed: it was accepted before, or is below the window (REPLAYED).
        """
        behind = self._highest - counter
        if counter < 1 or behind >= WINDOW:
            raise Replayed(Reason.REPLAYED, f"counter is {counter}, want above {max(0, self._highest - WINDOW)}")
        if behind >= 0 and self._bits >> behind & 1:
            raise Replayed(Reason.REPLAYED, f"counter is {counter}, which was accepted before")

    def mark(self, counter: int) -> None:
        """Remembers a counter that `check` let pass."""
        if counter > self._highest:
            self._bits = (self._bits << min(counter - self._highest, WINDOW) | 1) & _MASK
            self._highest = counter
        else:
            self._bits |= 1 << (self._highest - counter)
        self.accepted += 1


class RequestIDs:
    """Request ids until their headers expire; one per worker, shared by all its key generations.

    Each id is counted to the gateway it came from. A gateway is refused once it has as many as there are places free:
    one alone takes half the table at most, and the next one half of what is left.

    Wall time is the host's to set. An id forgotten because the clock ran ahead stays refused when it is set back: no
    header that expired by the latest forgotten one is accepted again.
    """

    __slots__ = ("_by_expiry", "_by_gateway", "_capacity", "_forgotten", "_ids")

    def __init__(self, *, capacity: int = 1 << 20) -> None:
        self._capacity = capacity
        self._ids: set[bytes] = set()
        self._by_expiry: list[tuple[int, bytes, bytes]] = []
        self._by_gateway: Counter[bytes] = Counter()
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._ids)

    def check(self, request_id: bytes, expires: int, *, gateway_id: bytes, now: datetime) -> None:
        """Accepts an id not seen whose header is in force, without marking it.

        Raises:
            Replayed: the id was executed before (DUPLICATE_REQUEST).
            SealingError: the header is past or too far ahead (DISPATCH_REFUSED), or this gateway has its share of the
                table (WORKER_OVERLOADED).
        """
        at = int(now.timestamp())
        self._forget(at)
        if request_id in self._ids:
            raise Replayed(Reason.DUPLICATE_REQUEST, f"request_id {request_id.hex()} was executed before")
        if not max(at, self._forgotten) < expires <= at + MAX_REQUEST_SECONDS:
            want = f"within {MAX_REQUEST_SECONDS} seconds after {max(at, self._forgotten)}"
            raise SealingError(Reason.DISPATCH_REFUSED, f"header.expires is {expires}, want {want}")
        own, free = self._by_gateway[gateway_id], self._capacity - len(self._ids)
        if own >= free:
            message = f"requests remembered of this gateway are {own}, want under the {free} places free"
            raise SealingError(Reason.WORKER_OVERLOADED, message)

    def mark(self, request_id: bytes, expires: int, *, gateway_id: bytes) -> None:
        """Remembers an id that `check` let pass until its header expires."""
        self._ids.add(request_id)
        self._by_gateway[gateway_id] += 1
        heapq.heappush(self._by_expiry, (expires, request_id, gateway_id))

    def _forget(self, at: int) -> None:
        while self._by_expiry and self._by_expiry[0][0] <= at:
            self._forgotten, request_id, gateway_id = heapq.heappop(self._by_expiry)
            self._ids.discard(request_id)
            self._by_gateway[gateway_id] -= 1
            if not self._by_gateway[gateway_id]:
                del self._by_gateway[gateway_id]
