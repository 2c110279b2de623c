# SPDX-License-Identifier: Apache-2.0
"""What an operator who holds the log's key can do to readers, with and without witnesses.

Each scenario is played twice: before a reader under witness policy `none`, for whom the operator's word is enough, and
before one who asks for the cosignatures of two witnesses. What `none` cannot catch is asserted too: it is its limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from attestation.errors import NotGenuine, Reason, SealbidError
from attestation.server.witness_telemetry import WitnessTelemetry
from attestation.server.witnesses import Witnesses
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, open_signed_checkpoint, sign_checkpoint
from attestation.tlog.entry import Entry
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.note import NoteSigner, sign_note
from attestation.tlog.policy import NO_WITNESSES, parse_witness_policy
from attestation.tlog.proof import InclusionProof, verify_tlog_proof
from attestation.tlog.quorum import WitnessPolicy
from attestation.tlog.store import LogError
from attestation.witness.witness import Witness, WitnessedLog
from tests.support.log import (
    NOW,
    ORIGIN,
    MemoryHeadStore,
    MemoryLogStore,
    change,
    genesis,
    log_signer,
    refusal,
    verdict,
)
from tests.support.witnessing import Hands, Network, new_witness, policy_of, serving, witness_signer

ONE = witness_signer(61, "one.example/w")
TWO = witness_signer(62, "two.example/w")
QUORUM = parse_witness_policy(policy_of(one=ONE, two=TWO) + "group both all one two\nquorum both\n")
NEXT = "log.example/evidence/2027"


@dataclass
class Stage:
    """Two witnesses of the test log and of its successor, a reader's policy, and whoever asks them or nobody."""

    policy: WitnessPolicy
    clock: Hands = field(default_factory=Hands)
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        logs = [
            WitnessedLog(origin=key.name, keys=(key.verifier,), per_day=10_000)
            for key in (log_signer(), log_signer(NEXT, seed=7))
        ]
        self.witnesses: dict[str, Witness] = {
            name: new_witness(signers=[signer], logs=logs, clock=self.clock)
            for name, signer in (("one", ONE), ("two", TWO))
        }
        self.network.answers.update({name: serving(witness) for name, witness in self.witnesses.items()})

    @property
    def witnessed(self) -> bool:
        return self.policy is not NO_WITNESSES

    def log(self, *entries: Entry, signer: NoteSigner | None = None, ask: bool = True) -> EvidenceLog:
        """A log of these entries after its genesis, published."""
        return self.reopened(MemoryLogStore(), MemoryHeadStore(), entries, signer=signer, ask=ask)

    def reopened(
        self,
        store: MemoryLogStore,
        heads: MemoryHeadStore,
        entries: Sequence[Entry],
        *,
        signer: NoteSigner | None = None,
        ask: bool = True,
    ) -> EvidenceLog:
        key = signer or log_signer()
        log = EvidenceLog(
            origin=key.name,
            signer=key,
            store=store,
            heads=heads,
            inception=True,
            cosigner=self._asking(key) if ask and self.witnessed else None,
        )
        log.append(([genesis(signer=key)] if log.size() == 0 else []) + list(entries))
        log.publish(self.clock.now)
        return log

    def _asking(self, key: NoteSigner) -> Witnesses:
        return Witnesses(
            policy=self.policy,
            log_key=key.verifier,
            transport=self.network,
            seconds=30,
            grace_seconds=30,
            fail_open=False,
            telemetry=WitnessTelemetry(registry=CollectorRegistry(), profile="SIMULATED"),
            clock=self.clock,
        )

    def reads(self, note: bytes, signer: NoteSigner | None = None) -> Checkpoint:
        """What a reader with this policy takes a note for."""
        key = signer or log_signer()
        return open_checkpoint(note, origin=key.name, log_key=key.verifier, policy=self.policy)

    def believes(self, proof: bytes, entry: Entry) -> int:
        """The index at which a reader with this policy takes an entry to be logged."""
        key = log_signer().verifier
        return verify_tlog_proof(proof, entry.encoded, origin=ORIGIN, log_key=key, policy=self.policy)[1]

    def refuses(self, note: bytes) -> bool:
        try:
            self.reads(note)
        except NotGenuine as error:
            return error.reason is Reason.CHECKPOINT_INVALID
        return False


