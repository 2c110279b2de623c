# SPDX-License-Identifier: Apache-2.0
"""Recorded vectors that live outside the repository, under `SEALBID_VECTORS` (default: `../shared/vectors`)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def vectors(*parts: str) -> Path:
    """The path of a vector file or folder; skips the test without it, or fails it if SEALBID_REQUIRE_VECTORS is 1."""
    base = Path(os.environ.get("SEALBID_VECTORS") or _ROOT / ".." / "shared" / "vectors").resolve()
    path = base.joinpath(*parts)
    if path.exists():
        return path
    missing = f"no vectors at {path}; set SEALBID_VECTORS to the folder that holds {parts[0]}/"
    if os.environ.get("SEALBID_REQUIRE_VECTORS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def vector_json(*parts: str) -> Any:
    """The parsed JSON of a vector file."""
    return json.loads(vectors(*parts).read_text(encoding="utf-8"))


def vector_files(*parts: str, pattern: str = "**/*.json") -> list[Path]:
    """Every vector file under a folder, in a stable order; never an empty list."""
    found = sorted(vectors(*parts).glob(pattern))
    assert found, f"no {pattern} under {'/'.join(parts)}"
    return found


def vectors_folder() -> Path:
    """The folder of all vectors."""
    return vectors("INDEX.json").parent


def vector(path: str) -> bytes:
    """The bytes of one vector file, by its path in the folder."""
    return vectors(*path.split("/")).read_bytes()
