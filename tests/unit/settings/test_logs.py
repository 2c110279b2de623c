# SPDX-License-Identifier: Apache-2.0
"""Log lines: structured, marked when simulated, and blind to payloads."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from attestation.errors import Malformed
from attestation.logs import MAX_TEXT, JSONFormatter, configure

SECRET = "hunter2"


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Gives the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def line(mode: str = "production", **fields: object) -> str:
    base: dict[str, object] = {"name": "gateway.flow", "msg": "served", "levelname": "INFO", "created": 1.5}
    return JSONFormatter("gateway", mode).format(logging.makeLogRecord(base | fields))


def raised(action: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 # the log line under test names the type
        action()
    return caught.value


def test_a_line_holds_the_fixed_fields_and_the_extras() -> None:
    """A line is one JSON object with time, level, process and event, then exactly the extras that were given."""
    assert json.loads(line(worker_id="ab", attempts=2, ids=["a", "b"])) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "process": "gateway",
        "event": "served",
        "worker_id": "ab",
        "attempts": 2,
        "ids": ["a", "b"],
    }


def test_extras_cannot_replace_the_fixed_fields() -> None:
    """An extra called like a fixed field, or like the mark of a simulation, does not replace it."""
    got = json.loads(line("development", process="forged", event="forged", profile="production"))
    assert (got["process"], got["event"], got["profile"]) == ("gateway", "served", "SIMULATED")


@pytest.mark.parametrize("profile", ["development", "", "Production"])
def test_every_line_outside_production_says_simulated(profile: str) -> None:
    """Any profile that is not exactly production marks the line."""
    assert json.loads(line(profile))["profile"] == "SIMULATED"


def test_production_lines_are_not_marked() -> None:
    """A production line carries no mark."""
    assert "profile" not in json.loads(line())


def test_bytes_and_objects_leave_only_their_type() -> None:
    """Byte strings and objects given as extras are not printed, alone or in lists; long text is cut."""
    got = line(payload=SECRET.encode(), view=memoryview(SECRET.encode()), many=[SECRET.encode()], thing={SECRET: 1})
    assert SECRET not in got
    assert SECRET.encode().hex() not in got
    assert json.loads(got)["many"] == ["<bytes>"]
    assert len(json.loads(line(text="x" * 9999))["text"]) == MAX_TEXT
    assert json.loads(line(ratio=float("nan")))["ratio"] == "nan"


def test_libraries_leave_their_template_only() -> None:
    """What a library formats into its message is not printed, nor any line after the first."""
    got = line(name="asyncio", msg=f"task failed %s\nfuture: {SECRET}", args=(SECRET,))
    assert json.loads(got)["event"] == "asyncio: task failed %s"
    assert SECRET not in got


def test_a_foreign_exception_leaves_type_and_place() -> None:
    """The text of an exception that is not ours may quote input, so only its type and places appear."""
    error = raised(lambda: int(SECRET))
    got = line(exc_info=(type(error), error, error.__traceback__))
    assert SECRET not in got
    assert json.loads(got)["error"] == "ValueError"
    assert json.loads(got)["at"][0].startswith("test_logs.py:")


def test_our_exceptions_print_reason_and_text() -> None:
    """A Sealbid error is fit for logs by contract: reason and text appear, also inside a group."""
    error = Malformed("frame 0 has 3 bytes, want 16")
    assert json.loads(line(exc_info=(type(error), error, None)))["text"] == "frame 0 has 3 bytes, want 16"
    group = BaseExceptionGroup(SECRET, [error, ValueError(SECRET)])
    got = line(exc_info=(type(group), group, None))
    assert [inner["error"] for inner in json.loads(got)["errors"]] == ["Malformed", "ValueError"]
    assert SECRET not in got


def test_configure_replaces_earlier_handlers(root_logger: None) -> None:
    """After configure, one handler writes each record once, at the chosen level."""
    first, second = io.StringIO(), io.StringIO()
    configure("gateway", "development", stream=first)
    configure("worker", "development", level="WARNING", stream=second)
    logging.getLogger("gateway.flow").info("dropped")
    logging.getLogger("gateway.flow").warning("kept")
    assert first.getvalue() == ""
    assert [json.loads(text)["event"] for text in second.getvalue().splitlines()] == ["kept"]
