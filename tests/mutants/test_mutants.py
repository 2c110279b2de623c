# SPDX-License-Identifier: Apache-2.0
"""The mutants themselves: every patch still fits the code, and every mutant meets the fate it must."""

import pytest

from tests.mutants.run import ROOT, Fate, Mutant, apply, fate, mutants

LEAST = 15
ALL = mutants()


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_patch_applies(mutant: Mutant) -> None:
    """A patch that no longer applies would pass for a killed mutant."""
    assert apply(mutant, ROOT, check=True) == ""
    assert mutant.breaks.endswith(".")
    assert mutant.tests
    assert all((ROOT / test).is_file() for test in mutant.tests)


def test_there_are_enough_of_them_and_a_control() -> None:
    """At least fifteen wrongs, and exactly one mutant that must survive."""
    assert len([mutant for mutant in ALL if mutant.wanted is Fate.KILLED]) >= LEAST
    assert len([mutant for mutant in ALL if mutant.wanted is Fate.SURVIVED]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_mutant_meets_its_fate(mutant: Mutant) -> None:
    """The named tests fail under a wrong, and pass under the control."""
    assert fate(mutant) is mutant.wanted
