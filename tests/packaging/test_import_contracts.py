# SPDX-License-Identifier: Apache-2.0
"""The import contracts of .importlinter really fire: one planted violation per contract."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT

TOPS = ("attestation", "gateway", "enclave", "sealbid", "proto/sealbid_oip", "proto/gen/sealbid_wire")

PLANTS = [
    ("applications", "enclave/__init__.py", "import gateway"),
    ("applications", "attestation/errors.py", "import gateway"),
    ("applications", "sealbid/__init__.py", "import enclave"),
    ("attestation", "attestation/errors.py", "import attestation.tlog"),
    ("attestation", "attestation/unplaced.py", ""),
    ("gateway", "gateway/errors.py", "import gateway.flow"),
    ("gateway", "gateway/unplaced.py", ""),
    ("core", "attestation/claims.py", "import socket"),
    ("core", "attestation/claims.py", "def later():\n    import attestation.logs"),
    ("core", "attestation/tlog/merkle.py", "import sealbid_wire"),
    ("core", "proto/sealbid_oip/errors.py", "import grpc"),
    ("one-tee", "attestation/tee/snp/report.py", "import attestation.tee.tpm"),
    ("enclave-trusted-base", "enclave/__init__.py", "import pydantic"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The import packages and their contracts in a folder of their own."""
    for top in TOPS:
        shutil.copytree(ROOT / top, tmp_path / Path(top).name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", "--contract", contract]
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def identifiers() -> list[str]:
    lines = (ROOT / ".importlinter").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("[importlinter:contract:").rstrip("]") for line in lines if ":contract:" in line]


def test_every_contract_has_a_plant() -> None:
    """No contract stands untested."""
    assert sorted(identifiers()) == sorted({contract for contract, _, _ in PLANTS})


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS)
def test_a_planted_import_breaks_its_contract(copy: Path, contract: str, file: str, line: str) -> None:
    """A contract that holds in the tree is broken by one forbidden import, or one module without a place."""
    assert lint(copy, contract).returncode == 0
    planted = copy / file.removeprefix("proto/")
    with planted.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    broken = lint(copy, contract)
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout
