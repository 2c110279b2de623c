# SPDX-License-Identifier: Apache-2.0
"""Which build judges: the version and the digest of the code that runs, as every verdict entry names it."""

import hashlib
from importlib import metadata
from pathlib import Path

from attestation.tlog.entry import VerifierRef


def this_build() -> VerifierRef:
    """The installed version, and SHA-256 over name and digest of every module of this package."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name, digest = path.relative_to(package).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{digest}  {name}\n".encode())
    return VerifierRef(version=_version(), sha256=total.digest())


def _version() -> str:
    try:
        return metadata.version("sealbid")
    except metadata.PackageNotFoundError:
        return "unversioned"
