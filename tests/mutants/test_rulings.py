# SPDX-License-Identifier: Apache-2.0
"""Rulings, wrongs that break them, tests that must notice: the three lists agree, and every wrong is seen."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.rulings import Wrong, named_tests, noticed, run, tree, wrongs
from tests.mutants.run import ROOT

ALL = wrongs()
TABLE = (ROOT / "docs" / "rulings.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
ROWS = {int(number): (ruling, where, tests) for number, ruling, where, tests in ROW.findall(TABLE)}
RULINGS = 35


def defined(name: str) -> bool:
    """Whether some test file defines a test of this name."""
    pattern = re.compile(rf"^(async )?def {name}\(|^    def {name}\(", re.MULTILINE)
    return any(pattern.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_ruling_has_a_row() -> None:
    """One row each, in order; a ruling without a test says later and why."""
    assert list(ROWS) == list(range(1, RULINGS + 1))
    assert all("`test_" in tests or "later:" in tests for _, _, tests in ROWS.values())


@pytest.mark.parametrize("number", ROWS)
def test_the_places_and_named_tests_a_row_exist(number: int) -> None:
    """What the row cites is in the tree under that name."""
    _, where, tests = ROWS[number]
    for path in re.findall(r"`([a-z_/]+\.(?:py|toml))`", where):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`(test_\w+)`", tests):
        assert defined(name), name


def test_every_ruling_with_a_test_is_broken_somewhere() -> None:
    """A test that nothing has ever failed proves little, so each such ruling has at least one wrong."""
    tested = {number for number, (_, _, tests) in ROWS.items() if "`test_" in tests}
    assert tested == {wrong.ruling for wrong in ALL}


@pytest.mark.parametrize("wrong", ALL, ids=lambda wrong: f"{wrong.ruling}-{wrong.breaks[:40]}")
def test_the_wrong_fits(wrong: Wrong) -> None:
    """Its text stands once in its file, and its tests exist."""
    assert wrong.fits(ROOT)
    assert wrong.breaks.endswith(".")
    assert all((ROOT / test.partition("::")[0]).exists() for test in wrong.tests)
    assert all(defined(name) for test in wrong.tests if (name := test.partition("::")[2]))


@pytest.fixture(scope="module")
def copied() -> Iterator[Path]:
    """One copy of the sources for all wrongs."""
    with tree() as root:
        assert run(named_tests(ALL), root) == 0, "the tests fail without any wrong"
        yield root


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ALL, ids=lambda wrong: f"{wrong.ruling}-{wrong.breaks[:40]}")
def test_the_wrong_is_noticed(wrong: Wrong, copied: Path) -> None:
    """The tests named fail while the ruling is broken."""
    assert noticed(wrong, copied)
