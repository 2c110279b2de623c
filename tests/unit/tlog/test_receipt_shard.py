# SPDX-License-Identifier: Apache-2.0
"""Receipt shards: commitments, quarters, and what stays provable when a shard is gone."""

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog.entry import admin_change
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.proof import verify_tlog_proof
from attestation.tlog.receipt_shard import CommitmentFormat, commitment, shard_origin
from attestation.tlog.sequencer import Sequencer
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.tlog.store import NewEntry
from tests.support.log import NOW, ORIGIN, MemoryHeadStore, WholeLogCheck, change, log_signer, new_log, refusal

SHARD = "log.example/receipts/2026q4"
LATER = NOW + timedelta(days=2192)


def test_a_commitment_hides_and_binds() -> None:
    """The leaf is RFC 2104's HMAC under the salt, known by its first byte; another salt or receipt gives another."""
    leaf = commitment(b"\x0b" * 32, b"Hi There")
    assert (leaf[0], len(leaf)) == (1, 33)
    assert leaf.hex() == "01" + "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"
    assert len({leaf, commitment(b"\x0c" * 32, b"Hi There"), commitment(b"\x0b" * 32, b"Hi there")}) == 3


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_a_salt_has_one_length(salt: bytes) -> None:
    """A shorter salt would hide less."""
    with pytest.raises(ValueError, match="salt has"):
        commitment(salt, b"receipt")


@pytest.mark.parametrize(
    ("at", "quarter"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026q1"),
        (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), "2026q1"),
        (datetime(2026, 4, 1, tzinfo=UTC), "2026q2"),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "2026q4"),
        (datetime(2026, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=2))), "2027q1"),
    ],
)
def test_a_receipt_belongs_to_its_quarter(at: datetime, quarter: str) -> None:
    """Quarters are those of UTC."""
    assert shard_origin("market.example", at) == f"market.example/receipts/{quarter}"


@pytest.mark.parametrize("data", [b"", bytes(33), b"\x01" + bytes(31), b"\x01" + bytes(33), change(1).encoded])
def test_nothing_else_is_logged(data: bytes) -> None:
    """A shard takes commitments and no readable byte."""
    for refuse in (CommitmentFormat().read, lambda data: CommitmentFormat().place(7, NewEntry(data=data))):
        with pytest.raises(MalformedEvidence) as caught:
            refuse(data)
        assert caught.value.reason == Reason.ENTRY_INVALID


def test_a_deleted_shard_leaves_everything_provable(tmp_path: Path) -> None:
    """A shard is frozen, named in the evidence log, kept and deleted: its receipts' proofs still hold, each under the
    final checkpoint, whose own entry is proved by the evidence log; the evidence log has lost nothing."""
    logs = SQLLogs.sqlite(tmp_path / "log.sqlite")
    evidence = new_log(logs.store("log.example/evidence"))
    signer, store = log_signer(SHARD, seed=9), logs.store(SHARD)
    shard = Sequencer(
        origin=SHARD, signer=signer, store=store, heads=MemoryHeadStore(), format=CommitmentFormat(), inception=True
    )
    leaves = [commitment(bytes([number]) * 32, b"receipt") for number in range(20)]
    shard.append([NewEntry(data=leaf) for leaf in leaves])
    final = shard.freeze(NOW, LATER)
    proofs = [shard.served.proof(index) for index in range(20)]
    named = admin_change(by="ops-1", action="shard.freeze", target=SHARD, detail=sha256(final).hexdigest(), at=NOW)
    evidence.append([named])
    evidence.publish(NOW)
    assert refusal(lambda: store.delete(NOW)) == Reason.LOG_FROZEN
    store.delete(LATER)
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        head, found = verify_tlog_proof(proof, leaf, origin=SHARD, log_key=signer.verifier, policy=NO_WITNESSES)
        assert (head.size, found) == (20, index)
        assert refusal(lambda index=index: shard.served.proof(index)) == Reason.NOT_FOUND  # type: ignore[misc]
    assert store.state().published == shard.served.checkpoint() == final
    key = log_signer().verifier
    head, index = verify_tlog_proof(evidence.proof(1), named.encoded, origin=ORIGIN, log_key=key, policy=NO_WITNESSES)
    assert (head.size, index) == (2, 1)
    WholeLogCheck().log(evidence)
    logs.close()
    left = b"".join(path.read_bytes() for path in tmp_path.glob("log.sqlite*"))
    assert named.encoded in left
    assert not [leaf for leaf in leaves if leaf in left], "the commitments are overwritten"
