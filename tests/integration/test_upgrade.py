# SPDX-License-Identifier: Apache-2.0
"""Today's code opens the databases of every released version, and what they hold still proves what it proved.

Each folder of tests/upgrade has the databases of one real run, as text. They are made anew, opened as the processes
that write them do, and then judged from outside: the log under the trust root of then, every receipt by its own bytes.
"""

import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from attestation.codec.labels import sha256
from attestation.receipt import VerifiedReceipt, verify_receipt
from attestation.receipt_file import LoggedEntry
from attestation.registry.sqlmodel_store import SQLiteRegistryStore
from attestation.sealing.halves import Outcome
from attestation.server.state import LOG_DATABASE, STORE_DATABASE
from attestation.tlog import merkle
from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.proof import InclusionProof, verify_tlog_proof
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.tiled import StoredTree
from attestation.trust import TrustRoot, read_trust
from gateway.ledger.ledger import Account, AccountKind, Posting, Transaction, TransactionKind
from gateway.ledger.sqlmodel_store import SQLModelLedger, create_tables
from gateway.receipts.archive import DATABASE, open_records
from gateway.receipts.database import open_writer
from tests.support.log import WholeLogCheck
from tests.upgrade.databases import (
    DATABASES,
    FILES,
    FOLDER,
    current_version,
    dump_file,
    load,
    open_by_writers,
    schema,
    values,
    versions,
)

MAX_BYTES = 200 << 10
PRIVATE = (
    rb"sbk_",
    rb"PRIVATE KEY",
    rb"(?<![\w./])/(?:home|root|work|tmp|var|usr|opt|Users)/",
    rb"(?<![\d.])(?!127\.0\.0\.1\b)\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}:\d",
)


@dataclass(frozen=True)
class Old:
    """The state of one version, made anew and opened once by today's writers."""

    version: str
    state: Path

    @cached_property
    def trust(self) -> TrustRoot:
        """What a party of then held."""
        return read_trust((self.state / "trust.toml").read_bytes())

    @cached_property
    def head(self) -> bytes:
        """The last head its registry signed."""
        return FileHeadStore(self.state / "signed-head").load() or b""

    def entries(self) -> list[bytes]:
        """Every entry of the log, byte for byte."""
        logs = SQLLogs.sqlite(self.state / LOG_DATABASE)
        try:
            store = logs.store(self.trust.origin)
            return [entry.data for entry in store.entries(0, store.state().size)]
        finally:
            logs.close()

    def parsed(self) -> list[Entry]:
        """Every entry, read by today's tables of kinds."""
        return [parse_entry(data) for data in self.entries()]

    def rows(self, database: str, query: str) -> list[Any]:
        """What a plain database client sees."""
        with closing(sqlite3.connect(self.state / database)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module", params=versions())
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Old:
    """Each version in turn."""
    state = tmp_path_factory.mktemp("upgrade") / "state"
    load(FOLDER / request.param, state)
    open_by_writers(state)
    return Old(request.param, state)


def proof_of(old: Old, index: int) -> bytes:
    """A proof made of the stored hashes, as the registry serves it."""
    logs = SQLLogs.sqlite(old.state / LOG_DATABASE)
    try:
        store = logs.store(old.trust.origin)
        state = store.state()
        path = merkle.inclusion_proof(index, state.size, StoredTree(store))
        return InclusionProof(index=index, path=tuple(path), checkpoint=state.published or b"").encode()
    finally:
        logs.close()


def gateway_key(old: Old) -> LoggedEntry:
    """The gateway's key with its proof, out of registry store and log."""
    store = SQLiteRegistryStore(old.state / STORE_DATABASE)
    try:
        (gateway,) = store.gateways()
    finally:
        store.close()
    return LoggedEntry(entry=gateway.key_entry, proof=proof_of(old, gateway.key_index))


def receipts(old: Old) -> dict[bytes, VerifiedReceipt]:
    """Every receipt the journal has, read and verified."""
    reader = open_records(old.state, gateway_key=gateway_key(old))
    try:
        found = {}
        for (request_id,) in old.rows(DATABASE, "SELECT request_id FROM receipt ORDER BY seq"):
            stored = reader.receipt(request_id)
            assert stored is not None
            assert stored.file is not None, stored.pending
            found[request_id] = verify_receipt(stored.file, old.trust)
        return found
    finally:
        reader.close()


def test_this_version_has_its_databases() -> None:
    """A version is not released without the databases that the next one must open."""
    assert current_version() in versions()


@pytest.mark.parametrize("version", versions())
def test_the_dump_is_small_and_of_nowhere(version: str, tmp_path: Path) -> None:
    """A version's folder has at most 200 KiB, no key, no token, no path and no address but loopback's."""
    folder = FOLDER / version
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*FILES, *(dump_file(folder, name).name for name in DATABASES)]
    )
    assert sum(path.stat().st_size for path in folder.iterdir()) < MAX_BYTES
    load(folder, tmp_path / "state")
    stored = [value for name in DATABASES for value in values(tmp_path / "state" / name)]
    texts = [*stored, *(path.read_bytes() for path in folder.iterdir())]
    assert [pattern for pattern in PRIVATE for text in texts if re.search(pattern, text)] == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, b'key = "sbk_aa"'),
        (1, b"-----BEGIN PRIVATE KEY-----"),
        (2, b"see " + bytes(Path("/home", "someone"))),
        (3, b"dial 10.1.2.3:80"),
    ],
)
def test_the_rule_of_nowhere_can_fail(number: int, text: bytes) -> None:
    """Each pattern above recognises what it is meant for."""
    assert re.search(PRIVATE[number], text)


