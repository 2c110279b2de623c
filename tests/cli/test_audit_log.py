# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit export`, `verify` and `fsck` as a user meets them, on a registry's own folder."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.sqlmodel_store import SQLLogs
from tests.support.audit_bundles import genesis, trust
from tests.support.log import NOW, ORIGIN, MemoryHeadStore, change, log_signer, verdict

HEAVY = ("grpc", "sqlmodel", "sqlalchemy", "pydantic", "google.protobuf")


def run(*arguments: str, lead: tuple[str, ...] = ()) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [*lead, sys.executable, "-m", "sealbid", "audit", *arguments]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def ask(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = run(*arguments, "--json")
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return code, found


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """The folder of a registry that logged two entries and one verdict whose evidence is archived."""
    folder = tmp_path / "registry"
    folder.mkdir()
    logs = SQLLogs.sqlite(folder / "log.sqlite")
    log = EvidenceLog(
        origin=ORIGIN,
        signer=log_signer(),
        store=logs.store(ORIGIN),
        heads=MemoryHeadStore(),
        inception=True,
    )
    log.append([genesis(), change(1), verdict()])
    log.publish(NOW)
    logs.close()
    with sqlite3.connect(folder / "registry.sqlite") as archive:
        archive.execute("CREATE TABLE reg_blob (sha256 BLOB PRIMARY KEY, data BLOB)")
    archive.close()
    (folder / "trust.toml").write_bytes(trust().to_toml())
    return folder


def exported(registry: Path, name: str = "audit.zip") -> Path:
    output = registry.parent / name
    code, _, err = run("export", "--registry-dir", str(registry), "--output", str(output))
    assert (code, err) == (0, "")
    return output


def test_export_and_verify(registry: Path) -> None:
    """A log taken away verifies, shows whose keys were trusted, and is the same bytes each time."""
    file, again = exported(registry), exported(registry, "again.zip")
    assert file.read_bytes() == again.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    code, out, err = run("verify", str(file), "--trust", str(registry / "trust.toml"))
    assert (code, err) == (0, "")
    for shown in ("SIMULATED", "✓ verify: yes", "3 entries", "operator's word only", log_signer().verifier.vkey):
        assert shown in out
    code, found = ask("verify", str(file), "--trust", str(registry / "trust.toml"))
    assert (code, found["answer"], found["size"], found["simulated"]) == (0, "yes", 3, True)


def test_an_export_reads_only(registry: Path) -> None:
    """The databases are byte for byte as they were."""
    before = {path.name: path.read_bytes() for path in registry.iterdir()}
    exported(registry)
    assert {
        path.name: path.read_bytes() for path in registry.iterdir() if path.suffix not in (".sqlite-shm",)
    }.items() >= (before.items())


def test_a_flipped_byte_is_located(registry: Path) -> None:
    """`fsck` says no, and where."""
    file = exported(registry)
    data = bytearray(file.read_bytes())
    data[data.index(b"row-1")] ^= 1
    file.write_bytes(data)
    code, found = ask("fsck", "--bundle", str(file), "--trust", str(registry / "trust.toml"))
    assert (code, found["answer"], found["size"]) == (10, "no", None)
    assert found["facts"] == [{"reason": "MALFORMED", "fault": "file-checksum", "where": "log/tile/entries/000.p/3"}]


def test_another_trust_file_is_not_convinced(registry: Path, tmp_path: Path) -> None:
    """The keys in the bundle count for nothing."""
    other = tmp_path / "other.toml"
    vkey = log_signer(seed=7).verifier.vkey
    other.write_bytes(trust().to_toml().replace(log_signer().verifier.vkey.encode(), vkey.encode()))
    code, found = ask("verify", str(exported(registry)), "--trust", str(other))
    assert (code, found["facts"][0]["reason"]) == (10, "CHECKPOINT_INVALID")


@pytest.mark.parametrize("arguments", [(), ("--database", "postgresql://x@127.0.0.1/y"), ("--registry-dir", ".")])
def test_wrong_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """What is missing is said, with status 2, and no file is left."""
    output = tmp_path / "audit.zip"
    code, out, err = run("export", *arguments, "--output", str(output))
    assert (code, out, output.exists()) == (2, "", False)
    assert err.startswith("sealbid: error:")


def test_a_file_that_is_there_is_not_overwritten(registry: Path) -> None:
    """An export refuses a name that is taken."""
    file = exported(registry)
    code, _, err = run("export", "--registry-dir", str(registry), "--output", str(file))
    assert code == 2
    assert "cannot be made" in err


def test_offline_and_light(registry: Path) -> None:
    """Verifying imports no gRPC, database or settings framework: an interpreter that refuses them does all the same."""
    file = exported(registry)
    hook = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY!r}:
            raise AssertionError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["sealbid", "audit", "verify", {str(file)!r}, "--trust", {str(registry / "trust.toml")!r}]
from sealbid.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
