# SPDX-License-Identifier: Apache-2.0
"""Every source file: short, licensed, described, named, free of left-overs and of the machine it was written on."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.tree import ROOT, generated, tracked

MAX_LINES = 400
SPDX = "SPDX-License-Identifier: Apache-2.0"
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "impl", "misc"}
LEFT_OVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
MACHINE = re.compile(
    r"(?<![\w.])/(root|home|work)/\w|pip\."
    r"conf|/opt/(pypi|wheels)|(?<!\S)--(extra-)?index-url[ =]|(?<!\S)--trusted-host[ =]"
)
# The words of a rule may name what it forbids.
MACHINE_EXEMPT = {Path("tests/packaging/test_source_files.py")}

PYTHON = [path for path in tracked("*.py") if not generated(path)]
WRITTEN = [*PYTHON, *tracked("*.proto", "Makefile", ".ci/run")]
TEXT = [path for path in tracked() if path.suffix not in {".onnx", ".bin", ".db", ".png", ".gz"}]


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_tree_is_seen() -> None:
    """The walk below finds sources; an empty list would pass everything."""
    assert Path("attestation/errors.py") in PYTHON
    assert Path("README.md") in TEXT


@pytest.mark.parametrize("path", PYTHON, ids=str)
def test_no_file_is_longer_than_four_hundred_lines(path: Path) -> None:
    """A module is one noun; when it outgrows 400 lines it is two."""
    assert len(read(path).splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_the_licence_stands_first(path: Path) -> None:
    """The first line, after a #! if there is one, names the licence."""
    lines = read(path).splitlines()
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert first.lstrip("#/ ") == SPDX


@pytest.mark.parametrize("path", [path for path in PYTHON if path.name != "__init__.py"], ids=str)
def test_a_module_says_what_it_is(path: Path) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(read(path)))


@pytest.mark.parametrize("path", PYTHON, ids=str)
def test_a_module_has_a_name_of_its_own(path: Path) -> None:
    """No module or folder is called by a word that says nothing."""
    assert not NAMELESS & {*path.parent.parts, path.stem}


def test_nothing_was_left_for_later() -> None:
    """No source carries a marker of unfinished work."""
    assert [str(path) for path in WRITTEN if LEFT_OVERS.search(read(path))] == []


def test_no_file_names_a_build_machine() -> None:
    """No tracked text names a home directory, a package index or a configuration of the machine it was made on."""
    found = [
        f"{path}:{number}"
        for path in TEXT
        if path not in MACHINE_EXEMPT
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ["/home/x", "--index-url https://x", "of pip.conf"])
def test_the_machine_rule_can_fail(line: str) -> None:
    """The pattern above recognises what it is meant for."""
    assert MACHINE.search(line)
