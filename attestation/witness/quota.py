# SPDX-License-Identifier: Apache-2.0
"""Bounded work: token buckets by log (heads a day) and by peer address (requests a minute)."""

import threading
from collections import OrderedDict
from datetime import datetime
from typing import Final

MAX_BUCKETS: Final = 10_000


class Buckets:
    """At most `per_second` over time and `burst` at once, for each name; the names used longest ago are forgotten.

    Forgetting refills a bucket, so `MAX_BUCKETS` peers can each take a burst; what is scarce is bounded elsewhere.
    """

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def take(self, name: str, now: datetime) -> bool:
        """Whether one more fits, which is then taken."""
        with self._lock:
            level, at = self._buckets.pop(name, (self._burst, now))
            # A clock that jumps back must neither fill nor empty a bucket.
            level = min(self._burst, level + max(0.0, (now - at).total_seconds()) * self._per_second)
            fits = level >= 1
            self._buckets[name] = (level - 1 if fits else level, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return fits
