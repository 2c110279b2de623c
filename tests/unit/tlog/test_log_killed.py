# SPDX-License-Identifier: Apache-2.0
"""A log process killed without warning: what it had shown stays true."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from attestation.tlog.checkpoint import open_checkpoint
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.sqlmodel_store import SQLLogs
from tests.support.log import NOW, ORIGIN, WholeLogCheck, change, log_signer, open_log, served_entries

_ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import base64, sys
from pathlib import Path
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLLogs
from tests.support.log import NOW, ORIGIN, change, new_log
folder = Path(sys.argv[1])
log = new_log(SQLLogs.sqlite(folder / "log.sqlite").store(ORIGIN), FileHeadStore(folder / "head"))
while True:
    log.append([change(log.size()), change(log.size() + 1)])
    print(base64.b64encode(log.publish(NOW)).decode(), flush=True)
"""


@pytest.mark.parametrize("checkpoints", [1, 7])
def test_a_killed_writer(tmp_path: Path, checkpoints: int) -> None:
    """After SIGKILL in full flight the log opens, continues the last checkpoint shown, and verifies as a whole."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as writer:
        assert writer.stdout is not None
        shown = [base64.b64decode(writer.stdout.readline()) for _ in range(checkpoints)]
        writer.kill()
        shown += [base64.b64decode(line) for line in writer.stdout if line.endswith(b"\n")]
    logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
    log = open_log(logs.store(ORIGIN), FileHeadStore(tmp_path / "head"))
    log.append([change(-1)])
    log.publish(NOW)
    WholeLogCheck().log(log)
    for note in shown:
        old = open_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=NO_WITNESSES)
        WholeLogCheck().continues(old, served_entries(log))
    logs.close()
