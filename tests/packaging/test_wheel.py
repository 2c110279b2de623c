# SPDX-License-Identifier: Apache-2.0
"""The wheel: what it installs at top level, and that it works where the source tree is not."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.tree import ROOT, tracked

pytestmark = pytest.mark.slow

PACKAGES = {"attestation", "gateway", "enclave", "sealbid", "sealbid_oip", "sealbid_wire"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone."""
    source = tmp_path_factory.mktemp("source")
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as an installer would leave it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_the_wheel_installs_only_our_names(wheel: Path) -> None:
    """The top level of the wheel is the six packages and the metadata: no tests, no benchmarks, no stray module."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    """Each tracked module of the six packages is in the wheel."""
    roots = {"proto/gen/", "proto/"}
    modules = {path.as_posix() for path in tracked("*.py")}
    wanted = set()
    for module in modules:
        name = next(
            (module.removeprefix(root) for root in sorted(roots, reverse=True) if module.startswith(root)), module
        )
        if name.split("/", 1)[0] in PACKAGES:
            wanted.add(name)
    with zipfile.ZipFile(wheel) as archive:
        assert wanted - set(archive.namelist()) == set()


def test_the_licence_travels_with_the_wheel(wheel: Path) -> None:
    """The metadata of the wheel holds the licence text."""
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`python -m sealbid --help` runs from the wheel, and every package is imported from there."""
    shown = run(installed, tmp_path, "-m", "sealbid", "--help")
    assert shown.returncode == 0, shown.stderr
    where = "; ".join(f"import {name}; print({name}.__file__)" for name in sorted(PACKAGES))
    printed = run(installed, tmp_path, "-c", where)
    assert printed.returncode == 0, printed.stderr
    assert [line for line in printed.stdout.splitlines() if not line.startswith(str(installed))] == []


def test_the_core_passes_its_tests_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """Unit tests of the core pass against the wheel, in a folder that holds the tests and no source."""
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    flags = ["-q", "-p", "no:cacheprovider", "-o", "pythonpath=.", "-m", "not net and not slow"]
    ran = run(installed, tmp_path, "-m", "pytest", *flags, "tests/unit/sealing", "tests/unit/settings")
    assert ran.returncode == 0, ran.stdout + ran.stderr
