# SPDX-License-Identifier: Apache-2.0
"""Mutants of the market: small wrongs, each of which the fast tests must notice.

    python -m tests.mutants.run [NAME ..]

A patch begins with a sentence saying what it breaks and a line `Tests: FILE ..` naming the tests that must fail under
it. Each is applied to a copy of the sources of its own. A mutant counts as killed only when a test failed; one that
cannot be imported is a broken patch. The one named `control` changes nothing that can be seen and must survive, so that
tests which fail whatever the code does are found out too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("attestation", "gateway", "tests", "pyproject.toml")
_PASSED, _FAILED = 0, 1


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One patch."""

    path: Path
    breaks: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def wanted(self) -> Fate:
        """What must become of it."""
        return Fate.SURVIVED if "control" in self.name else Fate.KILLED


def mutants() -> list[Mutant]:
    """All patches, in order of their numbers."""
    found = []
    for path in sorted(HERE.glob("*.patch")):
        breaks, tests = path.read_text().splitlines()[:2]
        found.append(Mutant(path=path, breaks=breaks, tests=tuple(tests.removeprefix("Tests: ").split())))
    return found


def apply(mutant: Mutant, root: Path, *, check: bool = False) -> str:
    """Applies a patch to the tree at `root`, or only checks that it would; what git complained of, if anything."""
    command = ["git", "apply", *(["--check"] if check else []), str(mutant.path)]
    # Without this ceiling git would take a copy inside some repository for part of it, and skip the patch silently.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def fate(mutant: Mutant) -> Fate:
    """Runs the named tests under the patch."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        root.mkdir()
        for name in COPIED:
            copy(ROOT / name, root / name)
        if apply(mutant, root):
            return Fate.BROKEN
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--hypothesis-seed=0",
            *mutant.tests,
        ]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, check=False)
    return {_PASSED: Fate.SURVIVED, _FAILED: Fate.KILLED}.get(done.returncode, Fate.BROKEN)


def copy(source: Path, target: Path) -> None:
    """Copies a file, or a folder without what tools left in it."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    else:
        shutil.copy(source, target)


def main(names: list[str]) -> int:
    """Runs all mutants, or those named; 0 when each met the fate it must."""
    wrong = 0
    for mutant in mutants():
        if names and not any(name in mutant.name for name in names):
            continue
        started = time.monotonic()
        found = fate(mutant)
        wrong += found is not mutant.wanted
        verdict = "" if found is mutant.wanted else f", want {mutant.wanted.value}"
        sys.stdout.write(f"{mutant.name:<36} {found.value}{verdict} ({time.monotonic() - started:.1f} s)\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
