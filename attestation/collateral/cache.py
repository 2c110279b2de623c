# SPDX-License-Identifier: Apache-2.0
"""Collateral on disk: bytes by their SHA-256, and an index from what was asked to what was answered.

    objects/<sha256 hex>     the bytes of one piece of collateral
    index/<sha256 hex>       JSON {"version": 1, "items": [[kind, sha256 hex],..], "fetched_at": unix seconds,
                             "valid_until": unix seconds}, named by the digest of the request's key

Keys may name a machine, so only their digests are on disk. Both folders are written by rename, objects first: a crash
leaves at worst an object nobody names, which `sweep` removes. Processes may share a cache: the newest index entry wins.
What reads back damaged is a miss. Nothing here decides what is valid; it only says until when.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from attestation.bundle import MAX_COLLATERAL_BYTES, Collateral
from attestation.errors import Reason, SealbidError

MAX_ITEMS: Final = 8
MAX_INDEX_BYTES: Final = 4096
ORPHAN_AGE: Final = timedelta(hours=1)
"""How long an object may be without an index entry: longer than any process needs between the two writes."""

_VERSION: Final = 1
_MAX_TIME: Final = 253_402_300_799


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """One answer as kept; who uses it looks at the times."""

    items: tuple[Collateral, ...]
    fetched_at: datetime
    valid_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    items: tuple[tuple[str, str], ...]
    fetched_at: datetime
    valid_until: datetime


class CollateralCache:
    """A folder of at most `limit_bytes` of objects and `limit_entries` answers. Any thread; several processes."""

    def __init__(self, folder: Path, *, limit_bytes: int, limit_entries: int) -> None:
        """Makes the folder (mode 0700) if it is not there. Raises `SealbidError` (STORE_UNAVAILABLE)."""
        self._objects = folder / "objects"
        self._index = folder / "index"
        self._limit_bytes = limit_bytes
        self._limit_entries = limit_entries
        with _storing():
            for path in (folder, self._objects, self._index):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, key: bytes) -> Cached | None:
        """What was kept for `key`, whether still valid or not; None if nothing, or if any part of it is damaged."""
        entry = _read_entry(self._index / _name(key))
        if entry is None:
            return None
        items = tuple(self._item(kind, digest) for kind, digest in entry.items)
        whole = tuple(item for item in items if item is not None)
        if len(whole) != len(items):
            return None
        return Cached(items=whole, fetched_at=entry.fetched_at, valid_until=entry.valid_until)

    def put(self, key: bytes, items: Sequence[Collateral], *, now: datetime, valid_until: datetime) -> None:
        """Keeps the answer in place of any for `key`. Raises `SealbidError` (STORE_UNAVAILABLE); then the old stays."""
        with _storing():
            for item in items:
                _write(self._objects / item.sha256.hex(), item.data)
            entry = {
                "version": _VERSION,
                "items": [[item.kind, item.sha256.hex()] for item in items],
                "fetched_at": int(now.timestamp()),
                "valid_until": int(valid_until.timestamp()),
            }
            _write(self._index / _name(key), json.dumps(entry).encode())
        if self._crowded():
            self.sweep(now)

    def sweep(self, now: datetime) -> None:
        """Drops the answers asked for longest ago beyond the limits, then objects that no answer names any more."""
        with _storing():
            kept = self._trim()
            unnamed = [path for path in _files(self._objects) if path.name not in kept]
            for path in (*unnamed, *_unfinished(self._objects), *_unfinished(self._index)):
                with suppress(FileNotFoundError):
                    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    if now - changed > ORPHAN_AGE:
                        path.unlink()

    def _trim(self) -> set[str]:
        """Keeps the newest answers within the limits; the names of their objects."""
        found = [(path, entry) for path in _files(self._index) if (entry := _read_entry(path)) is not None]
        found.sort(key=lambda pair: pair[1].fetched_at, reverse=True)
        kept: set[str] = set()
        size = 0
        for place, (path, entry) in enumerate(found):
            names = {digest for _, digest in entry.items}
            size += sum(_size(self._objects / name) for name in names - kept)
            if place < self._limit_entries and size <= self._limit_bytes:
                kept |= names
            else:
                path.unlink(missing_ok=True)
        return kept

    def _crowded(self) -> bool:
        entries = sum(1 for _ in _files(self._index))
        size = sum(_size(path) for path in _files(self._objects))
        return entries > self._limit_entries or size > self._limit_bytes

    def _item(self, kind: str, digest: str) -> Collateral | None:
        data = _read(self._objects / digest, MAX_COLLATERAL_BYTES)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            return None
        return Collateral(kind=kind, data=data)


class _storing:  # noqa: N801  # a context manager named for what happens inside it
    """Turns a failing disk into a named error that tells no path."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            text = os.strerror(error.errno or 0).lower()
            raise SealbidError(Reason.STORE_UNAVAILABLE, f"collateral cache failed: {text}") from None


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _read_entry(path: Path) -> _Entry | None:
    data = _read(path, MAX_INDEX_BYTES)
    if data is None:
        return None
    try:
        entry = json.loads(data)
        items = tuple((str(kind), str(digest)) for kind, digest in entry["items"])
        times = [
            datetime.fromtimestamp(min(int(entry[name]), _MAX_TIME), UTC) for name in ("fetched_at", "valid_until")
        ]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, OSError):
        return None
    if entry.get("version") != _VERSION or not 0 < len(items) <= MAX_ITEMS or not all(map(_is_digest, items)):
        return None
    return _Entry(items=items, fetched_at=times[0], valid_until=times[1])


def _is_digest(item: tuple[str, str]) -> bool:
    # A digest becomes a file's name: nothing else may.
    return len(item[1]) == 64 and set(item[1]) <= set("0123456789abcdef")


def _files(folder: Path) -> Iterator[Path]:
    """What is whole; the others are somebody's unfinished write."""
    return (path for path in _all(folder) if not path.name.startswith("."))


def _unfinished(folder: Path) -> Iterator[Path]:
    return (path for path in _all(folder) if path.name.startswith("."))


def _all(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as found:
        yield from (Path(entry.path) for entry in found if entry.is_file(follow_symlinks=False))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
