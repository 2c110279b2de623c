# SPDX-License-Identifier: Apache-2.0
"""The question asked at every seal: may this key still be used now? (docs/spec.md, 3.8, rulings 14 and 15)

A `SealGuard` holds the newest signed heartbeat it heard. A key is refused when its policy is another one than in force,
when its time is over, when a heartbeat names it, and when no heartbeat young enough has been heard: silence of the
registry stops sealing, because a revocation could be what is not being said.
"""

from datetime import datetime, timedelta
from typing import Final

from attestation.appraisal.policy import AppraisalPolicy
from attestation.attested import AttestedKey
from attestation.errors import NotAcceptable, NotGenuine, Reason, Stale
from attestation.lease import Heartbeat, open_heartbeat
from attestation.trust import TrustRoot

CLOCK_SKEW: Final = timedelta(seconds=30)
"""How far another party's clock may run ahead of ours before its statements are refused as from the future."""


def read_heartbeat(signed: bytes, trust: TrustRoot, now: datetime) -> Heartbeat:
    """The heartbeat inside `signed`, if it is this registry's. Does not check that it is recent.

    Raises:
        Malformed: the bytes do not parse.
        NotGenuine: HEARTBEAT_INVALID; another key, log or profile, or made in the future.
    """
    heartbeat = open_heartbeat(signed, trust.lease_key)
    if heartbeat.origin != trust.origin:
        raise _invalid(f"heartbeat origin is {heartbeat.origin!r}, want {trust.origin!r}")
    if heartbeat.profile is not trust.profile:
        raise _invalid(f"heartbeat profile is {heartbeat.profile.value}, want {trust.profile.value}")
    if heartbeat.made_at > now + CLOCK_SKEW:
        raise _invalid(f"heartbeat is made at {heartbeat.made_at.isoformat()}, want not after {now.isoformat()}")
    return heartbeat


class SealGuard:
    """Says no in time. Safe to share between threads: what it knows is replaced in one assignment."""

    def __init__(self, *, policy: AppraisalPolicy, trust: TrustRoot) -> None:
        self._policy_sha256 = policy.sha256
        self._staleness = timedelta(seconds=policy.max_revocation_staleness_seconds)
        self._trust = trust
        self._heard: tuple[Heartbeat, frozenset[bytes]] | None = None

    @property
    def newest(self) -> Heartbeat | None:
        """The newest heartbeat heard."""
        return self._heard[0] if self._heard else None

    def hear(self, signed: bytes, now: datetime) -> Heartbeat:
        """Takes in a signed heartbeat and returns it; one older than the newest changes nothing.

        Raises:
            Malformed, NotGenuine: as `read_heartbeat`, and LOG_ROLLBACK for a newer heartbeat of a shorter log.
        """
        heartbeat = read_heartbeat(signed, self._trust, now)
        newest = self.newest
        if newest is None or heartbeat.made >= newest.made:
            if newest is not None and heartbeat.size < newest.size:
                raise NotGenuine(
                    Reason.LOG_ROLLBACK, f"heartbeat log size is {heartbeat.size}, want at least {newest.size}"
                )
            self._heard = (heartbeat, frozenset(heartbeat.revoked))
        return heartbeat

    def check(self, key: AttestedKey, now: datetime) -> None:
        """Passes if `key` may be sealed to at `now`.

        Raises:
            NotAcceptable: POLICY_MISMATCH; another policy accepted this key.
            Stale: LEASE_EXPIRED, REVOCATION_STALE or REVOKED.
        """
        if key.policy_sha256 != self._policy_sha256:
            got, want = key.policy_sha256.hex(), self._policy_sha256.hex()
            raise NotAcceptable(Reason.POLICY_MISMATCH, f"policy of the key is {got}, want {want}")
        if now >= key.expires:
            raise Stale(Reason.LEASE_EXPIRED, f"lease of the key ended {key.expires.isoformat()}, want a live lease")
        if self._heard is None or now - self._heard[0].made_at > self._staleness:
            last = self._heard[0].made_at.isoformat() if self._heard else "never"
            limit = int(self._staleness.total_seconds())
            raise Stale(Reason.REVOCATION_STALE, f"last heartbeat is {last}, want one at most {limit} seconds old")
        if key.keyset_id in self._heard[1]:
            raise Stale(Reason.REVOKED, f"keyset {key.keyset_id.hex()} is revoked, want one that is not")


def _invalid(message: str) -> NotGenuine:
    return NotGenuine(Reason.HEARTBEAT_INVALID, message)
