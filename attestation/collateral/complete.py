# SPDX-License-Identifier: Apache-2.0
"""Completes a bundle with the collateral its evidence needs, before it is judged.

The completed bundle is what the registry judges, archives by its digest and hands out, so that everybody who judges
again, at once or years later, has the same bytes. What a vendor said anew takes the place of what the worker sent of
the same kind. What cannot be had in time is left out and named: the verdict then says what was missing.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from attestation.bundle import MAX_COLLATERAL, Collateral, Evidence, EvidenceBundle
from attestation.collateral.needs import needs
from attestation.collateral.nvidia import STATUS_KIND
from attestation.collateral.requests import AMDRevocations, CertificateStatus, IntelCollateral, Request
from attestation.collateral.source import CollateralSource
from attestation.errors import CollateralUnavailable, MalformedEvidence, Reason
from attestation.tee.certificates import read_certificate
from attestation.tee.dcap.endorsements import COLLATERAL_KIND
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.snp.endorsement import CRL_KIND

ROUNDS: Final = 2
"""A manifest that was fetched has signers whose status is asked in the second round; nothing it brings needs more."""

WORKERS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The completed bundle, and what was wanted for it and not to be had."""

    bundle: EvidenceBundle
    missing: tuple[CollateralUnavailable, ...]


class Completer(Protocol):
    """Completes bundles. Any thread; may block for as long as its source may."""

    def complete(self, bundle: EvidenceBundle, now: datetime) -> Completion:
        """The bundle with collateral that is valid at `now`; never raises for what is missing."""
        ...


class AsSent:
    """The `Completer` of a process without vendors' services and without a cache: a bundle is judged as it came."""

    def complete(self, bundle: EvidenceBundle, now: datetime) -> Completion:
        """The same bundle."""
        return Completion(bundle=bundle, missing=())


class FetchingCompleter:
    """The `Completer` over a source. Asks up to eight things at once and waits `seconds` for all; `close` at the end.

    What answers later is in the cache for the next attempt.
    """

    def __init__(self, source: CollateralSource, *, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="collateral")

    def close(self) -> None:
        """Asks nothing more; does not wait for what is under way."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def complete(self, bundle: EvidenceBundle, now: datetime) -> Completion:
        """The bundle with what could be had."""
        collateral, missing = self.find(bundle.evidence, bundle.collateral, now)
        try:
            return Completion(bundle=replace(bundle, collateral=collateral), missing=missing)
        except MalformedEvidence as error:  # the whole would be too large
            full = CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, error.message)
            return Completion(bundle=bundle, missing=(*missing, full))

    def find(
        self, evidence: Sequence[Evidence], collateral: Sequence[Collateral], now: datetime
    ) -> tuple[tuple[Collateral, ...], tuple[CollateralUnavailable, ...]]:
        """What `evidence` needs, with `collateral` as far as nothing newer takes its place; and what is missing."""
        deadline = time.monotonic() + self._seconds
        answered: dict[bytes, tuple[Request, tuple[Collateral, ...]]] = {}
        missing: dict[bytes, CollateralUnavailable] = {}
        merged = tuple(collateral)
        for _ in range(ROUNDS):
            asked = [
                request
                for request in needs(evidence, merged)
                if request.key not in answered and request.key not in missing
            ]
            self._ask(asked, now, deadline, answered, missing)
            merged = _merged(collateral, answered.values())
        return merged, tuple(missing.values())

    def _ask(
        self,
        requests: Sequence[Request],
        now: datetime,
        deadline: float,
        answered: dict[bytes, tuple[Request, tuple[Collateral, ...]]],
        missing: dict[bytes, CollateralUnavailable],
    ) -> None:
        under_way: dict[Future[tuple[Collateral, ...]], Request] = {
            self._workers.submit(self._source.get, request, now): request for request in requests
        }
        done, late = wait(under_way, timeout=max(0.0, deadline - time.monotonic()))
        for future, request in under_way.items():
            if future in late:
                future.cancel()
                message = f"{request.name} is not here within {self._seconds:g} seconds, want it from its vendor"
                missing[request.key] = CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)
            elif future in done:
                try:
                    answered[request.key] = (request, future.result())
                except CollateralUnavailable as error:
                    missing[request.key] = error


def _merged(
    carried: Sequence[Collateral], answered: Iterable[tuple[Request, tuple[Collateral, ...]]]
) -> tuple[Collateral, ...]:
    pairs = list(answered)
    requests = [request for request, _ in pairs]
    kept = [item for item in carried if not any(_replaces(request, item) for request in requests)]
    new = {(item.kind, item.data): item for _, items in pairs for item in items}
    for item in kept:
        new.pop((item.kind, item.data), None)
    return (*kept, *list(new.values())[: MAX_COLLATERAL - len(kept)])


def _replaces(request: Request, carried: Collateral) -> bool:
    """Whether the answer to `request` takes the place of a carried item, as both say the same of the same thing."""
    match request:
        case IntelCollateral():
            return carried.kind == COLLATERAL_KIND
        case AMDRevocations():
            return carried.kind == CRL_KIND
        case CertificateStatus():
            return carried.kind == STATUS_KIND and _concerns(carried, request)
        case _:
            return False


def _concerns(carried: Collateral, request: CertificateStatus) -> bool:
    try:
        certificate = read_certificate(request.certificate, "certificate")
        return StoredResponse.read(carried.data).concerns(certificate, read_certificate(request.issuer, "issuer"))
    except MalformedEvidence:
        return False
