# SPDX-License-Identifier: Apache-2.0
"""What the registry remembers between calls, behind one protocol; history itself is in the log and the archive.

The rules that must hold under concurrency live in the store, because only it has transactions: a challenge is spent
once, a hardware identity has as many live owners as its capacity, and what is revoked stays revoked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from attestation.errors import Reason, SealbidError


class RegistryStoreError(SealbidError):
    """The store cannot serve. STORE_UNAVAILABLE may be retried; UNSUPPORTED is a database of another version."""

    def __init__(self, message: str, reason: Reason = Reason.STORE_UNAVAILABLE) -> None:
        super().__init__(reason, message)


class Spent(Enum):
    """What became of an attempt to spend a challenge."""

    NOW = "now"
    BEFORE = "before"
    NEVER_ISSUED = "never issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAdmission:
    """An accepted worker as stored; `version` orders all changes and is given by the store."""

    keyset_id: bytes
    worker_id: bytes
    provider_id: bytes
    bundle: bytes
    lease: bytes
    verdict_index: int
    verdict_entry: bytes
    certificate_der: bytes
    endpoint: str
    expires: int
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedComponent:
    """A hardware identity (its HMAC) and how many workers may share it; 1 is exclusive."""

    component: bytes
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRevocation:
    """The end of a keyset before its time. `logged` is its entry's index once it is in the log."""

    keyset_id: bytes
    worker_id: bytes
    reason: str
    by: str
    until: int
    logged: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An exclusive component whose last known owner was another provider."""

    component: bytes
    from_provider: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """Components that others hold, in which case nothing was claimed; whom the claim superseded; what changed hands."""

    conflicts: tuple[bytes, ...]
    superseded: tuple[bytes, ...]
    moved: tuple[Moved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGateway:
    """An enrolled gateway and where its keys stand in the log."""

    gateway_id: bytes
    signing_key: bytes
    certificate_der: bytes
    key_index: int
    key_entry: bytes
    tls_index: int
    tls_entry: bytes


class RegistryStore(Protocol):
    """Durable state of one registry.

    Durability: when a method returns, its effect survives power loss; after an exception it happened whole or not at
    all. Concurrency: any thread; each method is one transaction, serialised against the others. Times are unix seconds.
    Every method raises `RegistryStoreError` when the storage fails.
    """

    def issue_challenge(self, *, nonce: bytes, provider_id: bytes, expires: int) -> None:
        """Remembers a challenge until it is spent or over."""
        ...

    def spend_challenge(self, *, nonce: bytes, provider_id: bytes) -> Spent:
        """Spends the provider's challenge: NOW for exactly one caller, BEFORE for all later ones."""
        ...

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
        """Claims all components for the worker until `expires`, or none if any is held beyond its capacity.

        An exclusive component held by another worker of the same provider passes on; all live keysets of that worker
        are revoked in the same transaction, since one machine cannot be two workers. Owners are remembered beyond the
        end of their claims (`CLAIM_MEMORY_SECONDS`), to tell when an exclusive component comes to another provider.
        """
        ...

    def admit(self, admission: StoredAdmission, *, now: int) -> bool:
        """Stores the admission in place of any of the same keyset; stores nothing, and says False, if it is revoked."""
        ...

    def admissions(self, *, after: int, now: int) -> Sequence[StoredAdmission]:
        """Live, unrevoked admissions with a version above `after`, in order of version."""
        ...

    def admission(self, keyset_id: bytes) -> StoredAdmission | None:
        """The newest admission of a keyset, live or not."""
        ...

    def revoke(self, keyset_id: bytes, *, reason: str, by: str, now: int) -> StoredRevocation | None:
        """Revokes a keyset and ends its worker's hardware claims; None if no such keyset. Twice is the same as once."""
        ...

    def revoked(self, *, now: int) -> tuple[bytes, ...]:
        """Revoked keysets whose lease is not over, ascending."""
        ...

    def is_revoked(self, *, worker_id: bytes, keyset_id: bytes) -> bool:
        """Whether the worker or the keyset was ever revoked."""
        ...

    def unlogged(self) -> Sequence[StoredRevocation]:
        """Revocations that are in force but not yet in the log."""
        ...

    def mark_logged(self, keyset_id: bytes, index: int) -> None:
        """Notes where a revocation stands in the log."""
        ...

    def put_gateway(self, gateway: StoredGateway) -> None:
        """Stores or replaces an enrolled gateway."""
        ...

    def gateways(self) -> Sequence[StoredGateway]:
        """Every enrolled gateway, ascending by id."""
        ...

    def archive(self, *, sha256: bytes, data: bytes, parts: Sequence[bytes] = ()) -> None:
        """Keeps bytes under their digest, and each of the `parts` that stand in them under its own.

        The same bytes twice are kept once. Raises `RegistryStoreError`, MALFORMED: too long, or not of that digest.
        """
        ...

    def archived(self, sha256: bytes) -> bytes | None:
        """The bytes of a digest, hashed anew. Raises `RegistryStoreError`, TAMPERED, if storage changed them."""
        ...

    def purge(self, *, now: int) -> None:
        """Forgets challenges and admissions that are over, and claims that were over long ago."""
        ...
