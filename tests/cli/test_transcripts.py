# SPDX-License-Identifier: Apache-2.0
"""The command as a user meets it: command, stdout, stderr, exit code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from sealbid.__main__ import cli


def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    done = subprocess.run(
        [sys.executable, "-m", "sealbid", *arguments],
        env=kept | dict(env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], (*path, name))


COMMANDS = list(commands())


def test_version() -> None:
    """The version is the distribution's, on stdout."""
    assert run("--version") == (0, f"sealbid {version('sealbid')}\n", "")


def test_no_arguments_is_usage() -> None:
    """Without a verb the help goes to stderr and the status says usage."""
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: sealbid")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["gatewy"], "no such command 'gatewy'. Did you mean 'gateway'?", "`sealbid --help` shows what it takes"),
        (["gateway", "new-key"], "missing option '--tenant'", "`sealbid gateway new-key --help` shows what it takes"),
        (
            ["registry", "revoke", "--address", "a:1", "--api-key-file", "LICENSE", "--reason", "r", "ABC"],
            "invalid value for '--api-key-file': File 'LICENSE' does not exist",
            "`sealbid registry revoke --help` shows what it takes",
        ),
    ],
)
def test_wrong_usage_is_an_error_and_a_hint(tmp_path: Path, arguments: list[str], error: str, hint: str) -> None:
    """A wrong command line ends with status 2, one error line and one hint; stdout stays empty."""
    assert run(*arguments, cwd=tmp_path) == (2, "", f"sealbid: error: {error}\nsealbid: hint: {hint}\n")


@pytest.mark.parametrize("process", ["gateway", "registry", "worker"])
def test_unknown_settings_do_not_start(tmp_path: Path, process: str) -> None:
    """A file with an unknown key is refused by name before anything starts."""
    (tmp_path / "s.toml").write_text("colour = 1\n", encoding="utf-8")
    code, out, err = run(process, "serve", "--config", "s.toml", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("sealbid: error: colour is unknown, want one of ")


@pytest.mark.parametrize("process", ["gateway", "registry", "worker"])
def test_unknown_variables_do_not_start(process: str) -> None:
    """A misspelt variable of a process is refused by name; its flags' own variables are not settings."""
    name = f"SEALBID_{process.upper()}_COLOUR"
    code, out, err = run(process, "serve", env={name: "hunter2", f"SEALBID_{process.upper()}_SERVE_CONFIG": ""})
    assert (code, out) == (2, "")
    assert err.startswith(f"sealbid: error: {name} is set in the environment, but no such key exists")
    assert "hunter2" not in err


def test_a_refusal_in_json_is_alone_on_stdout(tmp_path: Path) -> None:
    """With --json a refusal of any command is one object on stdout, and stderr stays empty."""
    (tmp_path / "s.toml").write_text("colour = 1\n", encoding="utf-8")
    code, out, err = run("gateway", "check-config", "--config", "s.toml", "--json", cwd=tmp_path)
    assert (code, err) == (2, "")
    assert json.loads(out)["reason"] == "SETTINGS_INVALID"


def test_a_flag_can_come_from_the_environment(tmp_path: Path) -> None:
    """--config of `gateway serve` is read from its variable."""
    code, _, err = run("gateway", "serve", env={"SEALBID_GATEWAY_SERVE_CONFIG": str(tmp_path / "none.toml")})
    assert code == 2
    assert "none.toml cannot be read: no such file or directory" in err


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) or "sealbid" for path, _ in COMMANDS])
def test_every_command_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    """Each command has a help text and an example that begins with its own words."""
    assert command.help
    examples = re.findall(r"sealbid [a-z -]*", command.epilog or "")
    assert any(example.startswith(" ".join(("sealbid", *path))) for example in examples)


def test_examples_parse() -> None:
    """Every example names a command that exists and only flags it has."""
    for _, command in COMMANDS:
        for line in re.findall(r"^  (?:[A-Z_]+=\S+ )?sealbid ([^\n]*)", command.epilog or "", re.MULTILINE):
            words = re.split(r" [0-9]?[<>|]", line)[0].split()
            found: click.Command = cli
            while isinstance(found, click.Group) and words and words[0] in found.commands:
                found = found.commands[words.pop(0)]
            assert not isinstance(found, click.Group), line
            flags = {flag for parameter in found.params for flag in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= flags, line
