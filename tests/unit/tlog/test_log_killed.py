# SPDX-License-Identifier: Apache-2.0
"""The sequencing process is killed without warning, at every step and at any time: nothing accepted is lost.

Run on SQLite and on PostgreSQL. After each death the log is opened as by a restart and held to all that its processes
had been told (`tests.support.log_process`): accepted entries, entries handed in, checkpoints shown and signed.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attestation.tlog.store import Step
from tests.support.log_process import Mother, Place, check_after_death
from tests.support.postgres import PostgresServer, postgres_server

SQLITE = "sqlite"
DATABASES = [SQLITE, pytest.param("postgres", marks=pytest.mark.net)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    """The process that all others are forked from."""
    running = Mother()
    yield running
    running.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new log on the database the test was asked to use."""
    if request.param == SQLITE:
        return Place(tmp_path, SQLITE)
    running: PostgresServer = request.getfixturevalue("server")
    return Place(tmp_path, running.database())


@pytest.mark.parametrize("place", DATABASES, indirect=True)
@pytest.mark.parametrize("step", list(Step))
def test_killed_after_every_step(place: Place, step: Step, mother: Mother) -> None:
    """A process that dies after a step, early in its life and later, leaves a log that opens and lost nothing."""
    sizes = [0]
    for often in (0, 1, 4):
        mother.start(place, dies=f"{step.replace(' ', '-')}/{often}", seed=often)
        assert mother.ended() == -signal.SIGKILL
        sizes.append(check_after_death(place).size)
    assert sizes == sorted(set(sizes)), "each life added something"


def killed_at_random(place: Place, mother: Mother, times: int) -> None:
    """Kills as many processes of one log: every other while it may still be opening, the rest in the midst of work."""
    chance = random.Random(20261122)
    begin = time.monotonic()
    pid = mother.start(place)
    wait_for_checkpoints(place, pid, 3)
    usual = time.monotonic() - begin  # how long this machine, as busy as it is, takes to begin and work a little
    for life in range(1, times + 1):
        os.kill(pid, signal.SIGKILL)
        assert mother.ended() == -signal.SIGKILL, "it worked until it was killed"
        check_after_death(place)
        if life < times:
            shown = len(place.told("shown"))
            pid = mother.start(place, seed=life)
            if life % 2:
                wait_for_checkpoints(place, pid, shown + 1)
            time.sleep(chance.uniform(0, usual))


@pytest.mark.parametrize("place", DATABASES, indirect=True)
def test_killed_at_any_time(place: Place, mother: Mother) -> None:
    """Ten deaths of one log at random times."""
    killed_at_random(place, mother, 10)


@pytest.mark.slow
@pytest.mark.parametrize("place", DATABASES, indirect=True)
def test_killed_at_any_time_two_hundred_times(place: Place, mother: Mother) -> None:
    """Two hundred deaths of one log at random times."""
    killed_at_random(place, mother, 200)


@pytest.mark.net
def test_the_database_server_dies(mother: Mother, tmp_path: Path) -> None:
    """A database server that is killed, and every sequencer with it, has on its disk what it acknowledged."""
    with postgres_server() as server:
        place = Place(tmp_path, server.database())
        for life in range(3):
            pid = mother.start(place, seed=life)
            wait_for_checkpoints(place, pid, len(place.told("shown")) + 3)
            server.stop(signal.SIGQUIT)
            assert mother.ended() == 1, "the process ended by the error that its database is gone"
            server.start()
            check_after_death(place)


def wait_for_checkpoints(place: Place, pid: int, count: int) -> None:
    """Waits until the log's processes have shown so many checkpoints in all; one that ended shows none any more."""
    while len(place.told("shown")) < count:
        os.kill(pid, 0)
        time.sleep(0.01)
