# SPDX-License-Identifier: Apache-2.0
"""Every reason that the code or the specification names is shown by one test and, beside it, not given by another."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest

from attestation.errors import Reason
from tests.conformance.coverage import DOCUMENT, Shown, document, of_the_specification, read, required
from tests.support.tree import ROOT

TABLE = read()


@pytest.fixture(scope="module")
def ids() -> dict[str, list[str]]:
    """The ids of all cases of every test in the files the table names, by test."""
    nodes = {node for row in TABLE.shown for node in (row.refused, row.accepted)}
    files = sorted({node.partition("::")[0] for node in nodes})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-2000:]
    cases: dict[str, list[str]] = {}
    for line in found.stdout.splitlines():
        test, bracket, label = line.partition("[")
        if "::" in test:
            cases.setdefault(test, []).append(label.removesuffix("]") if bracket else "")
    return cases


def test_every_reason_that_can_be_given_has_a_row() -> None:
    """A reason that a verifier, the appraisal, a step or a fact can give is shown, or says why it is not."""
    shown = {(row.kind, row.reason) for row in TABLE.shown}
    missing = required() - shown - set(TABLE.never) - set(TABLE.gaps)
    assert sorted(missing) == []
    assert of_the_specification() <= {reason for _, reason in shown}


def test_no_row_says_two_things_or_of_nothing() -> None:
    """A pair stands once; what is shown is neither a gap nor impossible; kinds and reasons exist."""
    pairs = [(row.kind, row.reason) for row in TABLE.shown] + list(TABLE.never) + list(TABLE.gaps)
    assert sorted(pair for pair in set(pairs) if pairs.count(pair) > 1) == []
    assert {kind for kind, _ in pairs} == set(TABLE.columns)
    assert {reason for _, reason in pairs} <= set(Reason.__members__)
    assert sorted(pair for pair in (*TABLE.never, *TABLE.gaps) if pair not in required()) == []


@pytest.mark.parametrize("row", TABLE.shown, ids=lambda row: f"{row.kind} {row.reason}")
def test_both_tests_exist_and_differ(row: Shown, ids: dict[str, list[str]]) -> None:
    """Each names a test and, of a parametrized one, one or more of its cases; the two are not the same."""
    assert row.refused != row.accepted
    for node in (row.refused, row.accepted):
        test, bracket, label = node.partition("[")
        assert test in ids, node
        parts = label.removesuffix("]").split(", ") if bracket else []
        assert any(all(part in case for part in parts) for case in ids[test]), node


@pytest.mark.parametrize("row", TABLE.shown, ids=lambda row: f"{row.kind} {row.reason}")
def test_the_refusing_test_speaks_of_its_reason(row: Shown) -> None:
    """Its source, or a table it takes its cases from, names the reason."""
    path, _, test = row.refused.partition("[")[0].partition("::")
    assert re.search(rf"\bReason\.{row.reason}\b", source_of(path, test)), row.refused


def test_the_document_is_what_the_table_says() -> None:
    """`python -m tests.conformance.coverage` was run after the last change."""
    assert DOCUMENT.read_text(encoding="utf-8") == document(TABLE)


@cache
def definitions(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Every name a module defines at its top: its source with decorators, and the names that source uses."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            first, names = node.lineno, [target.id for target in targets if isinstance(target, ast.Name)]
        else:
            continue
        source = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
        used = frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
        found |= dict.fromkeys(names, (source, used))
    return found


@cache
def sources(path: str) -> dict[str, str]:
    """From which module of the tests' support a module has each constant it imports."""
    found: dict[str, str] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.support"):
            other = (node.module or "").replace(".", "/") + ".py"
            found |= {alias.name: other for alias in node.names if alias.name.isupper()}
    return found


def source_of(path: str, name: str) -> str:
    """The source of a test and of everything of its module, and every constant of the support, that it is made of."""
    texts: list[str] = []
    seen, waiting = {(path, name)}, [(path, name)]
    while waiting:
        where, what = waiting.pop()
        if what in definitions(where):
            text, used = definitions(where)[what]
            texts.append(text)
            reached = {(where, other) for other in used} - seen
        else:
            reached = {(sources(where)[what], what)} - seen if what in sources(where) else set()
        seen |= reached
        waiting += reached
    return "\n".join(texts)
