# SPDX-License-Identifier: Apache-2.0
"""The specification and the sources agree where a machine can tell: citations, labels, purposes, table of errors."""

import re
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.rpc.status import STATUS
from tests.support.tree import ROOT, generated, tracked

SPEC = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", SPEC, re.MULTILINE))
SELF = Path("tests/packaging/test_spec.py")  # its patterns look like what they find
SOURCES = [path for path in tracked("*.py", "*.proto") if not generated(path) and path != SELF]
CITATION = re.compile(r"docs/spec\.md(?:,)? (?:section )?((?:\d+(?:\.\d+)?(?:, | and | to )?)+)")
LABEL = re.compile(r"\"(sealbid/(?!1 )[a-z-]+/1)\"")
PURPOSE = re.compile(r"cose\.(?:sign|verify)\([^\n\"]*\"([a-z-]+)\"")
CODE = [path for path in SOURCES if path.suffix == ".py" and path.parts[0] in {"attestation", "gateway", "enclave"}]


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def cited(text: str) -> set[str]:
    """The sections a text names."""
    return {number for found in CITATION.findall(text) for number in re.findall(r"\d+(?:\.\d+)?", found)}


def test_sections_are_numbered_without_a_gap() -> None:
    """The headings count up, chapters and sections alike, so a citation stays where it was."""
    chapters = [number for number in SECTIONS if "." not in number]
    assert sorted(map(int, chapters)) == list(range(1, len(chapters) + 1))
    for chapter in chapters:
        inner = sorted(int(number.partition(".")[2]) for number in SECTIONS if number.startswith(f"{chapter}."))
        assert inner == list(range(1, len(inner) + 1))


def test_the_patterns_see_something() -> None:
    """An empty match would pass everything below."""
    assert cited("(docs/spec.md, 4.6 and 5.4)") == {"4.6", "5.4"}
    assert cited("(docs/spec.md, 9.2, 11.3)") == {"9.2", "11.3"}
    assert sum(bool(cited(read(path))) for path in SOURCES) > 50
    assert len({label for path in CODE for label in LABEL.findall(read(path))}) > 20


@pytest.mark.parametrize("path", [path for path in SOURCES if "docs/spec" in read(path)], ids=str)
def test_what_is_cited_is_there(path: Path) -> None:
    """Every section a source names exists, and no source names another document of the specification."""
    assert cited(read(path)) <= SECTIONS
    assert not re.search(r"docs/spec-\w+|\(spec section", read(path))


def test_every_label_is_specified() -> None:
    """A structure that is hashed or signed under a label of its own has its form in the specification."""
    labels = {label: path for path in CODE for label in LABEL.findall(read(path))}
    assert {label: str(path) for label, path in labels.items() if label not in SPEC} == {}


def test_every_purpose_is_specified() -> None:
    """What a key signs is listed by purpose."""
    purposes = {purpose for path in CODE for purpose in PURPOSE.findall(read(path))}
    assert len(purposes) > 5
    assert {purpose for purpose in purposes if f"`{purpose}`" not in SPEC and f'"{purpose}"' not in SPEC} == set()


def test_the_table_of_errors_is_the_codes() -> None:
    """Section 14 lists every reason once, under the status it is sent with."""
    section = SPEC.partition("\n## 14. ")[2].partition("\n---\n")[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_, ]+) \|$", section, re.MULTILINE)
    written = {reason: status for status, reasons in rows for reason in reasons.split(", ")}
    assert written == {reason.value: status.name for reason, status in STATUS.items()}
    assert len(written) == len(Reason) == sum(len(reasons.split(", ")) for _, reasons in rows)
