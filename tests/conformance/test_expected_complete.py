# SPDX-License-Identifier: Apache-2.0
"""Promises about the list of expectations itself: it is whole, its hashes hold, each expectation says its origin."""

import hashlib
from collections import Counter

from attestation.errors import Reason
from tests.conformance.expectations import Case, bundles, cases, listed, policies
from tests.support.vectors import vector, vectors_folder

COLUMNS = (True, False, "undecided", "n/a")
NOT_EVIDENCE = "log/"


def _recorded() -> set[str]:
    folder = vectors_folder()
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in files if not path.startswith(NOT_EVIDENCE)}


def _id(case: Case) -> str:
    return f"{case.path}#{case.name}"


def test_every_recorded_file_is_listed_exactly_once() -> None:
    """A file nobody derived an expectation for, a listed file that is gone, or a second entry fails here."""
    times = Counter(one.path for one in listed())
    assert set(times) == _recorded()
    assert {path for path, count in times.items() if count > 1} == set()


def test_every_recorded_file_is_the_one_the_expectation_was_derived_from() -> None:
    """An expectation belongs to bytes, not to a name."""
    changed = [one.path for one in listed() if hashlib.sha256(vector(one.path)).hexdigest() != one.sha256]
    assert changed == []


def test_every_judged_folder_exists_and_holds_listed_files() -> None:
    """A capture is judged from files that are listed themselves."""
    names = {one.path for one in listed()}
    for bundle in bundles():
        assert any(name.startswith(bundle.path + "/") for name in names), bundle.path


def test_every_expectation_says_from_what_it_was_derived() -> None:
    """No verdict without an origin that is not our own verifier."""
    silent = [one.path for one in listed() if len(one.derived.strip()) < 10]
    silent += [bundle.path for bundle in bundles() if len(bundle.derived.strip()) < 10]
    silent += [_id(case) for case in cases() if len(case.derived.strip()) < 10]
    assert silent == []


def test_case_names_are_unique_within_a_file() -> None:
    """Two cases of one name could hide one another in a report."""
    times = Counter(_id(case) for case in cases())
    assert {name for name, count in times.items() if count > 1} == set()


def test_every_case_is_well_formed() -> None:
    """Columns, reasons and policies are of the known ones; files it needs are listed; a refusal names its reason."""
    names = {one.path for one in listed()}
    for case in cases():
        assert case.at.tzinfo is not None, _id(case)
        assert case.policy in policies(), _id(case)
        assert set(case.beside) <= names, _id(case)
        assert all(column in COLUMNS for column in (*case.genuine, *case.acceptable)), _id(case)
        assert all(reason in Reason.__members__ for reason in (*case.reasons, *case.besides)), _id(case)
        fine = case.genuine[0] is True and case.acceptable[0] in (True, "n/a")
        assert fine or case.reasons, _id(case)
        assert case.acceptable[0] is not True or (case.genuine[0] is True and not case.reasons), _id(case)