def test_the_schema_of_this_version_is_the_dumped_one(tmp_path: Path) -> None:
    """A database made today has the tables, indices and triggers of this version's dump: a change needs a version."""
    load(FOLDER / current_version(), tmp_path / "dumped")
    (tmp_path / "today").mkdir(mode=0o700)
    open_by_writers(tmp_path / "today")
    for name in DATABASES:
        assert schema(tmp_path / "today" / name) == schema(tmp_path / "dumped" / name)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE receipt ADD COLUMN more TEXT",
        "DROP INDEX ix_attempt_request_id",
        "DROP TRIGGER ledger_entry_no_update",
        "PRAGMA user_version = 7",
    ],
)
def test_any_change_of_a_schema_is_seen(change: str, tmp_path: Path) -> None:
    """A column more, an index or a trigger less, another number: each makes another schema."""
    load(FOLDER / current_version(), tmp_path / "dumped")
    before = schema(tmp_path / "dumped" / DATABASE)
    with closing(sqlite3.connect(tmp_path / "dumped" / DATABASE)) as connection:
        connection.execute(change)
    assert schema(tmp_path / "dumped" / DATABASE) != before


def test_opening_old_databases_changes_no_row(old: Old) -> None:
    """What today's writers make on opening is added beside the rows of then, none of which is touched."""
    rows = {name: Counter(values(old.state / name)) for name in DATABASES}
    load(FOLDER / old.version, old.state.parent / "untouched")
    for name in DATABASES:
        missing = Counter(values(old.state.parent / "untouched" / name)) - rows[name]
        assert not missing


def test_the_log_is_whole_under_its_trust_root(old: Old) -> None:
    """Entries, stored hashes, the signed head and the published checkpoint are of one tree, with a proof each."""
    check = WholeLogCheck(origin=old.trust.origin, log_key=old.trust.log_key)
    data = old.entries()
    head = check.data(data, old.head)
    policy = old.trust.witness_policy
    for index, entry in enumerate(data):
        found = verify_tlog_proof(
            proof_of(old, index), entry, origin=old.trust.origin, log_key=old.trust.log_key, policy=policy
        )
        assert found == (head, index)


def test_the_registry_lists_its_registrations(old: Old) -> None:
    """Admissions stand with the verdict the log has for them, gateways with the entries of their keys."""
    data = old.entries()
    verdicts = [entry.body for entry in old.parsed() if entry.kind is Kind.ATTEST_VERDICT]
    passed = {bytes.fromhex(str(body["keyset_id"])) for body in verdicts if body["verdict"] == "pass"}
    store = SQLiteRegistryStore(old.state / STORE_DATABASE)
    try:
        admissions = [store.admission(keyset_id) for keyset_id in sorted(passed)]
        live, revoked, gateways = store.admissions(after=0, now=0), store.revoked(now=0), store.gateways()
    finally:
        store.close()
    assert {body["verdict"] for body in verdicts} == {"pass", "fail"}
    assert [a.verdict_entry for a in admissions if a] == [data[a.verdict_index] for a in admissions if a]
    assert {admission.keyset_id for admission in live} | set(revoked) == passed
    assert not {admission.keyset_id for admission in live} & set(revoked)
    assert len(live) == len(revoked) == 1
    assert [data[gateway.key_index] for gateway in gateways] == [gateway.key_entry for gateway in gateways]
    assert [parse_entry(data[gateway.tls_index]).kind for gateway in gateways] == [Kind.KEY_ADD]


