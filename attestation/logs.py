# SPDX-License-Identifier: Apache-2.0
"""Structured logs of every process: one JSON object a line, and no way for a payload to slip into it.

    {"time": "2026-01-02T03:04:05.678Z", "level": "info", "process": "gateway", "event": "worker admitted", "node": 3}

Extras are given by name (`extra={"worker_id": worker_id.hex()}`) and must be short text, numbers, booleans or lists of
these. Byte strings, objects and texts of libraries may hold what a caller sent, so they are not printed: bytes and
objects leave their type, a foreign logger leaves its unformatted template, a foreign exception its type and code
places. Under any profile but production every line says SIMULATED.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Final, TextIO

from typing_extensions import override

from attestation.errors import SealbidError

MAX_TEXT = 512
MAX_ITEMS = 64
OWN: Final = frozenset({"attestation", "gateway", "enclave", "sealbid", "sealbid_oip"})

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogLevel(StrEnum):
    """From which severity on a process writes lines."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class JSONFormatter(logging.Formatter):
    """Prints a record as one JSON line with the fields of this module's docstring."""

    def __init__(self, process: str, profile: str) -> None:
        super().__init__()
        self._process = process
        self._marks = {} if profile == "production" else {"profile": "SIMULATED"}

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": _event(record),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = _safe(value)
        if record.exc_info and record.exc_info[1] is not None:
            line |= _error(record.exc_info[1])
        return json.dumps(line | self._marks, ensure_ascii=True, allow_nan=False)


def configure(process: str, profile: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (standard error) as JSON lines; replaces what was configured before."""
    output = logging.StreamHandler(sys.stderr if stream is None else stream)
    output.setFormatter(JSONFormatter(process, profile))
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _event(record: logging.LogRecord) -> str:
    """Our own events as written; of a library only the first line of its template, never the values put into it."""
    if record.name.split(".", 1)[0] in OWN:
        return record.getMessage()[:MAX_TEXT]
    if record.name == "py.warnings":
        return "a library warned"
    template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    first = template.splitlines()[0] if template else ""
    return f"{record.name}: {first}"[:MAX_TEXT]


def _safe(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value[:MAX_ITEMS]]
    return f"<{type(value).__name__}>"


def _error(error: BaseException) -> dict[str, object]:
    fields: dict[str, object] = {"error": type(error).__name__, "at": _places(error)}
    if isinstance(error, SealbidError):
        fields |= {"reason": str(error.reason), "text": error.message[:MAX_TEXT]}
    if isinstance(error, BaseExceptionGroup):
        fields["errors"] = [_error(inner) for inner in error.exceptions[:MAX_ITEMS]]
    return fields


def _places(error: BaseException) -> list[str]:
    """The code places of a traceback, innermost last, without source lines or values."""
    frames = traceback.extract_tb(error.__traceback__, limit=-16)
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
