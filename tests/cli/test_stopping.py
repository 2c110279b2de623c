# SPDX-License-Identifier: Apache-2.0
"""Processes told to stop while they still start, and addresses that are taken. All SIMULATED."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.operator import GATEWAY, lay_out, run

pytestmark = pytest.mark.net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry that was made, and a gateway that may start."""
    lay_out(tmp_path, tenant="gw", role="gateway")
    return tmp_path


@contextmanager
def serving(folder: Path, process: str) -> Iterator["subprocess.Popen[str]"]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [sys.executable, "-m", "sealbid", process, "serve", "--config", f"{process}.toml"]
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line_with(process: "subprocess.Popen[str]", event: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if f'"event": "{event}' in line:
            return line
    raise AssertionError(f"the process ended without {event}")


@contextmanager
def registry(folder: Path) -> Iterator[int]:
    """A registry that serves, by its process id; its address stands in the gateway's settings."""
    with serving(folder, "registry") as process:
        found = re.search(r'"address": "([^"]+)"', line_with(process, "registry serves"))
        assert found is not None
        text = (folder / "gateway.toml").read_text(encoding="utf-8")
        (folder / "gateway.toml").write_text(text.replace("127.0.0.1:1", found[1]), encoding="utf-8")
        yield process.pid
        process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_waits_for_its_registry_can_be_stopped(folder: Path, told: signal.Signals) -> None:
    """A gateway whose registry is away says so once, and ends in order when it is told to, with nothing after it."""
    with serving(folder, "gateway") as process:
        assert '"profile": "SIMULATED"' in line_with(process, "registry is away, waiting for it")
        process.send_signal(told)
        _, rest = process.communicate()
        assert (process.returncode, rest) == (0, "")


def test_no_process_leaves_a_core_dump(folder: Path) -> None:
    """Registry and gateway run with a core file size of 0: a dump would hold keys and requests in the clear."""
    with registry(folder) as registry_pid, serving(folder, "gateway") as gateway:
        line_with(gateway, "gateway serves")
        for pid in (registry_pid, gateway.pid):
            limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
            assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        gateway.terminate()
        assert gateway.wait() == 0


def test_a_gateway_that_waits_for_its_journal_can_be_stopped(folder: Path) -> None:
    """A gateway whose journal is held by another ends in order while it waits, and the other goes on."""
    with registry(folder), serving(folder, "gateway") as first:
        line_with(first, "gateway serves")
        with serving(folder, "gateway") as second:
            line_with(second, "journal is in use")
            second.terminate()
            assert second.wait() == 0
        first.terminate()
        assert '"event": "gateway stops' in first.communicate()[1]
        assert first.returncode == 0


@pytest.mark.parametrize("setting", ["listen", "link_listen", "metrics_listen"])
def test_a_taken_address_is_named(folder: Path, setting: str) -> None:
    """A gateway that cannot listen says which setting and ends with status 2, its journal closed in order."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = re.sub(r"\Alisten = .*\n", "" if setting == "listen" else 'listen = "127.0.0.1:0"\n', GATEWAY)
        (folder / "gateway.toml").write_text(f'{setting} = "{address}"\n{text}', encoding="utf-8")
        with registry(folder):
            code, out, err = run(folder, "gateway", "serve", "--config", "gateway.toml")
    assert (code, out) == (2, "")
    assert f"sealbid: error: {setting} {address} cannot be bound, want a free address of this machine" in err
    assert "Traceback" not in err
