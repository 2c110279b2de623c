# SPDX-License-Identifier: Apache-2.0
"""The engine writes no file and contacts nobody: seen from outside, by strace, in an empty home.

Each run has its control: the same library, loaded without the variable that the engine sets, fails the same check. The
library writes as soon as it is loaded and calls out some ten seconds later, so a short pair runs always and a long one,
90 seconds, with the slow tests.
"""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tree import ROOT

CALLS = "network,open,openat,openat2,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,link,symlink"
WRITES = re.compile(
    r"\b(?:mkdir|mkdirat|unlink|unlinkat|rename|renameat|renameat2|creat|link|symlink)\(|O_(?:WR|RDWR|CR)"
)
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
DEVICES = ('"/dev/null"', '"/dev/tty"')

PROGRAM = """
import sys, time
{load}
end = time.monotonic() + float(sys.argv[1])
while True:
    {run}
    if time.monotonic() >= end:
        break
    time.sleep(0.5)
print("ran")
"""

ENGINE = PROGRAM.format(
    load="""
import numpy as np
from enclave.models.catalog import find_model, open_engine
engine = open_engine(find_model("magika"), threads=2, entropy=bytes)
""",
    run='engine.run({"bytes": np.zeros((1, 2048), np.int32)})',
)

CONTROL = PROGRAM.format(
    load="""
import numpy as np
from importlib.metadata import distribution
import onnxruntime
model = str(distribution("magika").locate_file("magika/models/standard_v3_3/model.onnx"))
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
""",
    run='session.run(None, {"bytes": np.zeros((1, 2048), np.int32)})',
)


@pytest.fixture(scope="module")
def strace() -> str:
    """The path of a strace that may trace, or a skip that says why not."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed, want it to see system calls")
    if subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace here, want ptrace allowed")
    return found


class Traced:
    """One program under strace, with a home, a temporary folder and a working folder of its own."""

    def __init__(self, strace: str, folder: Path, program: str, seconds: int) -> None:
        self._home, self._trace = folder / "home", folder / "trace"
        self._home.mkdir(parents=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "TMPDIR": str(self._home)}
        environment |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [strace, "-f", "-e", CALLS, "-o", str(self._trace), sys.executable, "-c", program, str(seconds)],
            cwd=self._home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def noises(self) -> list[str]:
        """Wait for the program; returns the calls that write or leave the machine, and files left behind."""
        out, errors = self._process.communicate()
        assert out == "ran\n", errors
        lines = self._trace.read_text(errors="replace").splitlines()
        assert any("onnxruntime" in line for line in lines), "the trace shows no library loaded"
        return [line for line in lines if writes(line) or leaves(line)] + [str(p) for p in self._home.rglob("*")]


def writes(line: str) -> bool:
    """Whether a traced call creates, changes or removes a file; the null device and the terminal are none."""
    return bool(WRITES.search(line)) and not any(device in line for device in DEVICES)


def leaves(line: str) -> bool:
    """Whether a traced call names an address beyond this machine."""
    found = [match[1] or match[2] for match in ADDRESS.finditer(line)]
    return any(not ipaddress.ip_address(address).is_loopback for address in found)


def compare(strace: str, folder: Path, seconds: int) -> None:
    """Run engine and control side by side and check that exactly the engine is silent."""
    engine = Traced(strace, folder / "engine", ENGINE, seconds)
    control = Traced(strace, folder / "control", CONTROL, seconds)
    heard, silence = control.noises(), engine.noises()
    assert silence == []
    assert any(writes(line) for line in heard), "the control is silent too: the check sees nothing"


def test_the_engine_writes_nothing_from_its_first_moment(strace: str, tmp_path: Path) -> None:
    """Loading and running leaves no trace on disk; with the variable unset the library writes at once."""
    compare(strace, tmp_path, 2)


@pytest.mark.slow
def test_the_engine_stays_silent_for_ninety_seconds(strace: str, tmp_path: Path) -> None:
    """Ninety seconds of work contact nobody and write nothing; with the variable unset the same check fails."""
    compare(strace, tmp_path, 90)


@pytest.mark.parametrize(
    ("line", "noisy"),
    [
        ('1 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3', False),
        ('1 openat(AT_FDCWD, "/dev/null", O_RDWR) = 3', False),
        ('1 openat(AT_FDCWD, "x", O_WRONLY|O_CREAT, 0666) = 3', True),
        ('1 mkdir("x", 0700) = -1 EACCES (Permission denied)', True),
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0', True),
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', False),
        ('1 sendto(3, "x", 1, 0, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 1', True),
        ('1 connect(3, {sa_family=AF_INET6, inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0', False),
    ],
)
def test_the_check_tells_noise_from_silence(line: str, noisy: bool) -> None:
    """The reading of a trace, on lines of both kinds."""
    assert (writes(line) or leaves(line)) is noisy
