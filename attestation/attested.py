# SPDX-License-Identifier: Apache-2.0
"""Proof by possession: the key and the worker that evidence, policy, lease and log led to (docs/spec.md, 3.4).

Only `attestation.verify` builds these values; sealing accepts nothing else. The constructor asks for a token private to
this module, which guards against mistakes, not against code in the same process that means harm.
They state what held when they were made: expiry and revocation are re-checked at every seal (`attestation.revocation`).
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final

from attestation.binding import KeyBinding, Keyset, Profile, SuiteID
from attestation.claims import Claims
from attestation.errors import NotAcceptable, Reason


class _Token:
    """Its one instance is the permission to construct; `attestation.verify` is its only user outside tests."""


_VERIFIED: Final = _Token()


def _require(token: object, name: str) -> None:
    if token is not _VERIFIED:
        raise TypeError(f"{name} is built by attestation.verify only")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedKey:
    """One HPKE public key of an attested worker, with everything sealing authenticates or re-checks.

    `public_key` is the suite's serialised key of the keyset; `policy_sha256` names the policy that accepted it.
    """

    suite: SuiteID
    public_key: bytes = field(repr=False)
    key_id: bytes
    keyset_id: bytes
    worker_id: bytes
    receipt_key: bytes
    binding_digest: bytes
    profile: Profile
    policy_sha256: bytes
    expires: datetime
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        _require(token, "AttestedKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedWorker:
    """A worker whose evidence, policy, lease and logged verdict all held at one moment.

    `verdict_entry` and `verdict_proof` (tlog-proof text) are kept so that a receipt can show them to an auditor.
    """

    keys: tuple[AttestedKey, ...] = field(repr=False)
    keyset: Keyset = field(repr=False)
    binding: KeyBinding = field(repr=False)
    worker_id: bytes
    keyset_id: bytes
    binding_digest: bytes
    provider_id: bytes
    provider: str
    engines: tuple[bytes, ...]
    endpoint: str
    certificate_der: bytes = field(repr=False)
    profile: Profile
    policy_sha256: bytes
    claims_sha256: bytes
    verdict_index: int
    verdict_proof: bytes = field(repr=False)
    verdict_entry: bytes = field(repr=False)
    expires: datetime
    claims: Claims = field(repr=False)
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        _require(token, "AttestedWorker")

    def key(self, allowed: Sequence[SuiteID]) -> AttestedKey:
        """The first allowed suite's key; the order of `allowed` is the sender's preference.

        Raises:
            NotAcceptable: the attested keyset holds none of them (POLICY_REFUSED).
        """
        by_suite = {key.suite: key for key in self.keys}
        for suite in allowed:
            if suite in by_suite:
                return by_suite[suite]
        have, want = sorted(int(suite) for suite in by_suite), [int(suite) for suite in allowed]
        raise NotAcceptable(Reason.POLICY_REFUSED, f"keyset suites are {have}, want one of {want}")