def test_the_archive_has_the_evidence_of_every_verdict(old: Old) -> None:
    """The bundle each verdict was given on is in the archive under its digest, so that it can be judged again."""
    store = SQLiteRegistryStore(old.state / STORE_DATABASE)
    try:
        for entry in old.parsed():
            if entry.kind is Kind.ATTEST_VERDICT:
                evidence = entry.body["evidence"]
                assert isinstance(evidence, list)
                digests = [bytes.fromhex(blob["sha256"]) for blob in evidence if blob["type"] == "bundle"]
                assert len(digests) == 1
                assert [sha256(store.archived(digest) or b"") for digest in digests] == digests
    finally:
        store.close()


def test_every_receipt_verifies(old: Old) -> None:
    """Each recorded request gives a complete receipt that holds offline, the failed-over and the refused among them."""
    found = receipts(old)
    assert len({receipt.request_id for receipt in found.values()}) == len(found) > 0
    assert {receipt.attempts for receipt in found.values()} == {1, 2}
    assert {receipt.outcome for receipt in found.values()} == {Outcome.ANSWERED, Outcome.REFUSED}
    assert all(receipt.simulated and receipt.worker for receipt in found.values())


def test_charges_are_those_of_the_receipts(old: Old) -> None:
    """A tenant's total is the sum of what its verified receipts state, and the ledger has taken exactly that."""
    found = receipts(old)
    charged = sum(receipt.charge_nanos for receipt in found.values())
    reader = open_records(old.state, gateway_key=gateway_key(old))
    try:
        total = reader.total("acme")
    finally:
        reader.close()
    assert (total.charged_nanos, total.charges) == (charged, sum(each.charge_nanos > 0 for each in found.values()))
    engine = open_writer(old.state / DATABASE)
    try:
        assert SQLModelLedger(engine).balance(Account(kind=AccountKind.USER, owner="acme")) == -charged < 0
    finally:
        engine.dispose()


def transactions(old: Old) -> list[tuple[bytes, Transaction]]:
    """Every transaction of the ledger in the order it was applied, with the digest stored for it."""
    postings: dict[str, list[Posting]] = {}
    for key, kind, owner, amount in old.rows(DATABASE, "SELECT key, kind, owner, amount_nanos FROM ledger_entry"):
        account = Account(kind=AccountKind(kind), owner=owner)
        postings.setdefault(key, []).append(Posting(account=account, amount_nanos=amount))
    query = "SELECT key, kind, digest, created FROM ledger_transaction ORDER BY number"
    return [
        (digest, Transaction(key=key, kind=TransactionKind(kind), postings=tuple(postings[key]), created=created))
        for key, kind, digest, created in old.rows(DATABASE, query)
    ]


def balances(engine: Engine, accounts: set[Account]) -> dict[Account, int]:
    """What these accounts stand at."""
    ledger = SQLModelLedger(engine)
    return {account: ledger.balance(account) for account in accounts}


def test_the_ledger_replays(old: Old, tmp_path: Path) -> None:
    """Applied anew, the transactions give every stored balance; applied again, none of them counts twice."""
    stored = transactions(old)
    replayed = [transaction for _, transaction in stored]
    accounts = {posting.account for transaction in replayed for posting in transaction.postings}
    assert [transaction.digest for transaction in replayed] == [digest for digest, _ in stored]
    engine, fresh = open_writer(old.state / DATABASE), open_writer(tmp_path / "fresh.sqlite")
    try:
        create_tables(fresh)
        assert SQLModelLedger(fresh).post(replayed) == len(replayed) > 0
        assert balances(fresh, accounts) == balances(engine, accounts)
        assert SQLModelLedger(engine).discrepancies() == []
        assert SQLModelLedger(engine).post(replayed) == 0
    finally:
        engine.dispose()
        fresh.dispose()
