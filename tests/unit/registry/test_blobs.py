# SPDX-License-Identifier: Apache-2.0
"""The archive in a database whose bytes changed."""

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from attestation.errors import Reason
from attestation.registry.sqlmodel_store import SQLiteRegistryStore
from attestation.registry.store import RegistryStoreError

DATA, PART = b"a bundle with evidence in it", b"evidence"


@pytest.mark.parametrize(("place", "asked"), [(0, DATA), (15, DATA), (15, PART)])
def test_changed_bytes_are_not_handed_out(tmp_path: Path, place: int, asked: bytes) -> None:
    """Whoever changes a byte in the database is named, for the whole and for the part it lies in; other parts stay."""
    store = SQLiteRegistryStore(tmp_path / "registry.sqlite")
    store.archive(sha256=sha256(DATA).digest(), data=DATA, parts=[PART, b"bundle"])
    assert store.archived(sha256(asked).digest()) == asked
    changed = bytearray(DATA)
    changed[place] ^= 1
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database:
        database.execute("UPDATE reg_blob SET data = ?", [bytes(changed)])
        database.commit()
    with pytest.raises(RegistryStoreError) as caught:
        store.archived(sha256(asked).digest())
    assert caught.value.reason == Reason.TAMPERED
    assert store.archived(sha256(b"bundle").digest()) == b"bundle"
    store.close()


def test_a_lost_bundle_takes_its_parts_along(tmp_path: Path) -> None:
    """A part whose bundle is gone is damage, not a part that was never there."""
    store = SQLiteRegistryStore(tmp_path / "registry.sqlite")
    store.archive(sha256=sha256(DATA).digest(), data=DATA, parts=[PART])
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database:
        database.execute("DELETE FROM reg_blob")
        database.commit()
    with pytest.raises(RegistryStoreError) as caught:
        store.archived(sha256(PART).digest())
    assert caught.value.reason == Reason.TAMPERED
    store.close()
