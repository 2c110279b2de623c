# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit QUESTION` as a user meets it: every question of a real bundle, its exit status, text and JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealbid.commands.audit_log_questions import QUESTIONS
from tests.support.audit_bundles import exported, unlisted_machine
from tests.support.worlds import Machine, World, world

HEAVY = ("grpc", "sqlmodel", "sqlalchemy", "pydantic", "sqlite3")
OF_A_BUNDLE = sorted(
    (command.name or "")
    for command in QUESTIONS
    if command.name not in ("compare", "node", "report", "reverify", "when")
)


def run(*arguments: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [sys.executable, "-m", "sealbid", "audit", *arguments]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def lived() -> World:
    """A world with one admitted and one refused machine."""
    one = world()
    one.admit(Machine())
    one.refuse(unlisted_machine())
    return one


@pytest.fixture(scope="module")
def files(lived: World, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name its bundle and trust file."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "audit.zip").write_bytes(exported(lived))
    (folder / "trust.toml").write_bytes(lived.trust.to_toml())
    (folder / "last.note").write_bytes(lived.log.checkpoint())
    return ["--bundle", str(folder / "audit.zip"), "--trust", str(folder / "trust.toml")]


@pytest.mark.parametrize("name", OF_A_BUNDLE)
def test_every_question_answers(name: str, files: list[str]) -> None:
    """The answer in JSON fits the exit status, and nothing goes to stderr."""
    code, out, err = run(name, *files, "--json")
    found: dict[str, Any] = json.loads(out)
    assert err == ""
    assert (found["question"], found["exit"]) == (name, code)
    assert code == {"yes": 0, "no": 10, "undecided": 20}[found["answer"]]
    assert found["format"] == "sealbid/audit-answer/1"
    assert all(set(fact) == set(found["columns"]) for fact in found["facts"])


def test_a_verdict_again(files: list[str], lived: World) -> None:
    """`reverify` says yes of a pass and a refusal, undecided of another entry, and an index too high is wrong usage."""
    verdicts = [index for index, entry in enumerate(lived.entries()) if entry.kind.value == "attest.verdict"]
    for index in verdicts:
        code, out, _ = run("reverify", str(index), *files)
        assert (code, "✓ reverify: yes" in out, "SIMULATED" in out) == (0, True, True)
    assert run("reverify", "0", *files)[0] == 20
    code, out, err = run("reverify", "99", *files)
    assert (code, out) == (2, "")
    assert "want below the log's" in err


def test_a_node_and_a_visit(files: list[str], lived: World) -> None:
    """`node` tells a history, `check` holds the log against a checkpoint of then, `compare` two checkpoints."""
    worker = Machine().keyset.worker_id.hex()
    code, out, _ = run("node", worker, *files)
    assert (code, "pass" in out) == (0, True)
    note = str(Path(files[1]).parent / "last.note")
    assert run("check", "--since", note, *files)[0] == 0
    assert run("compare", note, note, *files[2:])[0] == 0
    assert run("when", "0", *files)[0] == 20


@pytest.mark.parametrize("framework", ["soc2", "iso27001", "hipaa", "gdpr", "aiact", "pci"])
def test_a_report(framework: str, files: list[str]) -> None:
    """Each framework's controls are answered with the command behind each answer."""
    code, out, err = run("report", "--framework", framework, *files, "--json")
    found: dict[str, Any] = json.loads(out)
    assert (err, found["exit"]) == ("", code)
    assert {fact["question"].split()[2] for fact in found["facts"]} <= {command.name for command in QUESTIONS} | {
        "fsck"
    }


def test_a_bundle_that_does_not_verify_is_not_asked(files: list[str], tmp_path: Path) -> None:
    """No question is answered from a bundle with a wrong byte; the reason and status are those of the refusal."""
    data = bytearray(Path(files[1]).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "audit.zip").write_bytes(data)
    code, out, _ = run("population", "--bundle", str(tmp_path / "audit.zip"), *files[2:], "--json")
    assert (code, json.loads(out)["reason"]) == (30, "MALFORMED")


def test_no_question_needs_grpc_a_database_or_a_settings_framework(files: list[str]) -> None:
    """An interpreter that refuses to import them answers every question of a bundle all the same."""
    note = str(Path(files[1]).parent / "last.note")
    plain = [[name, *files] for name in OF_A_BUNDLE]
    more = [
        ["verify", files[1], *files[2:]],
        ["node", "00" * 32, *files],
        ["when", "1", *files],
        ["reverify", "3", *files],
        ["report", "--framework", "soc2", *files],
        ["compare", note, note, *files[2:]],
    ]
    script = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r} or name == "google.protobuf":
            print("imported", name)
sys.meta_path.insert(0, Refuse())
from sealbid.__main__ import main
for arguments in {[*plain, *more]!r}:
    sys.argv = ["sealbid", "audit", *arguments]
    try:
        main()
    except SystemExit as ended:
        print("exit", ended.code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("imported")] == []
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit")]
    assert len(codes) == len(plain) + len(more)
    assert set(codes) <= {"exit 0", "exit 10", "exit 20"}
