# SPDX-License-Identifier: Apache-2.0
"""The gateway's one database: journal and ledger in one file, so that receipt and charge commit together.

Opening it takes the writer's lock and makes the tables that are missing; the reader has an engine of its own.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.receipt_file import LoggedEntry
from gateway.ledger.sqlmodel_store import create_tables
from gateway.receipts.database import WriterLock, open_reader, open_writer
from gateway.receipts.memo import MemoKey
from gateway.receipts.reader import JournalReader
from gateway.receipts.store import Settle, SQLJournalStore

DATABASE: Final = "journal.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The open database of one gateway process."""

    store: SQLJournalStore
    reader: JournalReader
    _files: ExitStack = field(repr=False)

    def close(self) -> None:
        """Closes both engines, then lets go of the lock."""
        self._files.close()


def open_archive(
    state_dir: Path,
    *,
    signing_key: Ed25519PrivateKey,
    memo_key: MemoKey,
    instance: bytes,
    settle: Settle,
    gateway_key: LoggedEntry,
) -> Archive:
    """Opens the database in `state_dir`. Raises `SettingsError` when another process holds it."""
    path = state_dir / DATABASE
    with ExitStack() as files:
        lock = WriterLock(path)
        files.callback(lock.release)
        writer = open_writer(path)
        files.callback(writer.dispose)
        store = SQLJournalStore(
            engine=writer, signing_key=signing_key, memo_key=memo_key, instance=instance, settle=settle
        )
        store.create()
        create_tables(writer)
        reader = open_reader(path)
        files.callback(reader.dispose)
        return Archive(
            store=store, reader=JournalReader(engine=reader, gateway_key=gateway_key), _files=files.pop_all()
        )
