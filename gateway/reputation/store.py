# SPDX-License-Identifier: Apache-2.0
"""What the market asks of reputation: a handicap and whether a worker may offer at all (docs/spec.md, 8.3).

It is read when an offer is admitted to the book, and again when an epoch changes it; never inside an auction.
"""

from dataclasses import dataclass
from typing import Final, Protocol

MAX_HANDICAP_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reputation:
    """One worker's standing for one (model, tier)."""

    handicap_ppm: int
    """Parts per million of the reference price, added to the ask when offers are compared."""
    suspended: bool


class ReputationStore(Protocol):
    """Reads reputations. Answers from memory, never blocks, and has an answer for every worker, known or not."""

    def of(self, worker_id: bytes, *, model: str, tier: str) -> Reputation: ...


class ConstantReputation:
    """The same handicap for everybody: no history is kept yet, so price alone decides."""

    def __init__(self, handicap_ppm: int = 0) -> None:
        if not 0 <= handicap_ppm <= MAX_HANDICAP_PPM:
            raise ValueError(f"handicap_ppm is {handicap_ppm}, want 0..{MAX_HANDICAP_PPM}")
        self._reputation = Reputation(handicap_ppm=handicap_ppm, suspended=False)

    def of(self, worker_id: bytes, *, model: str, tier: str) -> Reputation:
        """The constant, whoever asks for whom."""
        return self._reputation
