# SPDX-License-Identifier: Apache-2.0
"""Where collateral comes from: the cache while it is valid, the vendor's service before it runs out.

An answer is renewed after three quarters of its validity, and of a day if it is not for good (a VCEK, AMD's chains),
spread by a jitter so that many registries do not ask at once. While a service does not answer, what is kept serves
until it runs out; after that the caller is told COLLATERAL_EXPIRED, never given the old bytes. A request that failed is
not asked again for a while, so that a service that is down costs one registration its time and not every one.

Vendors throttle by address, so what one account has asked is bounded apart from what others have: most tightly for
certificates of chips, as a report that nobody has verified yet names any chip it likes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, assert_never

from attestation.bundle import Collateral
from attestation.collateral.amd import AMDService
from attestation.collateral.answers import Answer
from attestation.collateral.cache import Cached, CollateralCache
from attestation.collateral.intel import IntelService
from attestation.collateral.nvidia import NVIDIAService
from attestation.collateral.requests import (
    VCEK,
    AMDChain,
    AMDRevocations,
    CertificateStatus,
    IntelCollateral,
    ReferenceManifest,
    Request,
)
from attestation.collateral.transport import TransportError
from attestation.errors import AttestationError, CollateralUnavailable, Reason, SealbidError
from attestation.rates import Rates

RENEW_AFTER: Final = 0.75
RENEW_WITHIN: Final = timedelta(days=1)
"""No statement counts as newest for longer, whatever its own end: a TCB recovery must not take a month to arrive."""

SPREAD: Final = 0.1
"""Renewal comes up to this part of the validity earlier, by the jitter."""

FAILED_AGAIN: Final = timedelta(seconds=60)
ACCOUNT_PER_MINUTE: Final = 60
ACCOUNT_BURST: Final = 512
CHIPS_PER_MINUTE: Final = 6
CHIPS_BURST: Final = 64
"""A fleet that starts has 64 chips asked for at once and six more a minute; one that sends their certificates, none."""

MAX_KNOWN: Final = 4096
_LOCKS: Final = 64


class AskedTooOften(CollateralUnavailable):
    """Not at hand, and not asked for: the account has had its share of questions. The account's own doing alone."""


class CollateralSource(Protocol):
    """Answers requests. Any thread; blocks; the same request twice at once is asked of a vendor once."""

    def get(self, request: Request, now: datetime, *, account: str) -> tuple[Collateral, ...]:
        """The collateral of a request that `account` has need of, valid at `now`.

        Raises:
            CollateralUnavailable: COLLATERAL_UNAVAILABLE, or COLLATERAL_EXPIRED if what is kept has run out.
            AskedTooOften: nothing valid is kept, and a vendor may not be asked for this account now.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The vendors' services."""

    intel: IntelService
    amd: AMDService
    nvidia: NVIDIAService

    def fetch(self, request: Request, now: datetime) -> Answer:
        """Asks the request's vendor. Raises `TransportError` or `AttestationError`."""
        match request:
            case IntelCollateral():
                return self.intel.fetch(request)
            case VCEK():
                return self.amd.vcek(request)
            case AMDChain():
                return self.amd.chain(request)
            case AMDRevocations():
                return self.amd.revocations(request)
            case ReferenceManifest():
                return self.nvidia.manifest(request, now)
            case CertificateStatus():
                return self.nvidia.status(request)
            case _:
                assert_never(request)


