# SPDX-License-Identifier: Apache-2.0
"""What was verified before and need not be verified again: a bounded cache of verified chains, manifests and responses.

A value is kept under the digest of exactly the bytes it was derived from, so a hit is as good as doing the work again;
whatever depends on the time is checked by the caller on every use, hit or not. Nothing that failed is kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """Up to `limit` values by digest; the one unused for longest goes first. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[bytes, _T] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: bytes, make: Callable[[], _T]) -> _T:
        """The value kept under `digest`, or what `make` returns, which is then kept. An error of `make` is not kept."""
        with self._lock:
            if digest in self._values:
                self._values.move_to_end(digest)
                return self._values[digest]
        value = make()  # outside the lock: two threads may do the work twice, none waits for the other
        with self._lock:
            self._values[digest] = value
            while len(self._values) > self._limit:
                self._values.popitem(last=False)
        return value
