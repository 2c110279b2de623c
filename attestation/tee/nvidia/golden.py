# SPDX-License-Identifier: Apache-2.0
"""Golden values against measured ones: how a report fares by the manifests that came with it, and by their signers.

Not decided here: whether "expired" or "missing" is acceptable, and whether a signer on hold is; those are facts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from attestation.claims import Scalar
from attestation.tee.nvidia.rim import VerifiedRIM, compare
from attestation.tee.nvidia.standing import ABSENT, Stand, Statements, worst_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One manifest, or its absence, beside the measured values."""

    rim: VerifiedRIM | None
    mismatched: tuple[int, ...]
    current: bool
    stand: Stand

    @property
    def state(self) -> str:
        """The fact: "match", "mismatch", "missing" or "expired" (a match by a signer out of validity)."""
        if self.rim is None:
            return "missing"
        if self.mismatched:
            return "mismatch"
        return "match" if self.current else "expired"

    @property
    def revision(self) -> int:
        """The manifest's revision, 0 without one."""
        return int(self.rim.revision[1:]) if self.rim else 0

    def expiries(self) -> list[datetime]:
        """When what is good about this comparison ends."""
        signed_until = [self.rim.valid_until] if self.rim and self.current else []
        return signed_until + ([self.stand.until] if self.stand.until else [])

    def facts(self, what: str) -> dict[str, Scalar]:
        """`<what>_rim` and its revision."""
        return {f"{what}_rim": self.state, f"{what}_rim_revision": self.revision}


def compare_with(
    rim: VerifiedRIM | None,
    digests: Sequence[bytes],
    statements: Statements,
    now: datetime,
    *,
    skip: Collection[int] = (),
) -> Comparison:
    """How `digests`, block 1 first, fare by `rim`. Raises `NotGenuine` (CERTIFICATE_REVOKED) for a revoked signer."""
    if rim is None:
        return Comparison(rim=None, mismatched=(), current=False, stand=ABSENT)
    return Comparison(
        rim=rim,
        mismatched=compare(dict(enumerate(digests)), rim, skip=skip),
        current=rim.valid_at(now),
        stand=statements.stand(rim.chain.certificates, now),
    )


def common_facts(comparisons: Sequence[Comparison], device: Stand) -> dict[str, Scalar]:
    """The facts over all manifests of a report: mismatched values, and the standing of the device and the signers."""
    mismatched = sorted({index for comparison in comparisons for index in comparison.mismatched})
    return {
        "mismatched_values": ",".join(map(str, mismatched)) or "none",
        "ocsp": device.standing.value,
        "rim_ocsp": worst_of([comparison.stand for comparison in comparisons]).standing.value,
    }
