# SPDX-License-Identifier: Apache-2.0
"""Writes an audit bundle as a stream: the same files give the same bytes, at any time and on any machine."""

import hashlib
import zlib
from typing import IO

from attestation.audit.bundle.faults import DIRECTORY, BundleFault, MalformedBundle
from attestation.audit.bundle.layout import MAX_FILES, SUMS, limit_of
from attestation.audit.bundle.records import Member, end_of


class BundleWriter:
    """Files go in by `add`, in ascending order of their names; `finish` ends the bundle.

    Holds a name and two checksums of each file in memory, and no content. Does not check what the files say.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._members: list[Member] = []
        self._sums: list[bytes] = []
        self._offset = 0

    def add(self, name: str, data: bytes) -> None:
        """Writes a file. Raises `MalformedBundle` for a name, order or size that a reader would refuse."""
        if self._members and name <= self._members[-1].name:
            raise MalformedBundle(BundleFault.NAME_ORDER, name, f"comes after {self._members[-1].name}")
        if len(self._members) == MAX_FILES - 1:
            raise MalformedBundle(BundleFault.FILE_COUNT, DIRECTORY, f"there are more files than {MAX_FILES}")
        self._write(name, data)
        self._sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode("ascii"))

    def finish(self) -> None:
        """Writes the sums and the directory."""
        self._write(SUMS, b"".join(self._sums))
        start = self._offset
        for member in self._members:
            self._put(member.record)
        size = self._offset - start
        self._put(end_of(count=len(self._members), directory_offset=start, directory_size=size))

    def _write(self, name: str, data: bytes) -> None:
        limit = limit_of(name)
        if len(data) > limit:
            raise MalformedBundle(BundleFault.FILE_SIZE, name, f"has {len(data)} bytes, want at most {limit}")
        member = Member(name=name, offset=self._offset, size=len(data), crc32=zlib.crc32(data))
        self._put(member.header)
        self._put(data)
        self._members.append(member)

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._offset += len(data)
