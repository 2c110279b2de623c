# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit receipt` on what is no receipt: the exit code says why, and nothing is accepted by accident."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attestation.binding import Profile
from attestation.tlog.policy import parse_witness_policy
from attestation.trust import TrustRoot
from tests.support.log import ORIGIN, log_signer


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """A trust file that is well-formed."""
    root = TrustRoot(
        origin=ORIGIN,
        log_key=log_signer().verifier,
        lease_key=bytes(range(32)),
        witness_policy=parse_witness_policy("none"),
        profile=Profile.DEVELOPMENT,
    )
    path = tmp_path / "trust.toml"
    path.write_bytes(root.to_toml())
    return path


def audit(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [sys.executable, "-m", "sealbid", "audit", "receipt", *arguments]
    done = subprocess.run(command, input=stdin, env=env, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\x00", b"[]", b"{}", b'{"v":"sealbid/receipt/1"}', b"null", b"[" * 99999]
)
def test_garbage_is_malformed(trust: Path, garbage: bytes) -> None:
    """Bytes that are no receipt exit 30 with one error line; nothing goes to stdout."""
    code, out, err = audit("-", "--trust", str(trust), stdin=garbage)
    assert (code, out) == (30, "")
    assert err.startswith("sealbid: error: ")
    assert "Traceback" not in err


def test_json_garbage_is_one_object(trust: Path, tmp_path: Path) -> None:
    """With --json the refusal is one object on stdout with verdict, reason and exit code, and stderr is empty."""
    (tmp_path / "r.json").write_bytes(b"{}")
    code, out, err = audit(str(tmp_path / "r.json"), "--trust", str(trust), "--json")
    assert (code, err) == (30, "")
    assert {key: json.loads(out)[key] for key in ("verdict", "exit")} == {"verdict": "malformed", "exit": 30}


def test_a_missing_receipt_is_usage(trust: Path, tmp_path: Path) -> None:
    """A receipt that is not there exits 2."""
    code, out, err = audit(str(tmp_path / "none.json"), "--trust", str(trust))
    assert (code, out) == (2, "")
    assert "receipt cannot be read" in err


@pytest.mark.parametrize("toml", ["", "origin = 1\n", "colour = 'red'\n", "= ="])
def test_a_wrong_trust_file_is_usage(tmp_path: Path, toml: str) -> None:
    """A trust file that is not one exits 2 before the receipt is looked at."""
    (tmp_path / "trust.toml").write_text(toml, encoding="utf-8")
    code, out, err = audit("-", "--trust", str(tmp_path / "trust.toml"), stdin=b"{}")
    assert (code, out) == (2, "")
    assert err.startswith("sealbid: error: trust ")
