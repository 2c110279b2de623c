# SPDX-License-Identifier: Apache-2.0
"""Completes a bundle with the collateral its evidence needs, before it is judged.

The completed bundle is what the registry judges, archives by its digest and hands out, so that everybody who judges
again, at once or years later, has the same bytes. What a vendor said anew comes first and takes the place of what the
worker sent of the same kind; what the worker sent follows as far as a bundle's limits go, and of kinds that nobody
reads nothing. What cannot be had in time is left out and named: the verdict then says what was missing.

A worker fills its bundle as it likes, and must not choose by that what it is judged with. If a vendor's word has no
room beside the evidence, what it replaces is not there either, and the bundle is undecided whatever else it proves. So
it is if it needs more answers than a machine does, or its account has had its share of questions.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from attestation.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_COLLATERAL,
    MAX_COLLATERAL_BYTES,
    Collateral,
    Evidence,
    EvidenceBundle,
)
from attestation.collateral.kinds import KINDS
from attestation.collateral.needs import Planner, evidence_in_question
from attestation.collateral.nvidia import STATUS_KIND
from attestation.collateral.requests import AMDRevocations, CertificateStatus, IntelCollateral, Request
from attestation.collateral.source import AskedTooOften, CollateralSource
from attestation.errors import CollateralUnavailable, MalformedEvidence, Reason
from attestation.tee.certificates import read_certificate
from attestation.tee.dcap.endorsements import COLLATERAL_KIND
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.snp.endorsement import CRL_KIND

ROUNDS: Final = 2
"""A manifest that was fetched has signers whose status is asked in the second round; nothing it brings needs more."""

MAX_REQUESTS: Final = 64
"""Per bundle. Eight GPUs and four switches of one machine need about 30."""

WORKERS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The completed bundle, and what was wanted for it and not to be had.

    `missing` explains a judgement that could not decide. `left_out` makes it one: newer statements that are known and
    not in the bundle, without which whatever comes out is not to be believed.
    """

    bundle: EvidenceBundle
    missing: tuple[CollateralUnavailable, ...]
    left_out: tuple[CollateralUnavailable, ...] = ()


class Completer(Protocol):
    """Completes bundles. Any thread; may block for as long as its source may."""

    def complete(self, bundle: EvidenceBundle, now: datetime, *, account: str) -> Completion:
        """The bundle of an account with collateral that is valid at `now`; never raises for what is missing."""
        ...


class AsSent:
    """The `Completer` of a process without vendors' services and without a cache: a bundle is judged as it came."""

    def complete(self, bundle: EvidenceBundle, now: datetime, *, account: str) -> Completion:
        """The same bundle."""
        return Completion(bundle=bundle, missing=())


class FetchingCompleter:
    """The `Completer` over a source. Asks up to eight things at once and waits `seconds` for all; `close` at the end.

    What answers later is in the cache for the next attempt.
    """

    def __init__(self, source: CollateralSource, *, seconds: float, planner: Planner | None = None) -> None:
        self._source = source
        self._planner = planner or Planner()
        self._seconds = seconds
        self._workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="collateral")

    def close(self) -> None:
        """Asks nothing more; does not wait for what is under way."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def complete(self, bundle: EvidenceBundle, now: datetime, *, account: str) -> Completion:
        """The bundle with what could be had."""
        deadline = time.monotonic() + self._seconds
        evidence = evidence_in_question(bundle)
        asked = _Asked()
        merged = _merged(bundle, [])
        for _ in range(ROUNDS):
            wanted = asked.admit(self._planner.needs(evidence, merged.collateral))
            self._ask(wanted, now, deadline, account, asked)
            merged = _merged(bundle, list(asked.answered.values()))
        return Completion(
            bundle=replace(bundle, collateral=merged.collateral),
            missing=(*asked.missing.values(), *merged.cut),
            left_out=(*asked.refused.values(), *merged.left_out),
        )

    def _ask(self, requests: Sequence[Request], now: datetime, deadline: float, account: str, asked: "_Asked") -> None:
        under_way: dict[Future[tuple[Collateral, ...]], Request] = {
            self._workers.submit(self._source.get, request, now, account=account): request for request in requests
        }
        done, late = wait(under_way, timeout=max(0.0, deadline - time.monotonic()))
        for future, request in under_way.items():
            if future in late:
                future.cancel()
                message = f"{request.name} is not here within {self._seconds:g} seconds, want it from its vendor"
                asked.missing[request.key] = _unavailable(message)
            elif future in done:
                try:
                    asked.answered[request.key] = (request, future.result())
                except AskedTooOften as error:
                    asked.refused[request.key] = error
                except CollateralUnavailable as error:
                    asked.missing[request.key] = error


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What became of each request so far, by its key."""

    answered: dict[bytes, tuple[Request, tuple[Collateral, ...]]] = field(default_factory=dict)
    missing: dict[bytes, CollateralUnavailable] = field(default_factory=dict)

    refused: dict[bytes, CollateralUnavailable] = field(default_factory=dict)

    def admit(self, requests: Iterable[Request]) -> list[Request]:
        """Of `requests` those not seen before, as many as a bundle may have; the rest is refused."""
        seen = {*self.answered, *self.missing, *self.refused}
        new = [request for request in requests if request.key not in seen]
        room = max(0, MAX_REQUESTS - len(seen))
        for request in new[room:]:
            message = f"{request.name} is one answer more than {MAX_REQUESTS}, want evidence of one machine"
            self.refused[request.key] = _unavailable(message)
        return new[:room]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """The collateral of a completed bundle; what of the worker's, and of the vendors', it has no room for."""

    collateral: tuple[Collateral, ...]
    cut: tuple[CollateralUnavailable, ...] = ()
    left_out: tuple[CollateralUnavailable, ...] = ()


def _merged(bundle: EvidenceBundle, answered: Sequence[tuple[Request, tuple[Collateral, ...]]]) -> _Merged:
    requests = [request for request, _ in answered]
    fetched = dict.fromkeys(item for _, items in answered for item in items)
    carried = dict.fromkeys(
        item
        for item in bundle.collateral
        if item.kind in KINDS and item not in fetched and not any(_replaces(request, item) for request in requests)
    )
    fitting = _fitting(bundle.evidence, (*fetched, *carried))
    kept = frozenset(fitting)
    cut = sum(item not in kept for item in carried)
    return _Merged(
        collateral=fitting,
        cut=(_unavailable(f"bundle collateral is {cut} items too many, want room for all"),) if cut else (),
        left_out=tuple(
            _unavailable(f"{request.name} is newer than the bundle has room for, want a smaller bundle")
            for request, items in answered
            if not kept.issuperset(items)
        ),
    )


def _fitting(evidence: Sequence[Evidence], items: Iterable[Collateral]) -> tuple[Collateral, ...]:
    """Of `items`, in their order, those a bundle has room for beside the evidence."""
    room = MAX_BUNDLE_BYTES - sum(len(part.data) for part in evidence)
    found: list[Collateral] = []
    for item in items:
        if len(found) < MAX_COLLATERAL and 0 < len(item.data) <= min(room, MAX_COLLATERAL_BYTES):
            found.append(item)
            room -= len(item.data)
    return tuple(found)


def _unavailable(message: str) -> CollateralUnavailable:
    return CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)


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
