# SPDX-License-Identifier: Apache-2.0
"""Runs the real `sealbid` command so that a process can be killed at one exact stage of one request.

    python -m tests.support.faulty worker serve --config worker.toml        TEST_FAULT_DIR says where to look

Functions of the product are wrapped before the command runs; passing a stage asks for the file TEST_FAULT_DIR/STAGE. If
it is there it is taken away and the process whose id it holds gets SIGKILL, be it this one or its peer, so that both
can be killed at moments only one of them knows. `armed` writes such a file. Stages, and who passes them:

    gateway  award, trailer, journal
    worker   session, first-request-frame, last-request-frame, execution, first-response-frame, signature
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

from sealbid_wire.worker.v1 import worker_pb2 as pb

FAULT_DIR: Final = "TEST_FAULT_DIR"
GATEWAY_STAGES: Final = ("award", "trailer", "journal")
WORKER_STAGES: Final = (
    "session",
    "first-request-frame",
    "last-request-frame",
    "execution",
    "first-response-frame",
    "signature",
)
GRACE_SECONDS: Final = 1.0
"""How long a restarted gateway waits for halves of several workers, shortened so that tests need not wait."""


def arm(folder: Path, stage: str, victim: int) -> None:
    """The next time the process of this folder passes the stage, the victim is killed."""
    part = folder / f".{stage}"
    part.write_text(str(victim))
    part.rename(folder / stage)


def hold(folder: Path, stage: str, seconds: float) -> None:
    """The next time the process of this folder passes the stage, it waits so long."""
    arm(folder, f"hold-{stage}", int(seconds * 1000))


def armed(folder: Path, stage: str) -> bool:
    """Whether the stage has not been passed yet."""
    return (folder / stage).exists()


def fault_gateway(passed: Callable[[str], None]) -> None:
    """Wraps the gateway's stages."""
    from gateway.dispatch.exchange import Exchange
    from gateway.market.service import Market
    from gateway.receipts import process

    process.MODULE = "tests.support.faulty"
    _after(Market, "award", lambda *_, **__: passed("award"))
    _after(Exchange, "receive", lambda *_, final: passed("trailer") if final else None)


def fault_journal(passed: Callable[[str], None]) -> None:
    """Wraps the stage of the gateway that its journal's writer passes, a process the gateway starts."""
    from gateway.receipts.recovery import Waits
    from gateway.receipts.store import SQLJournalStore

    defaults: Any = Waits.__init__.__kwdefaults__
    defaults["halves"] = GRACE_SECONDS
    _before(SQLJournalStore, "commit", lambda _, work: passed("journal") if work.outcomes else None)


def fault_worker(passed: Callable[[str], None]) -> None:
    """Wraps the worker's stages."""
    from attestation.sealing.request import RequestOpener
    from attestation.sealing.suite import HPKEKeyPair
    from enclave.engines.onnxruntime import ONNXRuntimeEngine
    from enclave.keys import KeyCustody
    from enclave.link import Link

    _between_answers(Link, passed)
    _after(HPKEKeyPair, "open", lambda *_: passed("session"))
    _after(RequestOpener, "feed", lambda _, __, final: passed("last-request-frame" if final else "first-request-frame"))
    _before(ONNXRuntimeEngine, "run", lambda *_, **__: passed("execution"))
    _before(KeyCustody, "sign_halves", lambda *_: passed("signature"))


def stage_passer(folder: Path) -> Callable[[str], None]:
    """What a wrapped function calls."""

    def passed(stage: str) -> None:
        waiting = _take(folder / f"hold-{stage}")
        if waiting is not None:
            time.sleep(waiting / 1000)
        victim = _take(folder / stage)
        if victim is not None:
            os.kill(victim, signal.SIGKILL)

    return passed


def _take(path: Path) -> int | None:
    try:
        value = int(path.read_text())
        path.unlink()
    except FileNotFoundError:
        return None
    return value


def _after(owner: Any, name: str, then: Callable[..., object]) -> None:
    genuine = getattr(owner, name)

    @wraps(genuine)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = genuine(*arguments, **options)
        then(*arguments, **options)
        return result

    setattr(owner, name, wrapped)


def _before(owner: Any, name: str, first: Callable[..., object]) -> None:
    genuine = getattr(owner, name)

    @wraps(genuine)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        first(*arguments, **options)
        return genuine(*arguments, **options)

    setattr(owner, name, wrapped)


def _between_answers(link: Any, passed: Callable[[str], None]) -> None:
    """Passes `first-response-frame` when a message with response frames is written and more of them are to come."""
    genuine = link.next
    written: dict[int, bool] = {}

    async def give(self: Any) -> Any:
        if written.pop(id(self), False):
            passed("first-response-frame")
        data = await genuine(self)
        if data is not None:
            answers = [frame.answer for frame in pb.LinkResponse.FromString(data).frames if frame.HasField("answer")]
            written[id(self)] = any(not answer.final for answer in answers)
        return data

    link.next = give


def main() -> None:
    """Wraps the process the arguments name and runs it."""
    from sealbid.__main__ import main as command

    passed = stage_passer(Path(os.environ[FAULT_DIR]))
    if sys.argv[1] == "gateway":
        fault_gateway(passed)
    elif sys.argv[1] == "worker":
        fault_worker(passed)
    elif sys.argv[1] == "--state-dir":
        from gateway.receipts.process import main as write

        fault_journal(passed)
        sys.exit(write())
    command()


if __name__ == "__main__":
    main()
