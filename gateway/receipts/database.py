# SPDX-License-Identifier: Apache-2.0
"""The journal's database: SQLite in WAL mode with synchronous=FULL, so that a commit that returned survives power loss.

One process writes: a second one would hand out the same sequence numbers. The lock is the operating system's and ends
with the process, however that ends.
"""

import fcntl
import logging
import os
import time
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from attestation.errors import SettingsError
from attestation.sqlite import open_sqlite, writing

_LOG: Final = logging.getLogger("sealbid.gateway.journal")
_LOCK_POLL_SECONDS: Final = 0.05
_WRITER_PRAGMAS: Final = ("cache_size=-65536", "wal_autocheckpoint=8192")
"""Keys are digests, so every group touches pages all over: they stay in memory, and are copied back seldom."""


def open_writer(path: Path) -> Engine:
    """The engine of the one writing process; transactions take the write lock when they begin."""
    path.touch(mode=0o600, exist_ok=True)
    return writing(open_sqlite(path, pragmas=_WRITER_PRAGMAS))


def open_reader(path: Path) -> Engine:
    """An engine for readers, which neither wait for the writer nor hold it up."""
    return open_sqlite(path)


class WriterLock:
    """Held for the life of the writing process."""

    def __init__(self, path: Path, *, seconds: float = 0.0) -> None:
        """Raises `SettingsError` when another process holds it and does not let go within `seconds`."""
        self._descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        tries = int(seconds / _LOCK_POLL_SECONDS)
        for left in range(tries, -1, -1):
            if self._take():
                return
            if left == tries and left:
                _LOG.warning("journal is in use, waiting for its writer to end", extra={"seconds": seconds})
            time.sleep(_LOCK_POLL_SECONDS if left else 0)
        os.close(self._descriptor)
        raise SettingsError(
            f"journal {path.name} is in use by another process after {seconds:g} s, want one gateway for each state_dir"
        )

    def release(self) -> None:
        """Lets another process write."""
        os.close(self._descriptor)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
