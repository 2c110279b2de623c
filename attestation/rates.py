# SPDX-License-Identifier: Apache-2.0
"""A token bucket per authenticated account: bounded work for the registry, bounded growth for the log."""

import threading
from datetime import datetime

from attestation.errors import Reason, SealbidError


class Rates:
    """At most `per_minute` calls a minute per account, `burst` at once. Accounts are known names, so few."""

    def __init__(self, *, per_minute: int, burst: int) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, datetime]] = {}

    def take(self, account: str, now: datetime) -> None:
        """Takes one call from the account's bucket. Raises `SealbidError` (RATE_LIMITED) when it is empty."""
        with self._lock:
            level, at = self._buckets.get(account, (self._burst, now))
            # A clock that jumps back must neither fill nor empty a bucket.
            level = min(self._burst, level + max(0.0, (now - at).total_seconds()) * self._per_second)
            if level < 1:
                self._buckets[account] = (level, now)
                limit = round(self._per_second * 60)
                raise SealbidError(
                    Reason.RATE_LIMITED, f"calls of {account} are too many, want at most {limit} a minute"
                )
            self._buckets[account] = (level - 1, now)