@pytest.fixture(params=[NO_WITNESSES, QUORUM], ids=["none", "quorum"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_an_honest_log_is_read(stage: Stage) -> None:
    """Without an attack every policy reads the log and its proofs."""
    log = stage.log(change(1), verdict())
    assert stage.reads(log.checkpoint()).size == 3
    assert stage.believes(log.proof(2), verdict()) == 2


def test_split_view(stage: Stage) -> None:
    """Two histories under one key: with witnesses only one of them is ever readable; without, only comparing tells."""
    shown_to_one = stage.log(change(1), change(2))
    if stage.witnessed:
        assert refusal(lambda: stage.log(change(1), change(3))) is Reason.STORE_UNAVAILABLE
    other = stage.log(change(1), change(3), ask=False).checkpoint()
    assert stage.refuses(other) is stage.witnessed
    one, two = stage.reads(shown_to_one.checkpoint()), Checkpoint.read(other.decode().partition("\n\n")[0] + "\n")
    with pytest.raises(NotGenuine) as told:
        merkle.verify_consistency(one.size, one.root, two.size, two.root, [])
    assert told.value.reason is Reason.PROOF_INVALID


def test_split_view_that_continues_on_both_sides(stage: Stage) -> None:
    """A second history that overtakes the first in size gains nothing: witnesses want the proof from what they saw."""
    stage.log(change(1), change(2))
    if stage.witnessed:
        longer = [change(number) for number in range(3, 9)]
        assert refusal(lambda: stage.log(change(1), *longer)) is Reason.STORE_UNAVAILABLE
    other = stage.log(change(1), *[change(number) for number in range(3, 9)], ask=False)
    assert stage.refuses(other.checkpoint()) is stage.witnessed


def test_rollback(stage: Stage) -> None:
    """A log restored with its head store from before a revocation: witnesses know that it was longer."""
    first = stage.log(change(1))
    assert stage.reads(first.checkpoint()).size == 2
    stage_store, heads = MemoryLogStore(), MemoryHeadStore()
    grown = stage.reopened(stage_store, heads, [change(1), change(2), change(3)])
    assert stage.reads(grown.checkpoint()).size == 4
    if stage.witnessed:
        assert refusal(lambda: stage.log(change(1), change(2))) is Reason.STORE_UNAVAILABLE
    restored = stage.log(change(1), change(2), ask=False)
    assert stage.refuses(restored.checkpoint()) is stage.witnessed


def test_one_leaf_forgery(stage: Stage) -> None:
    """A tree of one forged verdict proves it with an empty path; only cosignatures say that the log is larger."""
    stage.log(change(1), change(2))
    forged = verdict(worker_id=b"\x66" * 32)
    head = Checkpoint(origin=ORIGIN, size=1, root=merkle.leaf_hash(forged.encoded))
    proof = InclusionProof(index=0, path=(), checkpoint=sign_checkpoint(head, log_signer())).encode()
    if not stage.witnessed:
        assert stage.believes(proof, forged) == 0, "the operator's word only"
        return
    with pytest.raises(NotGenuine) as refused:
        stage.believes(proof, forged)
    assert refused.value.reason is Reason.CHECKPOINT_INVALID


def test_one_leaf_forgery_with_the_cosignatures_of_the_true_head(stage: Stage) -> None:
    """Lines moved from the true note onto the forged head do not verify there."""
    log = stage.log(change(1), change(2))
    forged = verdict(worker_id=b"\x66" * 32)
    head = Checkpoint(origin=ORIGIN, size=1, root=merkle.leaf_hash(forged.encoded))
    lines = log.checkpoint().partition(b"\n\n")[2].split(b"\n", 1)[1]
    assert bool(lines) is stage.witnessed
    assert stage.refuses(sign_checkpoint(head, log_signer()) + lines) is stage.witnessed


def test_stale_cosignature(stage: Stage) -> None:
    """An old head kept alive: its quorum's time says how old it is; under `none` nothing in the note does."""
    log = stage.log(change(1))
    key = log_signer().verifier
    opened = open_signed_checkpoint(log.checkpoint(), origin=ORIGIN, log_key=key, policy=stage.policy)
    stage.policy.check_age(opened.note, now=NOW + timedelta(seconds=60), max_age_seconds=60)
    if not stage.witnessed:
        stage.policy.check_age(opened.note, now=NOW + timedelta(days=900), max_age_seconds=60)
        return
    with pytest.raises(SealbidError) as stale:
        stage.policy.check_age(opened.note, now=NOW + timedelta(seconds=61), max_age_seconds=60)
    assert stale.value.reason is Reason.CHECKPOINT_STALE


def test_a_quiet_log_is_kept_young(stage: Stage) -> None:
    """Publishing again without a new entry renews the cosignatures, so that a live log never goes stale."""
    log = stage.log(change(1))
    stage.clock.forward(3600)
    log.publish(stage.clock.now)
    opened = open_signed_checkpoint(log.checkpoint(), origin=ORIGIN, log_key=log_signer().verifier, policy=stage.policy)
    stage.policy.check_age(opened.note, now=stage.clock.now, max_age_seconds=1)


def test_key_rotation_under_one_origin(stage: Stage) -> None:
    """A new key under the old name, a thief's or a careless operator's: neither witnesses nor readers know it."""
    stage.log(change(1))
    other = log_signer(seed=9)
    if stage.witnessed:
        assert refusal(lambda: stage.log(change(1), signer=other)) is Reason.STORE_UNAVAILABLE
    assert stage.refuses(stage.log(change(1), signer=other, ask=False).checkpoint())


def test_key_rotation_to_a_new_origin(stage: Stage) -> None:
    """A new key comes with a new origin, which witnesses that were told of it cosign, beside the old one."""
    old = stage.log(change(1), change(2))
    successor = log_signer(NEXT, seed=7)
    new = stage.log(change(3), signer=successor)
    assert stage.reads(new.checkpoint(), successor).size == 2
    assert stage.reads(old.checkpoint()).size == 3
    assert stage.refuses(new.checkpoint()), "the new log's head is none of the old log"


def test_frozen_shard(stage: Stage) -> None:
    """A frozen log keeps its last quorum for good: proofs under it verify years later, with no witness alive."""
    log = stage.log(change(1), verdict())
    final = log.sequencer.freeze(stage.clock.now, stage.clock.now + timedelta(days=365))
    stage.clock.forward(300 * 86_400)
    stage.network.answers.clear()
    assert stage.reads(log.checkpoint()) == stage.reads(final)
    assert stage.believes(log.proof(2), verdict()) == 2
    with pytest.raises(LogError) as closed:
        log.append([change(4)])
    assert closed.value.reason is Reason.LOG_FROZEN


def test_a_shard_freezes_only_under_its_quorum(stage: Stage) -> None:
    """The final head is what the shard is judged by for ever, so without its witnesses a log stays open."""
    log = stage.log(change(1))
    stage.network.answers.clear()
    log.append([change(2)])
    end = stage.clock.now + timedelta(days=365)
    if not stage.witnessed:
        log.sequencer.freeze(stage.clock.now, end)
        assert stage.reads(log.checkpoint()).size == 3
        return
    assert refusal(lambda: log.sequencer.freeze(stage.clock.now, end)) is Reason.STORE_UNAVAILABLE
    assert log.append([change(3)]) == range(3, 4)


def test_extension_lines_hide_nothing_under_cosignatures(stage: Stage) -> None:
    """Readers refuse extension lines, cosigned or not: no monitor could audit what they say."""
    log = stage.log(change(1))
    head = stage.reads(log.checkpoint())
    note = sign_note(head.text + "extra\n", [log_signer()])
    with pytest.raises(SealbidError):
        stage.reads(note)
