# SPDX-License-Identifier: Apache-2.0
"""The table of bad input in docs/testing.md names tests that exist, reasons that exist, and the statuses they have."""

import ast

import pytest

from attestation.errors import Reason
from attestation.rpc.status import STATUS
from tests.support.tree import ROOT


def table() -> list[tuple[str, str, str, str]]:
    """The rows: mistake, test, status, reason."""
    section = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8").partition("## Bad input")[2]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip(" `") for cell in line.strip("|").split(" | ")) for line in lines[1:]]
    return [(mistake, test, status, reason) for mistake, test, status, reason in rows]


ROWS = table()


def test_the_table_is_seen() -> None:
    """Every kind of mistake has a row; an empty table would pass everything."""
    mistakes = " ".join(mistake for mistake, *_ in ROWS)
    for kind in (
        *("shape", "datatype", "missing", "oversized", "unknown model", "no eligible offer", "price cap", "deadline"),
        *("credential", "tampered", "truncated", "replayed", "misaddressed", "expired lease", "stale nonce", "policy"),
    ):
        assert kind in mistakes


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_true(row: tuple[str, str, str, str]) -> None:
    """Its test is there; its reason is one of ours and has this status, where it becomes one."""
    _, test, status, reason = row
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in names
    if reason in ("none: gRPC's own", "as above"):
        return
    assert reason in Reason.__members__
    assert status in (STATUS[Reason(reason)].name, "OK, in the stream", "OK, a refusal", "exit 2", "exit 30")
