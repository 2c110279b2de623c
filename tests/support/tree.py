# SPDX-License-Identifier: Apache-2.0
"""The checkout under test: its root and its tracked files."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    """Tracked files that still exist and match the git patterns, relative to the root, in order."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [Path(name) for name in sorted(filter(None, listed.split("\0"))) if (ROOT / name).is_file()]


def generated(path: Path) -> bool:
    """Whether proto/generate.py wrote the file."""
    return path.is_relative_to("proto/gen") or path.suffix == ".pyi" or path == Path("proto/sealbid_oip/descriptor.py")
