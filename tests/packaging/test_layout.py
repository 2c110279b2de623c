# SPDX-License-Identifier: Apache-2.0
"""Where packages may and may not be, and what their public names look like."""

import ast
from pathlib import Path

import pytest

from tests.support.tree import ROOT, generated, tracked

PACKAGES = [path for path in tracked("*/__init__.py", "*/*/__init__.py") if not generated(path)]


def test_proto_is_not_a_package() -> None:
    """A proto/__init__.py would shadow the distribution proto-plus, whose import name is `proto`."""
    assert tracked("proto/__init__.py", "proto/gen/__init__.py", "proto/sealbid/**/__init__.py") == []


def test_tests_are_not_packages() -> None:
    """Tests are collected by path; an __init__.py among them would put them on the import path."""
    assert tracked("tests/**/__init__.py", "tests/__init__.py") == []


def test_applications_are_packages() -> None:
    """Each import name of the distribution is a package with an __init__.py."""
    tops = ("attestation", "gateway", "enclave", "sealbid", "proto/sealbid_oip", "proto/gen/sealbid_wire")
    assert [top for top in tops if not (ROOT / top / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", PACKAGES, ids=str)
def test_public_names_are_sorted_and_exist(path: Path) -> None:
    """A package that lists its public names lists them sorted, once, and each is bound in the module."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
    ]
    bound = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    for names in lists:
        assert list(names) == sorted(set(names))
        assert set(names) <= bound
