# SPDX-License-Identifier: Apache-2.0
"""What the market's core must not touch, or two auditors on two machines would get two results."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = [*sorted((ROOT / "gateway/market").glob("*.py")), ROOT / "gateway/ledger/ledger.py"]
FORBIDDEN = {
    "asyncio", "grpc", "logging", "os", "random", "secrets", "socket", "sqlite3", "sqlmodel", "subprocess", "time",
}  # fmt: skip


def findings(tree: ast.AST) -> list[str]:
    """Names of what would break determinism."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FORBIDDEN:
            found.append(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append("float literal")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append("true division")
        elif isinstance(node, ast.Name) and node.id in {"hash", "float", "round"}:
            found.append(node.id)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_core_has_no_clock_no_chance_no_floats(module: Path) -> None:
    """No import of IO, time or randomness, no float, no true division, no salted hash."""
    assert findings(ast.parse(module.read_text())) == []


@pytest.mark.parametrize("planted", ["import time", "from random import choice", "x = 0.5", "y = 1 / 2", "z = hash(1)"])
def test_the_check_finds_what_is_planted(planted: str) -> None:
    """Control: each kind of violation is seen."""
    assert findings(ast.parse(planted)) != []
