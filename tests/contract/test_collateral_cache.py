# SPDX-License-Identifier: Apache-2.0
"""The cache keeps answers across crashes and between processes, within bounds, and never gives back damaged bytes."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral
from attestation.collateral.cache import ORPHAN_AGE, Cached, CollateralCache
from attestation.errors import Reason, SealbidError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ROOT = Path(__file__).parents[2]


def cache(folder: Path, *, limit_bytes: int = 1 << 20, limit_entries: int = 100) -> CollateralCache:
    return CollateralCache(folder, limit_bytes=limit_bytes, limit_entries=limit_entries)


def item(data: bytes, kind: str = "nvidia-rim") -> Collateral:
    return Collateral(kind=kind, data=data)


def found(folder: Path, key: bytes = b"key") -> Cached | None:
    return cache(folder).get(key)


def objects(folder: Path) -> list[Path]:
    return sorted((folder / "objects").iterdir())


def index(folder: Path) -> Path:
    (only,) = (folder / "index").iterdir()
    return only


def test_what_was_put_comes_back_with_its_times(tmp_path: Path) -> None:
    """Items in order, kinds, and both times; also for a new process."""
    items = (item(b"one"), item(b"two", "amd-certificate"))
    cache(tmp_path).put(b"key", items, now=NOW, valid_until=LATER)
    assert found(tmp_path) == Cached(items=items, fetched_at=NOW, valid_until=LATER)
    assert found(tmp_path, b"another") is None


def test_what_is_over_is_still_given_with_its_time(tmp_path: Path) -> None:
    """The cache does not judge: whoever asks sees that it is over."""
    cache(tmp_path).put(b"key", [item(b"old")], now=NOW, valid_until=NOW - timedelta(days=1))
    got = found(tmp_path)
    assert got is not None
    assert got.valid_until < NOW


def test_a_newer_answer_takes_the_place_of_an_older(tmp_path: Path) -> None:
    """One answer per key; the bytes the answers share are there once."""
    cache(tmp_path).put(b"key", [item(b"same"), item(b"old")], now=NOW, valid_until=LATER)
    cache(tmp_path).put(b"key", [item(b"same"), item(b"new")], now=NOW, valid_until=LATER)
    got = found(tmp_path)
    assert got is not None
    assert [part.data for part in got.items] == [b"same", b"new"]
    assert len(objects(tmp_path)) == 3


def test_nothing_on_disk_names_a_machine(tmp_path: Path) -> None:
    """Keys hold chip ids: neither names nor contents of the index do. Others may read nothing."""
    cache(tmp_path / "cache").put(b"chip-0123", [item(b"x")], now=NOW, valid_until=LATER)
    paths = list((tmp_path / "cache").rglob("*"))
    assert not any("chip-0123" in str(path) for path in paths)
    assert b"chip-0123" not in index(tmp_path / "cache").read_bytes()
    for path in (tmp_path / "cache", *paths):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.parametrize("step", ["object", "index"])
def test_a_crash_during_a_write_leaves_the_old_answer(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before either rename the old answer is whole, and the next writer finishes the work."""
    cache(tmp_path).put(b"key", [item(b"old")], now=NOW, valid_until=LATER)
    replacing = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target.parent.name == {"object": "objects", "index": "index"}[step]:
            raise KeyboardInterrupt
        return replacing(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path).put(b"key", [item(b"new")], now=NOW, valid_until=LATER)
    monkeypatch.undo()
    assert found(tmp_path) == Cached(items=(item(b"old"),), fetched_at=NOW, valid_until=LATER)
    cache(tmp_path).put(b"key", [item(b"new")], now=NOW, valid_until=LATER)
    got = found(tmp_path)
    assert got is not None
    assert got.items == (item(b"new"),)


def test_objects_nobody_names_are_swept_once_they_are_old(tmp_path: Path) -> None:
    """What a crash left goes; what another process may be about to name stays."""
    store = cache(tmp_path)
    store.put(b"key", [item(b"kept")], now=NOW, valid_until=LATER)
    for name, age in (("a" * 64, 2 * ORPHAN_AGE), ("b" * 64, ORPHAN_AGE / 2), (f".{'c' * 64}.0", 2 * ORPHAN_AGE)):
        path = tmp_path / "objects" / name
        path.write_bytes(b"orphan")
        os.utime(path, (made := (NOW - age).timestamp(), made))
    store.sweep(NOW)
    assert [path.name for path in objects(tmp_path) if path.read_bytes() == b"orphan"] == ["b" * 64]
    assert found(tmp_path) is not None


