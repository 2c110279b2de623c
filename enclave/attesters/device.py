# SPDX-License-Identifier: Apache-2.0
"""Device pseudo-files as attesters use them: the one seam between them and a kernel.

Paths are relative to a root, `/` on a machine and a folder in tests. Reads are bounded, because what a file of a kernel
or of a host's making holds is input like any other.
"""

import os
from pathlib import Path
from typing import Final, Protocol

from attestation.errors import AttestationError, Reason

MAX_TEXT_BYTES: Final = 4096


class DeviceFailed(AttestationError):
    """A device did not give what its documentation says. Asking again may help; nothing is attested meanwhile."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.PEER_UNAVAILABLE, message)


class DeviceFiles(Protocol):
    """Files of devices. Every method may raise `OSError`; none is retried here."""

    def exists(self, path: str) -> bool: ...
    def read(self, path: str, limit: int) -> bytes:
        """All of a file, in as many reads as it takes. Raises `DeviceFailed` if it holds more than `limit` bytes."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Writes `data` in one write to a file that exists, and closes it: some take it only then."""
        ...

    def make(self, path: str) -> None:
        """Makes a directory, which in configfs makes an object."""
        ...

    def remove(self, path: str) -> None:
        """Removes such a directory."""
        ...


class LocalFiles:
    """The files below a root of this machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return (self._root / path).exists()

    def read(self, path: str, limit: int) -> bytes:
        """Unbuffered reads to the end."""
        with (self._root / path).open("rb", buffering=0) as file:
            parts, size = [], 0
            while part := file.read(limit + 1 - size):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise DeviceFailed(f"{path} is over {limit} bytes, want at most that")
        return b"".join(parts)

    def write(self, path: str, data: bytes) -> None:
        """One write, then close."""
        descriptor = os.open(self._root / path, os.O_WRONLY)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if written != len(data):
            raise DeviceFailed(f"{path} took {written} bytes, want {len(data)}")

    def make(self, path: str) -> None:
        """A directory only this user may enter."""
        (self._root / path).mkdir(mode=0o700)

    def remove(self, path: str) -> None:
        """The directory; in configfs the files in it go by themselves."""
        (self._root / path).rmdir()


def read_text(files: DeviceFiles, path: str) -> str:
    """A short text of a pseudo-file, without the line end. Raises `OSError` or `DeviceFailed`."""
    return files.read(path, MAX_TEXT_BYTES).decode("ascii", "replace").strip()
