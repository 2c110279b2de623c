# SPDX-License-Identifier: Apache-2.0
"""One fact of a vocabulary: its type, what it means, what mends it, and the reason a refusal carries."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from attestation.claims import Scalar
from attestation.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a policy author must know of one fact.

    `reason` is the reason of a finding about it; `by_value` names another for certain values, such as "missing", which
    says that nothing was decided rather than that something is wrong.
    """

    type: type[str] | type[int] | type[bool]
    meaning: str
    remedy: str
    reason: Reason
    by_value: Mapping[Scalar, Reason] = field(default_factory=dict)

    def reason_for(self, value: Scalar) -> Reason:
        """The reason of a finding about this value."""
        return self.by_value.get(value, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """All that one kind of evidence states: its registers of measurements and its facts, by name.

    `unproven` says in a sentence each what genuine evidence of this kind leaves open, for audits to print.
    """

    registers: tuple[str, ...]
    facts: Mapping[str, Fact]
    unproven: tuple[str, ...] = ()
