# SPDX-License-Identifier: Apache-2.0
"""A gateway's one database: journal and ledger in one file, so that receipt and charge commit together.

The writer opens it with its lock and makes the tables that are missing; the reader has an engine of its own, in the
gateway's process, and opens after the writer is ready.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.receipt_file import LoggedEntry
from gateway.ledger.sqlmodel_store import create_tables
from gateway.receipts.database import WriterLock, open_reader, open_writer
from gateway.receipts.memo import MemoKey
from gateway.receipts.reader import JournalReader
from gateway.receipts.store import SQLJournalStore
from gateway.receipts.work import Settle

DATABASE: Final = "journal.sqlite"


@contextmanager
def open_store(
    state_dir: Path,
    *,
    signing_key: Ed25519PrivateKey,
    memo_key: MemoKey,
    instance: bytes,
    settle: Settle,
    lock_seconds: float,
) -> Iterator[SQLJournalStore]:
    """The database in `state_dir` to write to. Raises `SettingsError` while another process holds it for so long."""
    path = state_dir / DATABASE
    with ExitStack() as files:
        files.callback(WriterLock(path, seconds=lock_seconds).release)
        engine = open_writer(path)
        files.callback(engine.dispose)
        store = SQLJournalStore(
            engine=engine, signing_key=signing_key, memo_key=memo_key, instance=instance, settle=settle
        )
        store.create()
        create_tables(engine)
        yield store


def open_records(state_dir: Path, *, gateway_key: LoggedEntry) -> JournalReader:
    """The database in `state_dir` to read from, beside its writer. The caller closes it."""
    return JournalReader(engine=open_reader(state_dir / DATABASE), gateway_key=gateway_key)
