# SPDX-License-Identifier: Apache-2.0
"""Processes of a local deployment: started with a log file each, frozen, killed and stopped by name."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attestation.errors import Reason, SealbidError

_STOP_SECONDS = 20
_PORTS = (20_000, 32_768)
_given: set[int] = set()


def free_port() -> int:
    """A TCP port nobody listens on now, and never the same one twice.

    It lies below the ports a kernel gives to outgoing connections, which could otherwise take it before it is listened
    on. Another process could still do so.
    """
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311 - a port is no secret
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One started process and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """Starts `sealbid` commands and ends them all, whatever happens in between."""

    def __init__(self, log_dir: Path, *, environment: Mapping[str, str]) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._running: dict[str, Running] = {}

    def start(self, name: str, *arguments: str) -> Running:
        """Starts `sealbid ARGUMENTS`; its output is appended to `NAME.log`."""
        log = self._log_dir / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command with arguments we wrote
                [sys.executable, "-m", "sealbid", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
            )
        self._running[name] = Running(process=process, log=log)
        return self._running[name]

    def run(self, name: str, *arguments: str) -> None:
        """Runs `sealbid ARGUMENTS` to its end. Raises `SealbidError` when it fails."""
        running = self.start(name, *arguments)
        status = running.process.wait()
        del self._running[name]
        if status != 0:
            raise SealbidError(Reason.INTERNAL, f"{name} exited with {status}, want 0; see {running.log}")

    def pid(self, name: str) -> int:
        """The process id."""
        return self._running[name].process.pid

    def log(self, name: str) -> Path:
        """Where the process writes."""
        return self._running[name].log

    def exited(self, name: str) -> int | None:
        """The exit status, or None while it runs."""
        return self._running[name].process.poll()

    def freeze(self, name: str) -> None:
        """Stops the process where it is (SIGSTOP): connections stay up and nothing answers."""
        self._running[name].process.send_signal(signal.SIGSTOP)

    def kill(self, name: str) -> None:
        """Ends the process at once (SIGKILL), with no chance to clean up."""
        running = self._running.pop(name)
        running.process.kill()
        running.process.wait()

    def stop(self, name: str) -> int:
        """Asks the process to drain and end (SIGTERM); its exit status."""
        running = self._running.pop(name)
        running.process.terminate()
        try:
            return running.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.process.kill()
            return running.process.wait()

    def stop_all(self) -> None:
        """Ends everything that still runs, newest first."""
        for running in self._running.values():
            running.process.send_signal(signal.SIGCONT)
        for name in reversed(list(self._running)):
            self.stop(name)
