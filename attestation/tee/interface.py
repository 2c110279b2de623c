# SPDX-License-Identifier: Apache-2.0
"""The seam between evidence and claims: one verifier per kind of TEE (docs/spec.md, 3.4).

A verifier says whether evidence is genuine and what it says; whether that is acceptable is for `attestation.appraisal`.
The composition root of each process decides which kinds exist there by handing in a mapping of verifiers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind


class Verifier(Protocol):
    """Verifies evidence of one kind; pure, so it may run in any thread and twice with the same result."""

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What genuine evidence says at `now`, read only from verified bytes.

        Raises:
            MalformedEvidence: the bytes do not parse, or the format is unknown.
            NotGenuine: a signature or chain does not hold.
            CollateralUnavailable: collateral is missing, or outside its validity at `now`.
        """


Verifiers: TypeAlias = Mapping[TEEKind, Verifier]
