# SPDX-License-Identifier: Apache-2.0
"""A registry store in memory that can fail before or after applying, held to the same contract as the real one."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from attestation.registry.blobs import check_archived, check_blob
from attestation.registry.sqlmodel_store import CHALLENGE_MEMORY_SECONDS, CLAIM_MEMORY_SECONDS, SUPERSEDED
from attestation.registry.store import (
    ClaimResult,
    Moved,
    RegistryStoreError,
    Spent,
    StoredAdmission,
    StoredGateway,
    StoredRevocation,
    WantedComponent,
)

When = Literal["before", "after"]


@dataclass(slots=True)
class _Challenge:
    provider_id: bytes
    expires: int
    spent: bool = False


@dataclass(slots=True)
class _Claim:
    provider_id: bytes
    expires: int


@dataclass(slots=True)
class MemoryRegistryStore:
    """`RegistryStore` in memory. `fail["admit"] = "after"` makes the next admit apply and then raise."""

    fail: dict[str, When] = field(default_factory=dict)
    challenges: dict[bytes, _Challenge] = field(default_factory=dict)
    admitted: dict[bytes, StoredAdmission] = field(default_factory=dict)
    claims: dict[tuple[bytes, bytes], _Claim] = field(default_factory=dict)
    revocations: dict[bytes, StoredRevocation] = field(default_factory=dict)
    enrolled: dict[bytes, StoredGateway] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    version: int = 0
    between: Callable[[], None] | None = None
    """Called once before the next `admit`, to put another thread's work between two steps."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def issue_challenge(self, *, nonce: bytes, provider_id: bytes, expires: int) -> None:
        with self._step("issue_challenge"):
            self.challenges[nonce] = _Challenge(provider_id, expires)

    def spend_challenge(self, *, nonce: bytes, provider_id: bytes) -> Spent:
        with self._step("spend_challenge"):
            found = self.challenges.get(nonce)
            if found is None or found.provider_id != provider_id:
                return Spent.NEVER_ISSUED
            spent, found.spent = found.spent, True
            return Spent.BEFORE if spent else Spent.NOW

    def claim(
        self,
        wanted: Sequence[WantedComponent],
        *,
        worker_id: bytes,
        keyset_id: bytes,
        provider_id: bytes,
        expires: int,
        now: int,
    ) -> ClaimResult:
        with self._step("claim"):
            conflicts, rivals = [], set()
            for want in wanted:
                others = {
                    holder: claim
                    for (component, holder), claim in self.claims.items()
                    if component == want.component and holder != worker_id and claim.expires > now
                }
                own = {holder for holder, claim in others.items() if claim.provider_id == provider_id}
                taken = len(others) >= want.capacity if want.capacity > 1 else len(own) < len(others)
                rivals |= own if want.capacity == 1 else set()
                if taken:
                    conflicts.append(want.component)
            if conflicts:
                return ClaimResult(conflicts=tuple(conflicts), superseded=())
            moved = tuple(
                Moved(component=want.component, from_provider=owner)
                for want in wanted
                if want.capacity == 1 and (owner := self._last_owner(want.component)) not in (None, provider_id)
            )
            superseded = tuple(key for rival in sorted(rivals) for key in self._supersede(rival, now))
            for want in wanted:
                self.claims[want.component, worker_id] = _Claim(provider_id, expires)
            return ClaimResult(conflicts=(), superseded=superseded, moved=moved)

    def admit(self, admission: StoredAdmission, *, now: int) -> bool:
        if self.between is not None:
            between, self.between = self.between, None
            between()
        with self._step("admit"):
            if self.is_revoked(worker_id=admission.worker_id, keyset_id=admission.keyset_id):
                return False
            self.version += 1
            self.admitted[admission.keyset_id] = replace(admission, version=self.version)
            return True

    def admissions(self, *, after: int, now: int) -> Sequence[StoredAdmission]:
        with self._step("admissions"):
            live = [item for item in self.admitted.values() if item.version > after and item.expires > now]
            kept = [item for item in live if item.keyset_id not in self.revocations]
            return sorted(kept, key=lambda item: item.version)

    def admission(self, keyset_id: bytes) -> StoredAdmission | None:
        return self.admitted.get(keyset_id)

    def revoke(self, keyset_id: bytes, *, reason: str, by: str, now: int) -> StoredRevocation | None:
        with self._step("revoke"):
            admission = self.admitted.get(keyset_id)
            if keyset_id not in self.revocations and admission is not None:
                self._revoke(admission, reason, by)
                self._release(admission.worker_id, now)
            return self.revocations.get(keyset_id)

    def revoked(self, *, now: int) -> tuple[bytes, ...]:
        with self._step("revoked"):
            return tuple(sorted(key for key, item in self.revocations.items() if item.until > now))

    def is_revoked(self, *, worker_id: bytes, keyset_id: bytes) -> bool:
        return any(item.worker_id == worker_id or item.keyset_id == keyset_id for item in self.revocations.values())

    def unlogged(self) -> Sequence[StoredRevocation]:
        with self._step("unlogged"):
            pending = [item for item in self.revocations.values() if item.logged is None]
            return sorted(pending, key=lambda item: item.keyset_id)

    def mark_logged(self, keyset_id: bytes, index: int) -> None:
        with self._step("mark_logged"):
            self.revocations[keyset_id] = replace(self.revocations[keyset_id], logged=index)

    def put_gateway(self, gateway: StoredGateway) -> None:
        with self._step("put_gateway"):
            self.enrolled[gateway.gateway_id] = gateway

    def gateways(self) -> Sequence[StoredGateway]:
        with self._step("gateways"):
            return [self.enrolled[key] for key in sorted(self.enrolled)]

    def archive(self, *, sha256: bytes, data: bytes, parts: Sequence[bytes] = ()) -> None:
        check_blob(sha256, data)
        with self._step("archive"):
            for part in (data, *(part for part in parts if part in data)):
                self.blobs.setdefault(hashlib.sha256(part).digest(), part)

    def archived(self, sha256: bytes) -> bytes | None:
        return check_archived(sha256, self.blobs[sha256]) if sha256 in self.blobs else None

    def purge(self, *, now: int) -> None:
        with self._step("purge"):
            kept = {k: v for k, v in self.challenges.items() if v.expires >= now - CHALLENGE_MEMORY_SECONDS}
            self.challenges = kept
            over = now - CLAIM_MEMORY_SECONDS
            self.claims = {key: claim for key, claim in self.claims.items() if claim.expires > over}
            self.admitted = {key: item for key, item in self.admitted.items() if item.expires > now}

    def _supersede(self, worker_id: bytes, now: int) -> list[bytes]:
        ended = []
        for admission in sorted(self.admitted.values(), key=lambda item: item.keyset_id):
            fresh = admission.keyset_id not in self.revocations and admission.expires > now
            if admission.worker_id == worker_id and fresh:
                self._revoke(admission, SUPERSEDED, "registry")
                ended.append(admission.keyset_id)
        self._release(worker_id, now)
        return ended

    def _revoke(self, admission: StoredAdmission, reason: str, by: str) -> None:
        self.revocations[admission.keyset_id] = StoredRevocation(
            keyset_id=admission.keyset_id,
            worker_id=admission.worker_id,
            reason=reason,
            by=by,
            until=admission.expires,
            logged=None,
        )

    def _release(self, worker_id: bytes, now: int) -> None:
        for (_, holder), claim in self.claims.items():
            if holder == worker_id:
                claim.expires = min(claim.expires, now)

    def _last_owner(self, component: bytes) -> bytes | None:
        known = [claim for (one, _), claim in self.claims.items() if one == component]
        return max(known, key=lambda claim: claim.expires).provider_id if known else None

    @contextmanager
    def _step(self, operation: str) -> Iterator[None]:
        with self._lock:
            self._fire(operation, "before")
            yield
            self._fire(operation, "after")

    def _fire(self, operation: str, when: When) -> None:
        if self.fail.get(operation) == when:
            del self.fail[operation]
            raise RegistryStoreError(f"{operation} failed {when} applying, as the test asked")
