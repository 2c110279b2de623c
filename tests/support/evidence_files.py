# SPDX-License-Identifier: Apache-2.0
"""Recorded evidence of real hardware, read where it lies and never copied into the repository."""

from pathlib import Path

from tests.support.vectors import vectors


def vectors_folder() -> Path:
    """The folder of the recorded vectors; skips the test without it, or fails it if SEALBID_REQUIRE_VECTORS is 1."""
    return vectors("INDEX.json").parent


def vector(path: str) -> bytes:
    """The bytes of one vector file, named relative to the folder; skips or fails as `vectors_folder` does."""
    return vectors(*path.split("/")).read_bytes()
