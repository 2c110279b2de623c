# SPDX-License-Identifier: Apache-2.0
"""Reads the directory of a bundle's archive: where each file lies, before a byte of it is believed.

The directory is read record by record, each written again (`records`) and compared, so that nothing in it is free: no
gaps, no overlaps, no second spelling, no comments. Refused, each by its own fault: an archive cut short or with bytes
before or after it, compressed and encrypted files, links, folders, names that leave the folder they are unpacked in,
names no bundle has, a name that stands twice or out of order, more files or longer ones than a bundle has.
"""

import os
import stat
from typing import IO, Final

from attestation.audit.bundle.faults import DIRECTORY, END, BundleFault, MalformedBundle
from attestation.audit.bundle.layout import MAX_FILES, MAX_NAME_CHARS, SUMS, limit_of
from attestation.audit.bundle.records import END as END_RECORD
from attestation.audit.bundle.records import (
    END_64,
    EXTRA_64,
    LOCATOR_64,
    MAX_16,
    MAX_32,
    RECORD,
    STORED,
    Member,
    end_of,
)

MAX_DIRECTORY_BYTES: Final = MAX_FILES * (RECORD.size + MAX_NAME_CHARS + EXTRA_64.size)
_ENCRYPTED_FLAGS: Final = 0x2041


def read_directory(stream: IO[bytes]) -> list[Member]:
    """The files of an archive, in the order they lie in it. Raises `MalformedBundle`. Does not read their bytes."""
    start, size, count = _read_end(stream)
    stream.seek(start)
    directory = stream.read(size)
    members: list[Member] = []
    cursor = 0
    while cursor < len(directory):
        member, length = _read_record(directory, cursor, members[-1] if members else None)
        cursor += length
        members.append(member)
        if len(members) > count:
            raise MalformedBundle(BundleFault.FILE_COUNT, DIRECTORY, f"has more records than the {count} it says")
    if len(members) != count:
        raise MalformedBundle(BundleFault.FILE_COUNT, DIRECTORY, f"has {len(members)} records, want {count}")
    if not members or members[-1].next_offset != start:
        raise MalformedBundle(BundleFault.END_WRONG, END, "directory does not begin where the files end")
    return members


def _read_end(stream: IO[bytes]) -> tuple[int, int, int]:
    """Offset and size of the directory, and the number of files, as a whole end of an archive says them."""
    length = stream.seek(0, os.SEEK_END)
    tail_start = max(0, length - END_RECORD.size - LOCATOR_64.size - END_64.size)
    stream.seek(tail_start)
    tail = stream.read(length - tail_start)
    if len(tail) < END_RECORD.size or not tail[-END_RECORD.size :].startswith(b"PK\x05\x06"):
        raise MalformedBundle(BundleFault.END_MISSING, END, "no end of an archive stands at the end of the file")
    _, _, _, _, count, size, start, _ = END_RECORD.unpack(tail[-END_RECORD.size :])
    if count == MAX_16 or MAX_32 in (size, start):
        count, size, start = _far(tail)
    if count > MAX_FILES:
        raise MalformedBundle(BundleFault.FILE_COUNT, END, f"there are {count} files, want at most {MAX_FILES}")
    if size > MAX_DIRECTORY_BYTES:
        message = f"directory has {size} bytes, want at most {MAX_DIRECTORY_BYTES}"
        raise MalformedBundle(BundleFault.DIRECTORY_SIZE, END, message)
    want = end_of(count=count, directory_offset=start, directory_size=size)
    if start + size + len(want) != length or not tail.endswith(want):
        raise MalformedBundle(BundleFault.END_WRONG, END, "is not as long or not written as a bundle's")
    return start, size, count


def _far(tail: bytes) -> tuple[int, int, int]:
    if len(tail) < END_RECORD.size + LOCATOR_64.size + END_64.size or not tail.startswith(b"PK\x06\x06"):
        raise MalformedBundle(BundleFault.END_WRONG, END, "says zip64 and has no zip64 record before it")
    *_, count, size, start = END_64.unpack(tail[: END_64.size])
    return count, size, start


def _read_record(directory: bytes, cursor: int, before: Member | None) -> tuple[Member, int]:
    if cursor + RECORD.size > len(directory):
        raise MalformedBundle(BundleFault.DIRECTORY_RECORD, DIRECTORY, "ends within a record")
    fields = RECORD.unpack_from(directory, cursor)
    _, _, _, _, flags, method, _, _, crc32, _, size, name_bytes, extra_bytes, _, _, _, attributes, offset = fields
    name = _name(directory[cursor + RECORD.size : cursor + RECORD.size + name_bytes], attributes >> 16)
    _refuse_content(name, flags, method, attributes >> 16)
    _in_order(name, before)
    limit = limit_of(name)
    if size > limit:
        raise MalformedBundle(BundleFault.FILE_SIZE, name, f"has {size} bytes, want at most {limit}")
    if extra_bytes == EXTRA_64.size and offset == MAX_32:
        place = cursor + RECORD.size + name_bytes
        offset = int.from_bytes(directory[place + 4 : place + EXTRA_64.size], "little")
    member = Member(name=name, offset=offset, size=size, crc32=crc32)
    record = member.record
    begins = before.next_offset if before else 0
    if offset != begins:
        raise MalformedBundle(BundleFault.DIRECTORY_RECORD, name, f"begins at {offset}, want {begins}")
    if not directory.startswith(record, cursor):
        raise MalformedBundle(BundleFault.DIRECTORY_RECORD, name, "is not written in the directory as a bundle's are")
    return member, len(record)


def _name(raw: bytes, mode: int) -> str:
    """The name, if it is one that stays in its folder wherever it is unpacked."""
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedBundle(BundleFault.NAME_ENCODING, DIRECTORY, "has a name that is not ascii") from None
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARS:
        message = f"has a name of {len(name)} characters, want 1 to {MAX_NAME_CHARS} that print"
        raise MalformedBundle(BundleFault.NAME_ENCODING, DIRECTORY, message)
    steps = name.replace("\\", "/").split("/")
    if ".." in steps or not steps[0] or ":" in name or "\\" in name:
        raise MalformedBundle(BundleFault.NAME_ESCAPES, name, "leaves the folder it would be unpacked in")
    if name.endswith("/") or stat.S_ISDIR(mode):
        raise MalformedBundle(BundleFault.FOLDER, name, "is a folder, want files only")
    return name


def _refuse_content(name: str, flags: int, method: int, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise MalformedBundle(BundleFault.SYMLINK, name, "is a symbolic link, want a file")
    if flags & _ENCRYPTED_FLAGS:
        raise MalformedBundle(BundleFault.ENCRYPTED, name, "is encrypted")
    if method != STORED:
        raise MalformedBundle(BundleFault.COMPRESSED, name, f"is compressed by method {method}, want it stored")


def _in_order(name: str, before: Member | None) -> None:
    if before is None:
        return
    if name == before.name:
        raise MalformedBundle(BundleFault.NAME_TWICE, name, "stands twice")
    if before.name == SUMS or (name < before.name and name != SUMS):
        raise MalformedBundle(BundleFault.NAME_ORDER, name, f"comes after {before.name}, want ascending names")
