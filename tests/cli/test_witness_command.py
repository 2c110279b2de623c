# SPDX-License-Identifier: Apache-2.0
"""`sealbid witness` as an operator runs it: init, serve, show, and what each says."""

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attestation.tlog.cosignature import CosignatureVerifier
from tests.support.http import fetch
from tests.support.log import ORIGIN, log_signer
from tests.support.tree import ROOT
from tests.support.witnessing import Leaves

pytestmark = pytest.mark.net

SETTINGS = f"""
name = "witness.example/w1"
state_dir = "state"
guard_dir = "guard"
listen = "127.0.0.1:0"

[[logs]]
origin = "{ORIGIN}"
vkeys = ["{log_signer().verifier.vkey}"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "witness.toml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(_argv(*words), cwd=folder, capture_output=True, text=True, check=False, env=_env())


def _argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "sealbid", "witness", *words, "--config", "witness.toml"]


def _env() -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}:{ROOT / 'proto/gen'}", "PATH": "/usr/bin:/bin"}


def test_init_serve_show(folder: Path) -> None:
    """A witness is made, cosigns over HTTP as a process, ends in order, and shows how far it got."""
    made = json.loads(command(folder, "init", "--json").stdout)
    assert made["name"] == "witness.example/w1"
    assert [CosignatureVerifier.parse(vkey).key_type for vkey in made["vkeys"]] == [0x04, 0x06]
    with subprocess.Popen(_argv("serve"), cwd=folder, env=_env(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        started = next(line for line in process.stderr if "witness serves" in line)
        address = re.search(r'"address": "([^"]+)"', started)
        assert address is not None
        assert fetch(address[1], "/").status == 404
        answer = _submit(address[1], Leaves().request(0, 4))
        assert answer.count("witness.example/w1") == 2
        process.send_signal(signal.SIGTERM)
        assert "witness stops" in process.communicate()[1]
        assert process.returncode == 0
    shown = json.loads(command(folder, "show", "--json").stdout)
    assert shown == {**made, "logs": [{"origin": ORIGIN, "size": 4, "trouble": ""}]}
    assert command(folder, "show").stdout.splitlines() == [*made["vkeys"], f"{ORIGIN}  size 4"]


def test_a_second_init_is_refused(folder: Path) -> None:
    """Keys are made once: the second time is a usage error that names the directory."""
    assert command(folder, "init").returncode == 0
    again = command(folder, "init")
    assert again.returncode == 2
    assert "has a witness already" in again.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SETTINGS.replace('name = "witness.example/w1"', ""), "name is missing"),
        (SETTINGS.replace("vkeys = [", 'vkeys = ["x", '), "verifier key"),
        (SETTINGS.replace("[[logs]]", "colour = 1\n[[logs]]"), "colour is unknown"),
        (SETTINGS.replace(f'origin = "{ORIGIN}"', 'origin = "other.example/log"'), "want the origin"),
        (SETTINGS.replace("127.0.0.1:0", "0.0.0.0:0"), "without tls"),
    ],
)
def test_settings_that_must_not_start(folder: Path, wrong: str, said: str) -> None:
    """Serve refuses what it cannot serve, says which setting, and prints no traceback."""
    assert command(folder, "init").returncode == 0
    (folder / "witness.toml").write_text(wrong, encoding="utf-8")
    refused = command(folder, "serve")
    assert refused.returncode in (2, 30)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def _submit(address: str, body: bytes) -> str:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", "/add-checkpoint", body=body)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
