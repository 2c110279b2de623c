# SPDX-License-Identifier: Apache-2.0
"""What a witness's memory promises: the last note by compare-and-swap, kept, and never less than was cosigned."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.tlog.add_checkpoint import origin_hash
from attestation.tlog.store import LogError
from attestation.witness.store import FileWitnessStore, WitnessStore, head_of
from tests.support.log import ORIGIN, log_signer, refusal
from tests.support.witnessing import Leaves, MemoryWitnessStore

LOG = Leaves()
OTHER = Leaves(signer=log_signer("other.example/log"))


def _on_disk(folder: Path) -> FileWitnessStore:
    notes, guards = folder / "notes", folder / "guards"
    notes.mkdir(exist_ok=True)
    guards.mkdir(exist_ok=True)
    return FileWitnessStore(notes, guards)


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WitnessStore:
    return MemoryWitnessStore() if request.param == "memory" else _on_disk(tmp_path)


def test_a_note_is_kept_by_origin(store: WitnessStore) -> None:
    """What was swapped in is loaded again, for its log and no other."""
    assert store.load(ORIGIN) is None
    store.swap(ORIGIN, None, LOG.note(3))
    store.swap(ORIGIN, LOG.note(3), LOG.note(5))
    assert store.load(ORIGIN) == LOG.note(5)
    assert store.load("other.example/log") is None
    store.swap("other.example/log", None, OTHER.note(1))
    assert store.load(ORIGIN) == LOG.note(5)


def test_a_swap_of_another_note_than_expected_changes_nothing(store: WitnessStore) -> None:
    """Two that judged from the same note cannot both go on from it."""
    store.swap(ORIGIN, None, LOG.note(3))
    assert refusal(lambda: store.swap(ORIGIN, None, LOG.note(4))) is Reason.LOG_FORK
    assert refusal(lambda: store.swap(ORIGIN, LOG.note(2), LOG.note(4))) is Reason.LOG_FORK
    assert store.load(ORIGIN) == LOG.note(3)


def test_of_many_that_swap_at_once_one_wins(store: WitnessStore) -> None:
    """The race of C2SP tlog-witness: whoever comes second is refused, so no smaller head replaces a larger one."""
    store.swap(ORIGIN, None, LOG.note(1))

    def swap(size: int) -> bool:
        try:
            store.swap(ORIGIN, LOG.note(1), LOG.note(size))
        except LogError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(swap, range(2, 34)))
    assert won.count(True) == 1
    assert store.load(ORIGIN) == LOG.note(2 + won.index(True))


def test_what_is_remembered_as_cosigned_closes_the_log(store: WitnessStore) -> None:
    """Once it is known that more was signed than is kept, nothing is loaded to go on from."""
    store.swap(ORIGIN, None, LOG.note(3))
    store.remember(ORIGIN, LOG.note(9))
    assert refusal(lambda: store.load(ORIGIN)) is Reason.LOG_ROLLBACK


def test_another_process_finds_the_note(tmp_path: Path) -> None:
    """The files are the memory: a store opened anew loads what the last one kept."""
    _on_disk(tmp_path).swap(ORIGIN, None, LOG.note(3))
    assert _on_disk(tmp_path).load(ORIGIN) == LOG.note(3)


@pytest.mark.parametrize("restore", ["an older note", "no note"])
def test_notes_restored_from_a_backup_are_refused(tmp_path: Path, restore: str) -> None:
    """With the guard kept apart, yesterday's notes, or none, are known to be behind what was cosigned."""
    store = _on_disk(tmp_path)
    store.swap(ORIGIN, None, LOG.note(3))
    backup = tmp_path / "backup"
    shutil.copytree(tmp_path / "notes", backup)
    store.swap(ORIGIN, LOG.note(3), LOG.note(5))
    shutil.rmtree(tmp_path / "notes")
    if restore == "an older note":
        shutil.copytree(backup, tmp_path / "notes")
    restored = _on_disk(tmp_path)
    assert refusal(lambda: restored.load(ORIGIN)) is Reason.LOG_ROLLBACK
    (tmp_path / "notes" / origin_hash(ORIGIN)).write_bytes(LOG.note(5))
    assert restored.load(ORIGIN) == LOG.note(5), "the newest note, put back by a person, opens the log again"


def _lost(folder: Path) -> Callable[[], object]:
    store = _on_disk(folder)
    shutil.rmtree(folder / "notes")
    return lambda: store.swap(ORIGIN, None, LOG.note(1))


def test_a_folder_that_went_away_is_a_failure_of_storage(tmp_path: Path) -> None:
    """An unmounted volume is no empty memory."""
    assert refusal(_lost(tmp_path)) is Reason.STORE_UNAVAILABLE


def test_a_crash_between_note_and_guard_is_caught_up(tmp_path: Path) -> None:
    """A guard that is behind its note stops nothing, and the next note moves it on."""
    store = _on_disk(tmp_path)
    store.swap(ORIGIN, None, LOG.note(3))
    (tmp_path / "notes" / origin_hash(ORIGIN)).write_bytes(LOG.note(4))
    assert store.load(ORIGIN) == LOG.note(4)
    store.swap(ORIGIN, LOG.note(4), LOG.note(6))
    guard = (tmp_path / "guards" / origin_hash(ORIGIN)).read_bytes()
    assert head_of(guard).size == 6
