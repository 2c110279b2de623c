# SPDX-License-Identifier: Apache-2.0
"""The last signed head in a file of its own: a compare-and-swap of one checkpoint note (`store.HeadStore`)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attestation.errors import Reason
from attestation.tlog.note import MAX_NOTE_BYTES
from attestation.tlog.store import LogError, Step, StepHook, no_step


class FileHeadStore:
    """A note at `path`, which should be on another volume than the log, in a directory that exists.

    Processes meet at a lock file beside it. The file is replaced whole, so a reader sees the old note or the new one.
    """

    def __init__(self, path: Path, *, step: StepHook = no_step) -> None:
        self._path = path
        self._step = step
        self._lock = path.with_name(path.name + ".lock")
        self._next = path.with_name(path.name + ".next")

    def load(self) -> bytes | None:
        """The note, or None if the file does not exist."""
        with _named_errors():
            return self._read()

    def swap(self, expected: bytes | None, new: bytes) -> None:
        """Replaces `expected` by `new`, durably, or raises `LogError`."""
        with _named_errors(), self._locked():
            if self._read() != expected:
                raise LogError(Reason.LOG_FORK, "head store holds another head than expected, want one signer")
            self._write(new)

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None

    def _write(self, new: bytes) -> None:
        with self._next.open("wb") as file:
            file.write(new)
            file.flush()
            # A rename may reach the disk before the bytes it names; crashing here leaves the old head and a stray file.
            os.fsync(file.fileno())
        self._step(Step.HEAD_WRITTEN)
        self._next.replace(self._path)
        # The new name is durable only with its directory; crashing before leaves the old head or the new one.
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("ab") as file:
            # Released when the file closes, also when the process dies.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"head store failed: {os.strerror(error.errno or 0).lower()}"
        raise LogError(Reason.STORE_UNAVAILABLE, message) from error
