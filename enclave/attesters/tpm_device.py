# SPDX-License-Identifier: Apache-2.0
"""The way to a TPM 2.0: one command in, one response out, as bytes (TPM 2.0 library, part 1, 18).

A path that is a character device is the kernel's resource manager, `/dev/tpmrm0`; one that is a socket belongs to a TPM
made of software (swtpm with `--server type=unixio`). Whose TPM it is, is told by its endorsement certificate and never
by its path. The line to a discrete TPM is not protected: who taps it sees what passes.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from enclave.attesters.device import DeviceFailed

DEVICE: Final = "dev/tpmrm0"
MAX_RESPONSE_BYTES: Final = 4096
HEADER_BYTES: Final = 10
_ANSWER_SECONDS: Final = 120.0
"""A discrete TPM may take half a minute to make an RSA key."""


class TPMDevice(Protocol):
    """A TPM that this process alone talks to until it is closed. May block; one command at a time."""

    def command(self, request: bytes) -> bytes:
        """The whole response to one whole command. Raises `DeviceFailed`."""
        ...


@contextmanager
def open_tpm(path: Path) -> Iterator[TPMDevice]:
    """The TPM at `path`, until the block ends. Raises `DeviceFailed`."""
    try:
        mode = path.stat().st_mode
        device = _SocketTPM(path) if stat.S_ISSOCK(mode) else _CharacterTPM(path)
    except OSError as error:
        raise DeviceFailed(f"tpm device is {error.strerror}, want one to open") from None
    try:
        yield device
    finally:
        device.close()


class _CharacterTPM:
    """A character device: one write is a command, one read its response."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def command(self, request: bytes) -> bytes:
        try:
            os.write(self._descriptor, request)
            return os.read(self._descriptor, MAX_RESPONSE_BYTES)
        except OSError as error:
            raise DeviceFailed(f"tpm device is {error.strerror}, want a response") from None

    def close(self) -> None:
        os.close(self._descriptor)


class _SocketTPM:
    """A stream: the header of a response says how long it is."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def command(self, request: bytes) -> bytes:
        try:
            self._socket.sendall(request)
            header = self._take(HEADER_BYTES)
            size = int.from_bytes(header[2:6], "big")
            if not HEADER_BYTES <= size <= MAX_RESPONSE_BYTES:
                raise DeviceFailed(f"tpm response is {size} bytes, want {HEADER_BYTES}..{MAX_RESPONSE_BYTES}")
            return header + self._take(size - HEADER_BYTES)
        except OSError as error:
            raise DeviceFailed(f"tpm socket is {error.strerror or 'silent'}, want a response") from None

    def close(self) -> None:
        self._socket.close()

    def _take(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            part = self._socket.recv(left)
            if not part:
                raise DeviceFailed("tpm socket is closed, want a response")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
