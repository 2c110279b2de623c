# SPDX-License-Identifier: Apache-2.0
"""What an auditor reads of a policy is the whole policy, and a change that accepts more is never shown as less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.appraisal.reference import AnyOf, AtLeast, AtMost, Exactly, Unchecked
from attestation.audit.policy import Condition, NoneOf, view
from attestation.audit.policy_diff import Change, covers, diff, direction
from attestation.claims import Scalar
from tests.support.worlds import development_policy
from tests.unit.attestation.audit.recorded import permissive

NUMBERS = st.integers(-3, 3)
CONDITIONS = st.one_of(
    NUMBERS.map(Exactly),
    st.lists(NUMBERS, max_size=3).map(lambda values: AnyOf(tuple(values))),
    NUMBERS.map(AtLeast),
    NUMBERS.map(AtMost),
    st.just(Unchecked("why")),
)


@given(wide=CONDITIONS, narrow=CONDITIONS)
def test_covering_is_never_claimed_wrongly(wide: Condition, narrow: Condition) -> None:
    """If one condition is said to cover another, every claim the other accepts it accepts too."""
    if covers(wide, narrow):
        assert all(wide.accepts(claim) for claim in range(-9, 10) if narrow.accepts(claim))


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (Exactly(1), AnyOf((1, 2)), Change.WIDER),
        (AnyOf((1, 2)), Exactly(2), Change.NARROWER),
        (AtLeast(3), AtLeast(2), Change.WIDER),
        (AtMost(3), AtMost(2), Change.NARROWER),
        (AnyOf(()), Unchecked("x"), Change.WIDER),
        (Unchecked("x"), Exactly(1), Change.NARROWER),
        (Exactly(1), Exactly(2), Change.OTHER),
        (Exactly(1), AnyOf((1,)), Change.RESTATED),
        (Unchecked("x"), Unchecked("y"), Change.RESTATED),
        (NoneOf(frozenset("a")), NoneOf(frozenset("ab")), Change.NARROWER),
        (NoneOf(frozenset("a")), NoneOf(frozenset()), Change.WIDER),
    ],
)
def test_directions(old: Condition, new: Condition, change: Change) -> None:
    """Wider accepts more, narrower less, restated the same, other neither."""
    assert direction(old, new) is change


def test_every_unchecked_rule_is_shown_with_its_reason() -> None:
    """The list of rules names every check that the policy itself says it skips."""
    policy = permissive()
    skipped = {rule.name: rule.want for rule in view(policy).rules if not rule.checked}
    expected = {name: f"unchecked: {reason}" for name, reason in policy.unchecked().items()}
    assert skipped == expected
    assert view(policy).lines()[-1].startswith(f"{len(view(policy).rules)} rules, of which {len(skipped)} unchecked")


def test_a_policy_does_not_differ_from_itself() -> None:
    """No rule differs, and the output says so in one line."""
    found = diff(development_policy(), development_policy())
    assert (found.changes, found.lines()[-1]) == ((), "no rule differs")


def test_what_changed_is_shown_and_nothing_else() -> None:
    """One changed line of a policy is one changed rule with both wordings and its direction."""
    found = diff(development_policy(), development_policy(max_workers_per_cpu="4096"))
    (change,) = found.changes
    assert (change.name, change.change, change.new) == (
        "platform.max_workers_per_cpu",
        Change.WIDER,
        "at most 4096",
    )
    assert "1 rules differ, 1 of them wider (!)" in found.lines()


def test_machines_a_policy_names_are_counted_and_not_shown() -> None:
    """Neither allowed nor denied identities are printed."""
    text = '{ any_of = ["cpu:c0ffee", "cpu:decade"] }'
    policy = development_policy(allowed=text, denied='["cpu:facade"]')
    shown = "\n".join(view(policy).lines()) + str(view(policy).to_json())
    assert "one of 2 listed identities" in shown
    assert not any(secret in shown for secret in ("c0ffee", "decade", "facade"))


@given(claim=st.one_of(st.text(), st.integers(), st.booleans()))
def test_a_deny_list_refuses_exactly_what_it_names(claim: Scalar) -> None:
    """Everything but the denied is accepted."""
    assert NoneOf(frozenset({"cpu:00"})).accepts(claim) is (claim != "cpu:00")
