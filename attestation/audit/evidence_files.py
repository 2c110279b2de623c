# SPDX-License-Identifier: Apache-2.0
"""Reads what an auditor names: files and folders, bounded in number and size, into subjects and endorsements.

A folder is read one level deep, hidden files left out. Links are followed: the auditor names them. Nothing is parsed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from attestation.audit.evidence import Subject
from attestation.bundle import MAX_BUNDLE_BYTES
from attestation.errors import SettingsError
from attestation.files import read_file

MAX_FILES: Final = 256
MAX_FILE_BYTES: Final = MAX_BUNDLE_BYTES
MAX_FOLDER_BYTES: Final = 4 * MAX_BUNDLE_BYTES


def read_subject(path: Path) -> Subject:
    """The file or folder at `path`. Raises `SettingsError` if it cannot be read, or is beyond the limits."""
    if not path.is_dir():
        return Subject(name=str(path), files={path.name: _read(path)}, folder=False)
    return Subject(name=str(path), files=dict(_folder(path)), folder=True)


def read_collateral(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Every file of the endorsements named, folders opened. Raises `SettingsError` as `read_subject`."""
    found: list[tuple[str, bytes]] = []
    for path in paths:
        found += _folder(path) if path.is_dir() else [(path.name, _read(path))]
        _bound("collateral", len(found), sum(len(data) for _, data in found))
    return found


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    except OSError as error:
        raise SettingsError(f"folder cannot be read: {type(error).__name__}") from None
    total = 0
    _bound(f"folder {path.name}", len(entries), 0)
    for entry in entries:
        data = _read(entry)
        total += len(data)
        _bound(f"folder {path.name}", len(entries), total)
        yield entry.name, data


def _read(path: Path) -> bytes:
    return read_file(path, f"file {path.name}", MAX_FILE_BYTES)


def _bound(name: str, files: int, size: int) -> None:
    if files > MAX_FILES or size > MAX_FOLDER_BYTES:
        raise SettingsError(f"{name} is too large, want at most {MAX_FILES} files of {MAX_FOLDER_BYTES} bytes in all")
