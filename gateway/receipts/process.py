# SPDX-License-Identifier: Apache-2.0
"""The journal's writer as a process of its own, so that signing, hashing and SQLite never hold up a gateway's loop.

    gateway ── pipe ──▶ standard input   python -m gateway.receipts.process   standard output ── pipe ──▶ gateway

It loads the signing and memo keys from the state directory itself; they do not travel. It has a session of its own
and ignores SIGINT and SIGTERM: whoever ends a gateway, by whatever means, ends its writer by closing the pipe, after
what was handed over is on disk. It leaves no core dump and gives way to the gateway when processors are short.
"""

import argparse
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attestation import logs
from attestation.errors import SealbidError
from gateway.identity import load_identity
from gateway.ledger.settlement import Settlement
from gateway.receipts.archive import open_store
from gateway.receipts.inbox import Inbox, Outbox
from gateway.receipts.journal import Launch
from gateway.receipts.memo import MemoKey
from gateway.receipts.messages import Refused
from gateway.receipts.recovery import Waits
from gateway.receipts.writer import GATHER_SECONDS, GaveUp, Writer, serve

_LOG: Final = logging.getLogger("sealbid.gateway.journal")
MODULE = "gateway.receipts.process"
LOCK_SECONDS: Final = 20.0
"""How long a writer waits for that of an earlier gateway, which still commits what was handed over to it."""
_NICE: Final = 5
_PIPE_BYTES: Final = 1 << 20


class WriterProcess:
    """One started process and the gateway's ends of its pipes, which its holder closes."""

    def __init__(self, command: list[str]) -> None:
        read, self.inbox = os.pipe()
        self.outbox, write = os.pipe()
        with contextlib.suppress(OSError):
            # As much as the kernel grants: it is what a burst may put away without the gateway's loop coming back.
            fcntl.fcntl(self.inbox, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own module with arguments we wrote
                command,
                stdin=read,
                stdout=write,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        finally:
            os.close(read)
            os.close(write)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None if it still runs after so long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def launcher(
    *, state_dir: Path, instance: bytes, profile: str, log_level: str, signature_grace_seconds: float
) -> Launch:
    """Starts writers for the gateway process that is `instance`, all on the code this process runs."""
    command = [sys.executable, "-P", "-m", MODULE, "--state-dir", str(state_dir.resolve())]
    command += ["--instance", instance.hex(), "--profile", profile, "--log-level", log_level]
    command += ["--signature-grace-seconds", str(signature_grace_seconds)]
    return lambda: WriterProcess(command)


def main() -> int:
    """The process; its exit status is 0 unless it could not start."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    given = _arguments()
    logs.configure("gateway-journal", given.profile, level=given.log_level)
    outbox = Outbox(sys.stdout.fileno())
    try:
        _run(given, outbox)
    except SealbidError as error:
        outbox.send(Refused(text=error.message))
        return 1
    except GaveUp:
        _LOG.error("journal gave up on its store, workers keep what was not confirmed")
    except Exception:  # noqa: BLE001  whatever it is, its places are logged and its text is not
        _LOG.exception("journal writer failed")
        return 1
    return 0


def _run(given: argparse.Namespace, outbox: Outbox) -> None:
    identity = load_identity(given.state_dir, entropy=os.urandom)
    memo_key, inbox = MemoKey(identity.memo_key), Inbox(sys.stdin.fileno())
    with open_store(
        given.state_dir,
        signing_key=identity.signing_key,
        memo_key=memo_key,
        instance=given.instance,
        settle=Settlement(),
        lock_seconds=LOCK_SECONDS,
    ) as store:
        gc.freeze()  # what start-up made stays; collections need not walk it again
        waits = Waits(signature=given.signature_grace_seconds)
        writer = Writer(store=store, memo_key=memo_key, clock=_now, send=outbox.send, pause=inbox.pause, waits=waits)
        serve(inbox, outbox.send, writer, gather_seconds=GATHER_SECONDS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writer of a gateway's journal; the gateway starts it.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--instance", type=bytes.fromhex, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--log-level", required=True)
    parser.add_argument("--signature-grace-seconds", type=float, required=True)
    return parser.parse_args()


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