def test_damaged_bytes_are_a_miss(tmp_path: Path) -> None:
    """An object that is not its digest, or not there, is never given."""
    cache(tmp_path).put(b"key", [item(b"x" * 100), item(b"y")], now=NOW, valid_until=LATER)
    victim = next(path for path in objects(tmp_path) if path.stat().st_size == 100)
    victim.write_bytes(b"x" * 99 + b"z")
    assert found(tmp_path) is None
    victim.unlink()
    assert found(tmp_path) is None


ENTRY = {"version": 1, "items": [["nvidia-rim", "a" * 64]], "fetched_at": 1, "valid_until": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        json.dumps(ENTRY | {"version": 2}),
        json.dumps(ENTRY | {"items": []}),
        json.dumps(ENTRY | {"items": [["nvidia-rim", "../../../../etc/passwd"]]}),
        json.dumps(ENTRY | {"items": [["nvidia-rim", "A" * 64]]}),
        json.dumps(ENTRY | {"items": [["nvidia-rim", "a" * 64]] * 9}),
        json.dumps(ENTRY | {"items": 5}),
        json.dumps(ENTRY | {"fetched_at": "soon"}),
        json.dumps(ENTRY | {"valid_until": -(10**18)}),
        "[" * 4000,
        " " * 5000,
    ],
)
def test_a_damaged_index_is_a_miss_and_no_way_out(tmp_path: Path, text: str) -> None:
    """Whatever stands in an index entry, the answer is a miss: it opens no other file and raises nothing."""
    cache(tmp_path).put(b"key", [item(b"x")], now=NOW, valid_until=LATER)
    index(tmp_path).write_text(text)
    assert found(tmp_path) is None
    cache(tmp_path).sweep(NOW)
    cache(tmp_path).put(b"key", [item(b"x")], now=NOW, valid_until=LATER)
    assert found(tmp_path) is not None


@given(data=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_index_bytes_are_a_miss_or_an_answer(tmp_path: Path, data: bytes) -> None:
    """The index is total: no bytes make it raise."""
    cache(tmp_path).put(b"key", [item(b"x")], now=NOW, valid_until=LATER)
    index(tmp_path).write_bytes(data)
    found(tmp_path)


def test_the_cache_is_bounded_by_bytes(tmp_path: Path) -> None:
    """The answers fetched longest ago go first; their bytes follow once they are old enough to be orphans."""
    store = cache(tmp_path, limit_bytes=1000)
    for number in range(5):
        data = bytes([number]) * 400
        store.put(b"%d" % number, [item(data)], now=NOW + timedelta(hours=number), valid_until=LATER)
    assert [store.get(b"%d" % number) is not None for number in range(5)] == [False, False, False, True, True]
    store.sweep(datetime.now(UTC) + 2 * ORPHAN_AGE)
    assert sum(path.stat().st_size for path in objects(tmp_path)) <= 1000


def test_the_cache_is_bounded_by_entries(tmp_path: Path) -> None:
    """So many keys and no more, the newest."""
    store = cache(tmp_path, limit_entries=2)
    for number in range(4):
        store.put(b"%d" % number, [item(b"%d" % number)], now=NOW + timedelta(hours=number), valid_until=LATER)
    assert [store.get(b"%d" % number) is not None for number in range(4)] == [False, False, True, True]


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    """Both write the same keys at once, over and over: every read is one of the whole answers, and no write fails."""
    script = (
        "import sys; from pathlib import Path; from tests.contract.test_collateral_cache import hammer;"
        "hammer(Path(sys.argv[1]), sys.argv[2].encode())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name], cwd=ROOT) for name in ("one", "two")
    ]
    assert [process.wait() for process in running] == [0, 0]
    for number in range(4):
        got = found(tmp_path, b"%d" % number)
        assert got is not None
        assert {part.data[:3] for part in got.items} in ({b"one"}, {b"two"})


def hammer(folder: Path, name: bytes) -> None:
    """One process's part of the test above."""
    store, now = cache(folder, limit_entries=4), datetime.now(UTC)  # orphans are told by the files' own times
    for round_ in range(40):
        key = b"%d" % (round_ % 4)
        items = [item(name + b" %d %d" % (round_, place)) for place in range(3)]
        store.put(key, items, now=now + timedelta(seconds=round_), valid_until=now + timedelta(days=1))
        got = store.get(key)
        assert got is None or len({part.data[:3] for part in got.items}) == 1


def test_a_failing_disk_is_a_named_error_without_paths(tmp_path: Path) -> None:
    """What the operating system refuses is STORE_UNAVAILABLE; where the cache lies is not told."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SealbidError) as refused:
        cache(tmp_path / "file")
    assert refused.value.reason is Reason.STORE_UNAVAILABLE
    assert str(tmp_path) not in refused.value.message
