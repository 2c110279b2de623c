# SPDX-License-Identifier: Apache-2.0
"""Findings: what an appraisal did not accept, as values fit for a log entry, a screen and an exit code."""

from collections.abc import Sequence
from dataclasses import dataclass

from attestation.errors import UNDECIDED, CollateralUnavailable, NotAcceptable, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One field that does not meet the policy. Its texts are public and lower case; `remedy` says what mends it."""

    field: str
    got: str
    want: str
    remedy: str
    reason: Reason

    @property
    def text(self) -> str:
        """`field is got, want wanted`."""
        return f"{self.field} is {self.got}, want {self.want}"


def refusal(findings: Sequence[Finding]) -> NotAcceptable | CollateralUnavailable:
    """The error that carries all `findings` (at least one); its reason and text lead with the first that decides.

    `CollateralUnavailable` when nothing but undecided findings stands in the way, else `NotAcceptable`.
    """
    deciding = [finding for finding in findings if finding.reason not in UNDECIDED]
    first, more = (deciding or list(findings))[0], len(findings) - 1
    text = first.text + (f" (and {more} more findings)" if more else "")
    kind = NotAcceptable if deciding else CollateralUnavailable
    return kind(first.reason, text, findings)
