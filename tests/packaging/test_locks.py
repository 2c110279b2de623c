# SPDX-License-Identifier: Apache-2.0
"""The lock files: everything pinned and hashed, nothing about where it came from, in step with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.tree import ROOT, tracked

LOCKS = tracked("requirements/*.lock")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\$")
HASH = re.compile(r"^ {4}--hash=sha256:[0-9a-f]{64}(?: \\)?$")
COMMENT = re.compile(r"^ {4}#(?: +via)?(?: +(?:-[cr] requirements/[\w.]+|[\w.-]+(?: \(pyproject\.toml\))?))?$")

UNSAFE = "# The following packages are considered to be unsafe in a requirements file:"

# Not locked: the vendor's libraries install only beside the vendor's driver.
UNLOCKED_EXTRAS = {"tensorrt"}


def pins(lock: Path) -> dict[str, str]:
    matches = [PIN.match(line) for line in (ROOT / lock).read_text(encoding="utf-8").splitlines()]
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}


def requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def test_lock_files_are_found() -> None:
    """The checks below see the lock files of development and of production."""
    assert {path.name for path in LOCKS} >= {"dev.lock", "runtime.lock"}


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_every_pin_has_hashes_and_nothing_else_is_said(lock: Path) -> None:
    """Each line is a pin, a hash of the pin above it, or a comment naming who wants it; every pin has a hash."""
    hashed: dict[str, int] = {}
    name = ""
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        pin = PIN.match(line)
        if pin:
            name = pin["name"]
            hashed[name] = 0
        elif HASH.match(line):
            hashed[name] += 1
        else:
            assert COMMENT.match(line) or line in ("", UNSAFE), line
    assert [name for name, count in hashed.items() if count == 0] == []


@pytest.mark.parametrize(
    ("lock", "left_out"),
    [
        (Path("requirements/dev.lock"), UNLOCKED_EXTRAS),
        (Path("requirements/runtime.lock"), UNLOCKED_EXTRAS | {"dev"}),
    ],
    ids=["dev", "runtime"],
)
def test_the_lock_satisfies_the_project(lock: Path, left_out: set[str]) -> None:
    """Every requirement of the project is pinned to a version it allows."""
    found = pins(lock)
    for wanted in requirements(*(extras() - left_out)):
        version = found.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted} is not locked"
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted} is locked to {version}"


def test_production_runs_what_was_tested() -> None:
    """Every pin of runtime.lock is in dev.lock at the same version."""
    tested = pins(Path("requirements/dev.lock"))
    assert {name: tested.get(name) for name in pins(Path("requirements/runtime.lock"))} == pins(
        Path("requirements/runtime.lock")
    )


def test_grpc_is_pinned_exactly() -> None:
    """Each extra that names a gRPC package names the one version that was measured."""
    named = [wanted for wanted in requirements(*extras()) if wanted.name.startswith("grpcio")]
    assert {str(wanted.specifier) for wanted in named} == {"==1.75.0"}


def test_every_dependency_has_its_reason() -> None:
    """Each direct dependency is named in docs/dependencies.md, and that page names no other package."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    described = {canonicalize_name(name) for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert described == {canonicalize_name(wanted.name) for wanted in requirements(*extras())}
