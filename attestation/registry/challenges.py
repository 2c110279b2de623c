# SPDX-License-Identifier: Apache-2.0
"""Challenges: issued to one provider over the newest checkpoint, spent once, over after a minute (docs/spec.md, 3.2).

The store alone remembers them, so that processes which share it share the memory of what was spent (ruling 6).
"""

from collections.abc import Callable
from datetime import datetime

from attestation.binding import MAX_CHALLENGE_SECONDS, Challenge
from attestation.codec.labels import sha256
from attestation.errors import NotGenuine, Reason, Stale
from attestation.identity import provider_id as provider_id_of
from attestation.rates import Rates
from attestation.registry.journal import Journal
from attestation.registry.store import RegistryStore, Spent


class Challenges:
    """The challenges of one registry. Blocks on disk; any thread."""

    def __init__(
        self, *, store: RegistryStore, journal: Journal, rates: Rates, entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._journal = journal
        self._rates = rates
        self._entropy = entropy

    def issue(self, provider: str, now: datetime) -> Challenge:
        """A challenge for the provider. Raises `SealbidError` (RATE_LIMITED)."""
        self._rates.take(provider, now)
        issued = int(now.timestamp())
        challenge = Challenge(
            random=self._entropy(32),
            audience=self._journal.origin,
            provider_id=provider_id_of(provider),
            checkpoint_sha256=sha256(self._journal.checkpoint()),
            issued=issued,
            expires=issued + MAX_CHALLENGE_SECONDS,
        )
        self._store.issue_challenge(
            nonce=challenge.verifier_nonce, provider_id=challenge.provider_id, expires=challenge.expires
        )
        return challenge

    def spend(self, challenge: Challenge, now: datetime) -> None:
        """Uses the challenge up, also if it is over.

        Raises:
            NotGenuine: it was not issued to this provider (NONCE_MISMATCH).
            Stale: it was used before, or is over (NONCE_STALE).
        """
        nonce = challenge.verifier_nonce
        spent = self._store.spend_challenge(nonce=nonce, provider_id=challenge.provider_id)
        if spent is Spent.NEVER_ISSUED:
            message = f"challenge nonce is {nonce.hex()}, want one this registry issued to this provider"
            raise NotGenuine(Reason.NONCE_MISMATCH, message)
        if spent is Spent.BEFORE:
            raise Stale(Reason.NONCE_STALE, f"challenge nonce is {nonce.hex()}, want one not used before")
        if now.timestamp() > challenge.expires:
            message = f"challenge.expires is {challenge.expires}, want not before {int(now.timestamp())}"
            raise Stale(Reason.NONCE_STALE, message)
