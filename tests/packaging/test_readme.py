# SPDX-License-Identifier: Apache-2.0
"""The README shows what the command prints, and names only files that exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT, tracked

BLOCK = re.compile(r"^```console\n\$ (?P<command>sealbid[^\n]*--help)\n(?P<shown>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)(?P<target>[^)#]+)")
DOCUMENTS = tracked("*.md", "docs/*.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP = [(match["command"], match["shown"]) for match in BLOCK.finditer(README)]


def test_the_readme_shows_help() -> None:
    """There is a block to compare; without one the next test would pass on nothing."""
    assert [command for command, _ in HELP][:1] == ["sealbid --help"]


@pytest.mark.parametrize(("command", "shown"), HELP, ids=[command for command, _ in HELP])
def test_shown_help_is_what_the_command_prints(command: str, shown: str) -> None:
    """A help block in the README equals the output of its command, byte for byte."""
    arguments = [sys.executable, "-m", "sealbid", *shlex.split(command)[1:]]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    printed = subprocess.run(arguments, env=env, capture_output=True, text=True, check=True).stdout
    assert shown == printed


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Every relative link of a document names a file or folder of the tree."""
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = [match["target"] for match in LINK.finditer(text)]
    assert [target for target in targets if not (ROOT / document.parent / target).exists()] == []


def test_make_targets_named_in_documents_exist() -> None:
    """A document that says `make something` names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text(encoding="utf-8"))
    }
    assert named - targets == set()
