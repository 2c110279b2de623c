# SPDX-License-Identifier: Apache-2.0
"""Runs the demo's client (`client.py`) in its own environment and turns its lines into values."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from attestation.errors import Reason, SealbidError, SettingsError

PYTHON_VARIABLE = "SEALBID_DEMO_CLIENT_PYTHON"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answered request."""

    file: str
    label: str
    milliseconds: float
    receipt: str
    profile: str


class Caller:
    """The foreign client's process."""

    def __init__(self, *, repository: Path, gateway: str, key_file: Path) -> None:
        self._repository = repository
        self._gateway = gateway
        self._key_file = key_file
        self._process: asyncio.subprocess.Process | None = None

    def resume(self) -> None:
        """Lets the paused client go on."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    @asynccontextmanager
    async def started(
        self, files: Sequence[Path], *, pause_after: int
    ) -> AsyncIterator[AsyncIterator[Answered | None]]:
        """The client's events: an answer, or None where it paused. Raises `SealbidError` when a request failed."""
        self._process = await asyncio.create_subprocess_exec(
            str(self._python()),
            str(Path(__file__).with_name("client.py")),
            *("--gateway", self._gateway, "--key-file", str(self._key_file)),
            *("--features", str(self._repository / "enclave" / "models" / "magika.py")),
            *("--pause-after", str(pause_after)),
            *map(str, files),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        try:
            yield self._events(self._process)
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    async def _events(self, process: asyncio.subprocess.Process) -> AsyncIterator[Answered | None]:
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            if "error" in event:
                raise SealbidError(Reason.INTERNAL, f"{event['file']} was not answered: {event['error']}")
            yield None if event.get("paused") else _answered(event)
        if await process.wait() != 0:
            raise SealbidError(Reason.INTERNAL, f"client exited with {process.returncode}, want 0")

    def _python(self) -> Path:
        path = Path(os.environ.get(PYTHON_VARIABLE, self._repository / ".venv-foreign" / "bin" / "python"))
        if not path.exists():
            raise SettingsError(f"client environment {path} is missing, want one with tritonclient: run make demo")
        return path


def _answered(event: dict[str, object]) -> Answered:
    return Answered(
        file=str(event["file"]),
        label=str(event["label"]),
        milliseconds=float(str(event["milliseconds"])),
        receipt=str(event["receipt"]),
        profile=str(event["profile"]),
    )