class CachedSource:
    """`CollateralSource` over a cache and, unless offline (`services` None), the vendors' services."""

    def __init__(self, *, cache: CollateralCache, services: Services | None, jitter: Callable[[], float]) -> None:
        self._cache = cache
        self._services = services
        self._jitter = jitter
        self._known: OrderedDict[bytes, Request] = OrderedDict()
        self._failed: OrderedDict[bytes, datetime] = OrderedDict()
        self._lock = threading.Lock()
        self._rates = Rates(per_minute=ACCOUNT_PER_MINUTE, burst=ACCOUNT_BURST)
        self._chips = Rates(per_minute=CHIPS_PER_MINUTE, burst=CHIPS_BURST)
        self._asking = tuple(threading.Lock() for _ in range(_LOCKS))

    def get(self, request: Request, now: datetime, *, account: str) -> tuple[Collateral, ...]:
        """From the cache, or renewed first when it is time."""
        return self._get(request, now, lambda: self._take(request, account, now))

    def _get(self, request: Request, now: datetime, take: Callable[[], None]) -> tuple[Collateral, ...]:
        key = request.key
        found = self._cache.get(key)
        if found is not None and not self._due(request, found, now):
            return self._served(request, found, now)
        asking = self._asking[hash(key) % _LOCKS]
        # Whoever holds something valid does not wait for the one who renews it.
        if asking.acquire(blocking=found is None or now >= found.valid_until):
            try:
                found = self._cache.get(key)  # another thread may have asked meanwhile
                if found is None or self._due(request, found, now):
                    found = self._renewed(key, request, now, take, kept=found) or found
            finally:
                asking.release()
        return self._served(request, found, now)

    def refresh(self, now: datetime) -> int:
        """Renews whatever was served since the start and is due; how many of it have nothing valid any more."""
        with self._lock:
            known = list(self._known.values())
        missing = 0
        for request in known:
            try:
                self._get(request, now, lambda: None)
            except CollateralUnavailable:
                missing += 1
        return missing

    def _take(self, request: Request, account: str, now: datetime) -> None:
        rates = self._chips if isinstance(request, VCEK) else self._rates
        try:
            rates.take(account, now)
        except SealbidError as error:
            message = f"{request.name} is not asked for, want it later: {error.message}"
            raise AskedTooOften(Reason.COLLATERAL_UNAVAILABLE, message) from None

    def _renewed(
        self, key: bytes, request: Request, now: datetime, take: Callable[[], None], *, kept: Cached | None
    ) -> Cached | None:
        if self._services is None or self._failed_lately(key, now):
            return None
        try:
            take()
        except AskedTooOften:
            if kept is None or now >= kept.valid_until:
                raise
            return None  # the process renews what it serves by itself
        try:
            answer = self._services.fetch(request, now)
        except (TransportError, AttestationError):
            self._note_failure(key, now)
            return None
        if answer.valid_until <= now:
            self._note_failure(key, now)
            return None
        with suppress(SealbidError):  # a full disk costs the next asker a fetch, not this one its answer
            self._cache.put(key, answer.items, now=now, valid_until=answer.valid_until)
        return Cached(items=answer.items, fetched_at=now, valid_until=answer.valid_until)

    def _note_failure(self, key: bytes, now: datetime) -> None:
        with self._lock:
            self._failed[key] = now
            _bound(self._failed)

    def _due(self, request: Request, found: Cached, now: datetime) -> bool:
        whole = found.valid_until - found.fetched_at
        if not isinstance(request, (VCEK, AMDChain)):
            whole = min(whole, RENEW_WITHIN)
        early = (RENEW_AFTER - SPREAD * self._jitter()) * whole
        # A clock that jumped back behind the fetch says nothing about age: ask again.
        return now >= found.fetched_at + early or now < found.fetched_at

    def _failed_lately(self, key: bytes, now: datetime) -> bool:
        with self._lock:
            at = self._failed.get(key)
        return at is not None and timedelta() <= now - at < FAILED_AGAIN

    def _served(self, request: Request, found: Cached | None, now: datetime) -> tuple[Collateral, ...]:
        _check_valid(request, found, now)
        assert found is not None
        with self._lock:  # only what was answered once is renewed unasked: anybody may have anything asked
            self._known[request.key] = request
            self._known.move_to_end(request.key)
            _bound(self._known)
        return found.items


def _check_valid(request: Request, found: Cached | None, now: datetime) -> None:
    if found is None:
        message = f"{request.name} is not at hand, want it from its vendor"
        raise CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)
    if now >= found.valid_until:
        ended = found.valid_until.isoformat()
        message = f"{request.name} is valid until {ended}, want valid at {now.isoformat()}"
        raise CollateralUnavailable(Reason.COLLATERAL_EXPIRED, message)


def _bound(table: "OrderedDict[bytes, Request] | OrderedDict[bytes, datetime]") -> None:
    while len(table) > MAX_KNOWN:
        table.popitem(last=False)
