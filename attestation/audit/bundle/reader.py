# SPDX-License-Identifier: Apache-2.0
"""Reads an audit bundle: every byte of it against the sums it carries, in one pass and bounded memory.

A flipped byte is found here and named by its file, or by the part of the archive it is in. That the sums are what
somebody wrote says nothing about whether it is true: the log's own signature and hashes do (`verified`).
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

from attestation.audit.bundle.directory import read_directory
from attestation.audit.bundle.faults import BundleFault, MalformedBundle
from attestation.audit.bundle.layout import CHECKPOINT, MANIFEST, POLICY, SUMS
from attestation.audit.bundle.records import Member

_CHUNK: Final = 1 << 20
_REQUIRED: Final = (CHECKPOINT, MANIFEST, POLICY)

Progress = Callable[[int, int], None]
"""Told how much of how much is done."""


def no_progress(done: int, total: int) -> None:
    """Says nothing."""


class BundleReader:
    """A bundle whose every byte agrees with its sums. Keep the stream open; one thread.

    Raises:
        MalformedBundle: at construction, with the fault and the file.
    """

    def __init__(self, stream: IO[bytes], progress: Progress = no_progress) -> None:
        self._stream = stream
        members = read_directory(stream)
        if members[-1].name != SUMS:
            raise MalformedBundle(BundleFault.MISSING, SUMS, "is not there")
        total = members[-1].next_offset
        self._members: dict[str, tuple[Member, bytes]] = {}
        for member in members:
            self._members[member.name] = member, self._check(member)
            progress(member.next_offset, total)
        _check_sums(self.read(SUMS), self._sums())
        for name in _REQUIRED:
            if name not in self._members:
                raise MalformedBundle(BundleFault.MISSING, name, "is not there")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self, folder: str = "") -> Iterator[str]:
        """The files whose names begin with `folder`, in ascending order."""
        return (name for name in self._members if name.startswith(folder) and name != SUMS)

    def sha256(self, name: str) -> bytes:
        """The digest of a file. Raises `KeyError` if it is not there."""
        return self._members[name][1]

    def read(self, name: str) -> bytes:
        """The bytes of a file, read again.

        Raises:
            KeyError: it is not there.
            MalformedBundle: it has changed since.
        """
        member, sha256 = self._members[name]
        self._stream.seek(member.data_offset)
        data = self._stream.read(member.size)
        if hashlib.sha256(data).digest() != sha256:
            raise MalformedBundle(BundleFault.FILE_CHANGED, name, "has changed while it was read")
        return data

    def _check(self, member: Member) -> bytes:
        """The digest of a file, whose header and checksum are as the directory says."""
        self._stream.seek(member.offset)
        if self._stream.read(len(member.header)) != member.header:
            raise MalformedBundle(BundleFault.FILE_HEADER, member.name, "has another header than the directory says")
        crc32, sha256, left = 0, hashlib.sha256(), member.size
        while left and (chunk := self._stream.read(min(left, _CHUNK))):
            crc32, left = zlib.crc32(chunk, crc32), left - len(chunk)
            sha256.update(chunk)
        if crc32 != member.crc32:
            raise MalformedBundle(BundleFault.FILE_CHECKSUM, member.name, "does not have the checksum of its header")
        return sha256.digest()

    def _sums(self) -> Iterator[tuple[str, bytes]]:
        return ((name, sha256) for name, (_, sha256) in self._members.items() if name != SUMS)


def _check_sums(listed: bytes, files: Iterator[tuple[str, bytes]]) -> None:
    """Compares the list with the files, both in ascending order of names."""
    lines = iter(listed.splitlines(keepends=True))
    for name, sha256 in files:
        want = f"{sha256.hex()}  {name}\n".encode("ascii")
        line = next(lines, b"")
        if line != want:
            raise _difference(line, name)
    if extra := next(lines, b""):
        raise _difference(extra, "")


def _difference(line: bytes, name: str) -> MalformedBundle:
    """What a line that is not the one of file `name` ("" after the last) means."""
    digest, separator, listed = line.decode("ascii", "replace").partition("  ")
    listed = listed.removesuffix("\n")
    well_formed = bool(separator) and len(digest) == 64 and line.endswith(b"\n") and bool(listed)
    if line and not well_formed:
        return MalformedBundle(BundleFault.SUMS_FORM, SUMS, "has a line that is not a sum, two spaces and a name")
    if name and listed == name:
        return MalformedBundle(BundleFault.SUM_WRONG, name, f"does not have the sum that {SUMS} says")
    if name and (not line or listed > name):
        return MalformedBundle(BundleFault.UNLISTED, name, f"does not stand in {SUMS}")
    return MalformedBundle(BundleFault.MISSING, listed, f"stands in {SUMS} and is not there")
