# SPDX-License-Identifier: Apache-2.0
"""Breaks each ruling of docs/rulings.md in a copy of the sources, and sees that its tests notice.

    python -m tests.mutants.rulings [NUMBER ..]

The wrongs stand in rulings.toml as one text to exchange for another, which must occur exactly once in its file: a wrong
that no longer fits the code is an error, not a passed test. The named tests pass before and fail under it.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.run import ROOT, copy

TABLE = Path(__file__).with_name("rulings.toml")
COPIED = ("attestation", "enclave", "gateway", "manifests", "proto", "sealbid", "tests", "pyproject.toml")
_PASSED, _FAILED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """One ruling broken in one place."""

    ruling: int
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def fits(self, root: Path) -> bool:
        """Whether the text to exchange stands in the file exactly once."""
        return (root / self.file).read_text(encoding="utf-8").count(self.old) == 1


def wrongs() -> list[Wrong]:
    """All of them, in the order of the table."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [Wrong(**{**item, "tests": tuple(item["tests"])}) for item in table["mutant"]]


def named_tests(chosen: list[Wrong]) -> tuple[str, ...]:
    """Every test that some wrong names."""
    return tuple(sorted({test for wrong in chosen for test in wrong.tests}))


@contextmanager
def tree() -> Iterator[Path]:
    """A copy of everything the tests need."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        root.mkdir()
        for name in COPIED:
            copy(ROOT / name, root / name)
        yield root


def noticed(wrong: Wrong, root: Path) -> bool:
    """Whether the named tests fail under this wrong in the tree at `root`, which is put back afterwards."""
    path = root / wrong.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(wrong.old, wrong.new), encoding="utf-8")
    try:
        return run(wrong.tests, root) == _FAILED
    finally:
        path.write_text(before, encoding="utf-8")


def run(tests: tuple[str, ...], root: Path) -> int:
    """The exit status of pytest over these tests in the tree at `root`."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, check=False).returncode


def main(numbers: list[str]) -> int:
    """Plants all wrongs, or those of the rulings given; 0 when each was noticed."""
    chosen = [wrong for wrong in wrongs() if not numbers or str(wrong.ruling) in numbers]
    missed = 0
    with tree() as root:
        if run(named_tests(chosen), root) != _PASSED:
            sys.stdout.write("the tests fail without any wrong\n")
            return 1
        for wrong in chosen:
            fate = ("noticed" if noticed(wrong, root) else "MISSED") if wrong.fits(root) else "DOES NOT FIT"
            missed += fate != "noticed"
            sys.stdout.write(f"{wrong.ruling:>2}  {fate:<12}  {wrong.breaks}\n")
            sys.stdout.flush()
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
