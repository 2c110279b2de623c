# SPDX-License-Identifier: Apache-2.0
"""The journal's writer as a process: whoever of the two is killed, what was handed over becomes durable, once."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from attestation.errors import SettingsError
from gateway.receipts.archive import DATABASE
from gateway.receipts.database import WriterLock
from gateway.receipts.messages import JournalEvent
from tests.support.journal_process import WORKER, Life


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A gateway's own directory."""
    path = tmp_path / "gateway"
    path.mkdir(mode=0o700)
    return path


@asynccontextmanager
async def living(state_dir: Path, *, capacity: int = 8192) -> AsyncIterator[Life]:
    """A started journal that admitted its worker; closed at the end."""
    life = Life(state_dir, capacity=capacity)
    await life.journal.start()
    life.journal.admit(WORKER.attested)
    try:
        yield life
    finally:
        with contextlib.suppress(ProcessLookupError):
            life.signal(signal.SIGCONT)
        await life.journal.close()


async def test_a_killed_writer_loses_nothing_and_doubles_nothing(state_dir: Path) -> None:
    """Killed with work in the pipe, in memory and on disk, three times: one receipt and one charge each, no gap."""
    async with living(state_dir) as life:
        halves = life.hand_over(64)
        await life.journal.next_commit()
        for size in (200, 64, 1):
            halves |= life.hand_over(size)
            await asyncio.sleep(0)  # the pipe is written when the loop turns
            life.signal(signal.SIGKILL)
            halves |= life.hand_over(10)
            await life.until(partial(halves.issubset, life.kept))
        assert life.kept == halves
        assert life.sequence() == list(range(1, len(halves) + 1))
        assert life.charged() == (len(halves), len(halves))
        assert life.metrics.events[JournalEvent.WRITER_LOST] == 3
        assert len(life.writers) == 4


async def test_a_stopped_writer_is_a_signal_and_loses_nothing(state_dir: Path) -> None:
    """What is handed over is bounded: at the bound nothing more is admitted, and all of it is there afterwards."""
    async with living(state_dir, capacity=20) as life:
        await life.journal.next_commit()
        life.signal(signal.SIGSTOP)
        halves = life.hand_over(10)
        assert not life.journal.overloaded
        halves |= life.hand_over(10)
        assert life.journal.overloaded
        life.hand_over(16)
        life.hand_over(16)  # beyond twice the bound: outcomes are taken, their batch of halves is not
        assert life.metrics.events[JournalEvent.HALF_TURNED_AWAY] == 16
        life.signal(signal.SIGCONT)
        await life.until(lambda: halves <= life.kept)
        await life.until(lambda: len(life.sequence()) == 52)
        assert not life.journal.overloaded


async def test_without_a_writer_the_bound_holds_too(state_dir: Path) -> None:
    """A killed writer is no reason to refuse requests until the bound is reached."""
    async with living(state_dir, capacity=20) as life:
        await life.journal.next_commit()
        life.signal(signal.SIGKILL)
        life.hand_over(10)
        assert not life.journal.overloaded
        life.hand_over(10)
        assert life.journal.overloaded
        await life.until(lambda: len(life.sequence()) == 20)
        assert not life.journal.overloaded


async def test_a_close_leaves_everything_on_disk(state_dir: Path) -> None:
    """Closing commits what was handed over, and the writer ends in order."""
    async with living(state_dir) as life:
        life.hand_over(2000)
    assert life.sequence() == list(range(1, 2001))
    assert life.charged() == (2000, 2000)
    assert life.held_back() == 0
    assert [writer.wait(0) for writer in life.writers] == [0]


async def test_a_writer_killed_while_closing_is_replaced(state_dir: Path) -> None:
    """Also at the end nothing is lost with the writer."""
    async with living(state_dir) as life:
        life.hand_over(300)
        await asyncio.sleep(0)
        life.signal(signal.SIGKILL)
    assert life.sequence() == list(range(1, 301))


_VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.journal_process import WORKER, Life

async def main() -> None:
    life = Life(Path(sys.argv[1]))
    await life.journal.start()
    life.journal.admit(WORKER.attested)
    life.hand_over(250)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_a_killed_gateway_handed_over_becomes_durable(state_dir: Path) -> None:
    """The writer outlives its gateway for as long as it takes; the next gateway's waits for it, and finds all of it."""
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _VICTIM, str(state_dir), env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert await victim.wait() == -signal.SIGKILL
    async with living(state_dir) as life:
        assert life.sequence() == list(range(1, 251))
        assert life.charged() == (250, 250)


_BEGINNER = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.journal_process import Life

async def main() -> None:
    life = Life(Path(sys.argv[1]))
    await life.journal.start()
    for number in range(100):
        life.begin(number)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_an_attempt_begun_outlives_its_gateway_at_once(state_dir: Path) -> None:
    """Killed before its loop turned again: every attempt is on disk, for it was in the pipe when `begin` returned."""
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BEGINNER, str(state_dir), env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert await victim.wait() == -signal.SIGKILL
    async with living(state_dir) as life:
        assert life.begun() == {number.to_bytes(16, "big") for number in range(100)}
        assert life.sequence() == []


async def test_signals_for_the_gateway_do_not_end_its_writer(state_dir: Path) -> None:
    """The writer ends with its gateway's pipe, not with a terminal's or a supervisor's signal; it leaves no core."""
    async with living(state_dir) as life:
        life.signal(signal.SIGINT)
        life.signal(signal.SIGTERM)
        life.hand_over(3)
        await life.until(lambda: len(life.sequence()) == 3)
        assert len(life.writers) == 1
        core = next(line for line in life.limits() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        assert os.getpriority(os.PRIO_PROCESS, life.writers[0].pid) > os.getpriority(os.PRIO_PROCESS, 0)


async def test_a_writer_that_must_not_start_says_why(state_dir: Path) -> None:
    """A state directory open to others is refused at the start, in the words of whoever refused it."""
    os.chmod(state_dir, 0o755)
    life = Life(state_dir)
    with pytest.raises(SettingsError, match="state_dir is open to other users"):
        await life.journal.start()
    await life.journal.close()


async def test_a_writer_that_dies_at_the_start_is_an_error(state_dir: Path) -> None:
    """What is no database is left alone, and the gateway does not start."""
    (state_dir / DATABASE).write_bytes(b"no database" * 1000)
    life = Life(state_dir)
    with pytest.raises(SettingsError, match="before it was ready"):
        await life.journal.start()
    assert (state_dir / DATABASE).read_bytes() == b"no database" * 1000


def test_a_lock_is_waited_for_and_the_wait_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A restarted gateway's writer waits for the earlier one, and says so."""
    waiting = threading.Event()

    def told(_record: logging.LogRecord) -> bool:
        waiting.set()
        return True

    caplog.handler.addFilter(told)
    earlier = WriterLock(tmp_path / "journal.db")
    taken: list[WriterLock] = []
    with caplog.at_level(logging.WARNING):
        later = threading.Thread(target=lambda: taken.append(WriterLock(tmp_path / "journal.db", seconds=60)))
        later.start()
        assert waiting.wait(60)
        assert not taken
        earlier.release()
        later.join()
    assert [record.message for record in caplog.records] == ["journal is in use, waiting for its writer to end"]
    taken[0].release()


def test_the_wait_for_a_lock_ends(tmp_path: Path) -> None:
    """Another gateway that goes on is no reason to wait for ever."""
    held = WriterLock(tmp_path / "journal.db")
    with pytest.raises(SettingsError, match="in use by another process"):
        WriterLock(tmp_path / "journal.db", seconds=0.1)
    held.release()
