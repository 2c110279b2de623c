# SPDX-License-Identifier: Apache-2.0
"""Reference values: what a policy wants a claim to be. Not checking is a value too, and it must say why.

    { exactly = X } | { any_of = [X, ..] } | { at_least = N } | { at_most = N } | { unchecked = "reason" }

An empty `any_of` accepts nothing, which is the right state of a policy whose values are not filled in yet.
"""

from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, assert_never

from attestation.claims import Scalar
from attestation.errors import MalformedEvidence, Reason


@dataclass(frozen=True, slots=True)
class Exactly:
    """The claim must equal `value`."""

    value: Scalar

    def accepts(self, claim: Scalar) -> bool:
        """True if `claim` is the value, of the same type."""
        return type(claim) is type(self.value) and claim == self.value

    def want(self) -> str:
        """How a finding states it."""
        return shown(self.value)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The claim must be one of `values`."""

    values: tuple[Scalar, ...]

    def accepts(self, claim: Scalar) -> bool:
        """True if `claim` is listed."""
        return any(type(claim) is type(value) and claim == value for value in self.values)

    def want(self) -> str:
        """How a finding states it."""
        return "one of " + ", ".join(shown(value) for value in self.values) if self.values else "a listed value of none"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The claim must be an integer not below `value`."""

    value: int

    def accepts(self, claim: Scalar) -> bool:
        """True if `claim` is an integer that reaches the value."""
        return isinstance(claim, int) and not isinstance(claim, bool) and claim >= self.value

    def want(self) -> str:
        """How a finding states it."""
        return f"at least {self.value}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """The claim must be an integer not above `value`."""

    value: int

    def accepts(self, claim: Scalar) -> bool:
        """True if `claim` is an integer that does not exceed the value."""
        return isinstance(claim, int) and not isinstance(claim, bool) and claim <= self.value

    def want(self) -> str:
        """How a finding states it."""
        return f"at most {self.value}"


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Nothing is asked of the claim, for the `reason` printed by every audit."""

    reason: str

    def accepts(self, claim: Scalar) -> bool:
        """Always true."""
        return True

    def want(self) -> str:
        """How an audit states it."""
        return f"unchecked: {self.reason}"


ReferenceValue: TypeAlias = Exactly | AnyOf | AtLeast | AtMost | Unchecked


def read_reference(item: object, name: str) -> ReferenceValue:
    """The reference value a policy's inline table spells. Raises `MalformedEvidence` (POLICY_INVALID) naming `name`."""
    if not isinstance(item, dict) or len(item) != 1:
        raise _invalid(name, "not a table with exactly one of exactly, any_of, at_least, at_most, unchecked")
    ((form, value),) = item.items()
    if form == "exactly" and _scalar(value):
        return Exactly(value)
    if form == "any_of" and isinstance(value, list) and all(_scalar(element) for element in value):
        return AnyOf(tuple(value))
    if form in {"at_least", "at_most"} and isinstance(value, int) and not isinstance(value, bool):
        return AtLeast(value) if form == "at_least" else AtMost(value)
    if form == "unchecked" and isinstance(value, str) and value.strip():
        return Unchecked(value)
    raise _invalid(name, f"{str(form)[:32]!r} with a value of the wrong form")


def scalars(reference: ReferenceValue) -> tuple[Scalar, ...]:
    """The values a reference compares with; none for `Unchecked`."""
    match reference:
        case Exactly(value) | AtLeast(value) | AtMost(value):
            return (value,)
        case AnyOf(values):
            return values
        case Unchecked():
            return ()
    assert_never(reference)


def shown(value: Scalar) -> str:
    """A scalar as findings print it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(value: object) -> TypeGuard[Scalar]:
    return isinstance(value, (str, int, bool))


def _invalid(name: str, got: str) -> MalformedEvidence:
    want = "{ exactly = X }, { any_of = [X] }, { at_least = N }, { at_most = N } or { unchecked = reason }"
    return MalformedEvidence(Reason.POLICY_INVALID, f"policy {name} is {got}, want {want}")
