# SPDX-License-Identifier: Apache-2.0
"""The records of a bundle's archive: the one way in which each is written (PKWARE APPNOTE 6.3, methods STORED only).

    archive   = *( header name data ) *( record name [extra] ) [ end64 locator64 ] end
    header    = "PK" 3 4,  version, no flags, STORED, 1980-01-01, crc32, size, size, length of name, no extra
    record    = "PK" 1 2,  the same, regular file of mode 0644, offset of its header, no comment
    end       = "PK" 5 6,  one disk, number of files, size and offset of the directory, no comment

The ZIP64 forms (`extra`, `end64`, `locator64`) stand exactly where a number does not fit the short form. Everything in
an archive follows from names, sizes and checksums, so a reader writes each record again and compares: no byte is free.
"""

import struct
from dataclasses import dataclass
from typing import Final

VERSION: Final = 20
VERSION_64: Final = 45
UNIX: Final = 3
MODE: Final = 0o100644
STORED: Final = 0
DATE: Final = 0x0021
MAX_16: Final = 0xFFFF
MAX_32: Final = 0xFFFFFFFF

HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
RECORD: Final = struct.Struct("<4sBBHHHHHIIIHHHHHII")
END: Final = struct.Struct("<4sHHHHIIH")
END_64: Final = struct.Struct("<4sQHHIIQQQQ")
LOCATOR_64: Final = struct.Struct("<4sIQI")
EXTRA_64: Final = struct.Struct("<HHQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of an archive: `offset` is where its header begins."""

    name: str
    offset: int
    size: int
    crc32: int

    @property
    def header(self) -> bytes:
        """What stands before its name and its bytes."""
        name = self.name.encode("ascii")
        return (
            HEADER.pack(b"PK\x03\x04", VERSION, 0, STORED, 0, DATE, self.crc32, self.size, self.size, len(name), 0)
            + name
        )

    @property
    def record(self) -> bytes:
        """What the directory says of it."""
        name, far = self.name.encode("ascii"), self.offset >= MAX_32
        extra = EXTRA_64.pack(1, 8, self.offset) if far else b""
        fixed = RECORD.pack(
            b"PK\x01\x02",
            VERSION_64 if far else VERSION,
            UNIX,
            VERSION_64 if far else VERSION,
            0,
            STORED,
            0,
            DATE,
            self.crc32,
            self.size,
            self.size,
            len(name),
            len(extra),
            0,
            0,
            0,
            MODE << 16,
            MAX_32 if far else self.offset,
        )
        return fixed + name + extra

    @property
    def data_offset(self) -> int:
        """Where its bytes begin."""
        return self.offset + HEADER.size + len(self.name)

    @property
    def next_offset(self) -> int:
        """Where the next header, or the directory, begins."""
        return self.data_offset + self.size


def end_of(*, count: int, directory_offset: int, directory_size: int) -> bytes:
    """The records after the directory."""
    short = END.pack(
        b"PK\x05\x06",
        0,
        0,
        min(count, MAX_16),
        min(count, MAX_16),
        min(directory_size, MAX_32),
        min(directory_offset, MAX_32),
        0,
    )
    if count < MAX_16 and directory_size < MAX_32 and directory_offset < MAX_32:
        return short
    end_64 = END_64.pack(
        b"PK\x06\x06",
        END_64.size - 12,
        UNIX << 8 | VERSION_64,
        VERSION_64,
        0,
        0,
        count,
        count,
        directory_size,
        directory_offset,
    )
    return end_64 + LOCATOR_64.pack(b"PK\x06\x07", 0, directory_offset + directory_size, 1) + short
