# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit evidence` and `sealbid audit policy` as a user meets them: stdout, stderr, exit code, stable JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.policies import capture
from tests.support.json_schema import violations
from tests.support.tree import ROOT
from tests.support.vectors import vectors

SCHEMA = json.loads((ROOT / "docs" / "schema" / "audit-evidence.schema.json").read_text(encoding="utf-8"))
POLICIES = ROOT / "manifests" / "policies"
QUOTE = "tdx/v4_00b2526ab1"
THEN = "2025-06-19T10:05:00Z"


def run(*arguments: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [sys.executable, "-m", "sealbid", "audit", *arguments]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The file of a permissive policy."""
    path = tmp_path / "policy.toml"
    path.write_text(capture(), encoding="utf-8")
    return str(path)


def judged(policy: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run("evidence", *arguments, "--policy", policy, "--json")
    assert err == ""
    found = json.loads(out)
    assert violations(found, SCHEMA) == []
    assert found["exit"] == code
    return code, found


def test_accepted_then_and_undecided_today(policy: str) -> None:
    """A recorded quote is accepted with the collateral of its date; with the same collateral today it is undecided."""
    quote = str(vectors(*QUOTE.split("/")))
    code, found = judged(policy, quote, "--at", THEN)
    assert (code, found["subjects"][0]["reasons"]) == (0, [])
    assert found["subjects"][0]["parts"][0]["claims"]["tcb_status"] == "UpToDate"
    code, found = judged(policy, quote)
    assert (code, found["subjects"][0]["reasons"]) == (20, ["COLLATERAL_EXPIRED"])


def test_the_table_says_what_holds_and_what_is_open(policy: str) -> None:
    """People read ticks, reasons, remedies and what stays unproven."""
    code, out, err = run("evidence", str(vectors(*QUOTE.split("/"))), "--at", THEN, "--policy", policy)
    assert (code, err) == (0, "")
    for shown in (
        "SIMULATED",
        "accepted  ",
        "✓ genuine     yes",
        "✓ quote.bin  tdx, UpToDate",
        "not proven:",
        "unchecked by the policy:",
    ):
        assert shown in out


def test_a_production_policy_refuses_what_it_does_not_list() -> None:
    """The shipped policy rejects the same quote by its measurement."""
    quote = str(vectors(*QUOTE.split("/")))
    code, found = judged(str(POLICIES / "production-strict.toml"), quote, "--at", THEN)
    assert code == 10
    assert "MEASUREMENT_REFUSED" in found["subjects"][0]["reasons"]
    assert found["simulated"] is False


def test_collateral_and_nonce_may_be_given_beside(policy: str) -> None:
    """A quote alone is undecided, with its collateral accepted, and under another nonce refused."""
    quote = str(vectors(*QUOTE.split("/"), "quote.bin"))
    beside = str(vectors(*QUOTE.split("/"), "collateral_20250619.json"))
    assert judged(policy, quote, "--at", THEN)[0] == 20
    assert judged(policy, quote, "--at", THEN, "--collateral", beside)[0] == 0
    code, found = judged(policy, quote, "--at", THEN, "--collateral", beside, "--nonce", "ff" * 32)
    assert (code, found["subjects"][0]["reasons"]) == (10, ["NONCE_MISMATCH"])


def test_a_capture_is_one_machine_with_its_binding(policy: str) -> None:
    """A folder of CPU and GPUs ends genuine and undecided for want of manifests, its recorded binding recomputed."""
    (folder,) = vectors("composite").glob("neardirect_*")
    code, found = judged(policy, str(folder), "--at", "2026-04-24T02:10:37Z")
    (subject,) = found["subjects"]
    assert (code, subject["genuine"], subject["acceptable"]) == (20, "yes", "undecided")
    assert subject["reasons"] == ["RIM_UNAVAILABLE"]
    assert (subject["binding"]["matches"], len(subject["parts"])) == (True, 9)


def test_several_paths_are_judged_apart_and_the_worst_decides(policy: str, tmp_path: Path) -> None:
    """Each path has a verdict of its own; the exit status is the worst."""
    (tmp_path / "thing.bin").write_bytes(b"nothing known")
    code, found = judged(policy, str(vectors(*QUOTE.split("/"))), str(tmp_path / "thing.bin"), "--at", THEN)
    assert (code, [subject["exit"] for subject in found["subjects"]]) == (20, [0, 20])


@pytest.mark.parametrize(
    ("name", "data", "code"), [("x.bin", b"", 20), ("x.xml", b"<", 30), ("tdx_quote.bin", b"x", 30)]
)
def test_files_that_are_nothing(policy: str, tmp_path: Path, name: str, data: bytes, code: int) -> None:
    """What nobody knows is 20; what claims to be something and does not parse is 30; neither prints a traceback."""
    (tmp_path / name).write_bytes(data)
    assert judged(policy, str(tmp_path / name))[0] == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["evidence", "LICENSE"],
        ["evidence", "LICENSE", "--policy", "none.toml"],
        ["evidence", "LICENSE", "--policy", "{policy}", "--at", "2026-04-24"],
        ["evidence", "LICENSE", "--policy", "{policy}", "--at", "yesterday"],
        ["evidence", "LICENSE", "--policy", "{policy}", "--nonce", "xyz"],
        ["evidence", "missing.bin", "--policy", "{policy}"],
        ["evidence", "LICENSE", "--policy", "{policy}", "--collateral", "missing.json"],
        ["evidence", "--policy", "{policy}"],
        ["policy", "show", "missing.toml"],
        ["policy", "diff", "{policy}"],
    ],
)
def test_wrong_usage(policy: str, arguments: list[str]) -> None:
    """Status 2, one error line, nothing on stdout; a time without its offset is no time."""
    code, out, err = run(*(argument.format(policy=policy) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("sealbid: error: ")


def test_a_folder_beyond_the_limits_is_usage(policy: str, tmp_path: Path) -> None:
    """The auditor's mistake does not fill the memory."""
    many = tmp_path / "many"
    many.mkdir()
    for place in range(257):
        (many / str(place)).touch()
    code, out, err = run("evidence", str(many), "--policy", policy)
    assert (code, out) == (2, "")
    assert "want at most 256 files" in err


def test_a_policy_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file that is no policy is wrong usage and names its first wrong key, at every command that reads one."""
    (tmp_path / "p.toml").write_text('id = "x"\n', encoding="utf-8")
    for arguments in (["evidence", "LICENSE", "--policy"], ["policy", "show"]):
        code, out, err = run(*arguments, str(tmp_path / "p.toml"))
        assert (code, out) == (2, "")
        assert err.startswith("sealbid: error: policy ")


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_policies_can_be_shown(path: Path) -> None:
    """Every shipped policy is shown rule by rule, as text and as JSON."""
    code, out, err = run("policy", "show", str(path))
    assert (code, err) == (0, "")
    assert out.startswith(f"{path.stem} version ")
    rules = json.loads(run("policy", "show", str(path), "--json")[1])["rules"]
    assert len(rules) == len(out.splitlines()) - 2


def test_policies_can_be_compared() -> None:
    """What differs between two shipped policies stands in both outputs, with its direction."""
    old, new = str(POLICIES / "production-strict.toml"), str(POLICIES / "production-hopper-tdx.toml")
    code, out, err = run("policy", "diff", old, new)
    assert (code, err) == (0, "")
    assert "✓ tee.kinds (narrower)" in out
    changes = json.loads(run("policy", "diff", old, new, "--json")[1])["changes"]
    assert {change["change"] for change in changes} <= {"wider", "narrower", "other", "restated", "added", "removed"}
    assert len(changes) == int(out.splitlines()[-1].split()[0])


def test_the_schema_describes_more_than_anything() -> None:
    """A missing key, a surplus key and a value of another form are violations: the check above can fail."""
    good = {"format": "sealbid/audit-evidence/1"}
    assert len(violations(good, SCHEMA)) == 6
    assert any("unknown key" in text for text in violations({"colour": 1}, SCHEMA))
    assert any("want one of" in text for text in violations({"exit": 1}, SCHEMA))
