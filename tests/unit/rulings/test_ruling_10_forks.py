# SPDX-License-Identifier: Apache-2.0
"""Ruling 10 with a real fork: what a child process inherits of a sender seals nothing, and a gateway starts anew."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SESSION = """
from attestation.errors import SealingError
from tests.support.sealing import GatewaySide, NOW, WorkerSide

gateway = GatewaySide(WorkerSide())
gateway.send()
if fork():
    gateway.send()  # the parent goes on
else:
    try:
        gateway.session.wrap(gateway.seal(), now=NOW)
    except SealingError as error:
        leave(error.reason)
    leave("WRAPPED")
"""
SESSIONS = """
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from attestation.binding import SuiteID
from attestation.sealing.request import seal_request
from gateway.dispatch.sessions import Sessions
from tests.support.attested import NOW, POLICY_SHA256, attested_for_tests
from tests.support.sealing import RecordingGuard, WorkerSide, limits

worker = attested_for_tests(WorkerSide().keyset)
sessions = Sessions(
    signing_key=Ed25519PrivateKey.generate(), guard=RecordingGuard(), suites=[SuiteID.X25519], entropy=os.urandom,
    made=lambda: None,
)
request = seal_request(limits(policy_sha256=POLICY_SHA256), b"question", entropy=os.urandom)

def wrapped():
    return sessions.wrap(worker, request, now=NOW, max_response_bytes=1024)[0].session_id

before = wrapped()
if not fork():
    leave("SAME" if wrapped() == before else "ANOTHER")
assert wrapped() == before
"""
_FRAME = """
import os

def fork():
    global read, write
    read, write = os.pipe()
    return os.fork()

def leave(word):
    os.write(write, word.encode())
    os._exit(0)
"""
_REPORT = """
os.wait()
print(os.read(read, 64).decode())
"""


def told_by_child(script: str) -> str:
    """Runs a script that forks in a process without threads; the word its child left."""
    command = [sys.executable, "-c", _FRAME + script + _REPORT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ruling_10_a_forked_child_cannot_wrap() -> None:
    """The session is closed in the child, and serves on in the parent."""
    assert told_by_child(SESSION) == "SESSION_CLOSED"


def test_ruling_10_a_forked_gateway_makes_a_session_of_its_own() -> None:
    """The copy of a gateway's table gives another session, with counters nobody else uses."""
    assert told_by_child(SESSIONS) == "ANOTHER"
