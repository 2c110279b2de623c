# SPDX-License-Identifier: Apache-2.0
"""Every way an audit bundle can be no bundle, each with a stable name, and the place where it was found."""

from enum import StrEnum
from typing import Final

from attestation.errors import MalformedEvidence, Reason

END: Final = "end of archive"
DIRECTORY: Final = "directory of archive"


class BundleFault(StrEnum):
    """What is wrong. Names are never reused."""

    # the archive
    END_MISSING = "end-missing"
    END_WRONG = "end-wrong"
    DIRECTORY_SIZE = "directory-size"
    DIRECTORY_RECORD = "directory-record"
    FILE_COUNT = "file-count"
    FILE_SIZE = "file-size"
    FILE_HEADER = "file-header"
    FILE_CHECKSUM = "file-checksum"
    FILE_CHANGED = "file-changed"
    COMPRESSED = "compressed"
    ENCRYPTED = "encrypted"
    SYMLINK = "symlink"
    FOLDER = "folder"
    NAME_ESCAPES = "name-escapes"
    NAME_ENCODING = "name-encoding"
    NAME_UNKNOWN = "name-unknown"
    NAME_TWICE = "name-twice"
    NAME_ORDER = "name-order"
    # what is in it
    SUMS_FORM = "sums-form"
    SUM_WRONG = "sum-wrong"
    UNLISTED = "unlisted"
    MISSING = "missing"
    MANIFEST_FORM = "manifest-form"
    MANIFEST_WRONG = "manifest-wrong"
    TILE_NOT_IN_TREE = "tile-not-in-tree"
    CHECKPOINT_NAME = "checkpoint-name"
    EVIDENCE_ADDRESS = "evidence-address"


class MalformedBundle(MalformedEvidence):
    """A bundle that is none. `fault` names the way, `where` the file (or `END`, `DIRECTORY`) at which it was found."""

    def __init__(self, fault: BundleFault, where: str, message: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason, f"{_shown(where)}: {message}")
        self.fault = fault
        self.where = where


def _shown(where: str) -> str:
    text = where if len(where) <= 128 else where[:125] + "..."
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text)
