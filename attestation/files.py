# SPDX-License-Identifier: Apache-2.0
"""Reads the small files a process is told of, bounded: an operator's mistake must not fill its memory.

What cannot be read, or is longer than its kind ever is, is a `SettingsError` naming the setting, never the content.
"""

import os
from pathlib import Path

from attestation.errors import SettingsError


def read_start(path: Path, name: str, count: int) -> bytes:
    """The first `count` bytes of a file, fewer where it ends; for callers that bound its length themselves.

    Raises:
        SettingsError: it cannot be read; the text calls it `name`.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise SettingsError(f"{name} cannot be read: {os.strerror(error.errno or 0).lower()}") from None


def read_file(path: Path, name: str, maximum: int) -> bytes:
    """The whole of a file of at most `maximum` bytes. Raises `SettingsError` calling it `name`."""
    data = read_start(path, name, maximum + 1)
    if len(data) > maximum:
        raise SettingsError(f"{name} has more than {maximum} bytes, want at most that")
    return data


def read_token(path: Path, name: str, maximum: int) -> str:
    """A secret or name that stands alone in a file, without the white space around it. Raises `SettingsError`."""
    try:
        token = read_file(path, name, maximum).decode("ascii").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{name} is not ascii text, want one line") from None
    if not token.isprintable() or not token:
        raise SettingsError(f"{name} is not one line of printable text")
    return token
