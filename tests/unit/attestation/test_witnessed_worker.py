# SPDX-License-Identifier: Apache-2.0
"""A worker's verdict under the caller's own witness policy: whose cosignatures it needs, and how old they may be."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from attestation.attested import AttestedWorker
from attestation.errors import Reason, SealbidError
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.note import parse_note
from attestation.tlog.policy import NO_WITNESSES, parse_witness_policy
from attestation.tlog.proof import InclusionProof
from attestation.tlog.quorum import CLOCK_SKEW_SECONDS, WitnessPolicy
from attestation.verify import PresentedWorker, verify_worker
from tests.support.witnessing import policy_of, witness_signer
from tests.support.worlds import SIMULATED, Machine, World, world

ONE = witness_signer(61, "one.example/w")
TWO = witness_signer(62, "two.example/w")
WITNESSES = policy_of(one=ONE, two=TWO)
BOTH = parse_witness_policy(WITNESSES + "group both all one two\nquorum both\n")
ANY = parse_witness_policy(WITNESSES + "group any any one two\nquorum any\n")
EITHER = pytest.mark.parametrize("policy", [BOTH, ANY], ids=["both", "any"])


@dataclass
class Scene:
    """A world whose one worker is presented under cosignatures that a test chooses."""

    here: World
    presented: PresentedWorker

    def cosigned(self, *signatures: tuple[object, float]) -> PresentedWorker:
        """The worker, its checkpoint cosigned by these signers, each so many seconds ago."""
        proof = InclusionProof.decode(self.presented.verdict_proof)
        text, _ = parse_note(proof.checkpoint)
        now = int(self.here.clock.now.timestamp())
        lines = "".join(signer.cosign(text, now - int(ago)).text for signer, ago in signatures)  # type: ignore[attr-defined]
        cosigned = replace(proof, checkpoint=proof.checkpoint + lines.encode())
        return replace(self.presented, verdict_proof=cosigned.encode())

    def verify(
        self, presented: PresentedWorker, policy: WitnessPolicy, heartbeat: bytes | None = None
    ) -> AttestedWorker:
        return verify_worker(
            presented,
            heartbeat=heartbeat or self.here.heartbeat(),
            trust=replace(self.here.trust, witness_policy=policy),
            policy=self.here.policy,
            verifiers=SIMULATED,
            now=self.here.clock.now,
        )

    def accepts(self, presented: PresentedWorker, policy: WitnessPolicy) -> None:
        assert self.verify(presented, policy).verdict_entry == self.presented.verdict_entry

    def reason(self, presented: PresentedWorker, policy: WitnessPolicy, heartbeat: bytes | None = None) -> Reason:
        with pytest.raises(SealbidError) as refused:
            self.verify(presented, policy, heartbeat)
        return refused.value.reason


@pytest.fixture
def scene() -> Scene:
    here = world()
    return Scene(here, here.admit(Machine()))


@EITHER
def test_a_verdict_that_the_quorum_cosigned_is_accepted(scene: Scene, policy: WitnessPolicy) -> None:
    """Both of two, or one of two: the same note satisfies each caller's own policy, and `none` too."""
    presented = scene.cosigned((ONE, 0), (TWO, 0))
    for asked in (policy, NO_WITNESSES):
        scene.accepts(presented, asked)


def test_each_caller_s_own_policy_decides(scene: Scene) -> None:
    """One cosignature is enough for one of two, and not for two of two, whatever the registry asked for."""
    presented = scene.cosigned((ONE, 0))
    scene.accepts(presented, ANY)
    assert scene.reason(presented, BOTH) is Reason.CHECKPOINT_INVALID


@EITHER
def test_a_verdict_that_nobody_cosigned_is_only_the_operator_s_word(scene: Scene, policy: WitnessPolicy) -> None:
    """It is refused under any quorum, accepted under `none`, and none is shown as what it is."""
    assert scene.reason(scene.presented, policy) is Reason.CHECKPOINT_INVALID
    scene.accepts(scene.presented, NO_WITNESSES)
    assert NO_WITNESSES.display == "operator's word only"


@EITHER
def test_a_forged_cosignature_refuses_the_note(scene: Scene, policy: WitnessPolicy) -> None:
    """A line under a witness's name that does not verify is no missing line: somebody lies."""
    proof = InclusionProof.decode(scene.presented.verdict_proof)
    text, _ = parse_note(proof.checkpoint)
    now = int(scene.here.clock.now.timestamp())
    forged = replace(ONE.cosign(text, now), signature=bytes(72))
    note = proof.checkpoint + forged.text.encode() + TWO.cosign(text, now).text.encode()
    presented = replace(scene.presented, verdict_proof=replace(proof, checkpoint=note).encode())
    assert scene.reason(presented, policy) is Reason.CHECKPOINT_INVALID


@EITHER
def test_cosignatures_of_another_head_do_not_count(scene: Scene, policy: WitnessPolicy) -> None:
    """A split view: witnesses that saw another root for this size have not cosigned this one."""
    proof = InclusionProof.decode(scene.presented.verdict_proof)
    head = Checkpoint.parse(parse_note(proof.checkpoint)[0])
    now = int(scene.here.clock.now.timestamp())
    other = replace(head, root=bytes(32)).text
    lines = "".join(signer.cosign(other, now).text for signer in (ONE, TWO))
    note = proof.checkpoint + lines.encode()
    presented = replace(scene.presented, verdict_proof=replace(proof, checkpoint=note).encode())
    assert scene.reason(presented, policy) is Reason.CHECKPOINT_INVALID


@EITHER
def test_stale_cosignatures_are_refused_to_the_second(scene: Scene, policy: WitnessPolicy) -> None:
    """The age of a head is that of its quorum, however young a heartbeat says it is."""
    limit = scene.here.policy.max_checkpoint_age_seconds
    scene.accepts(scene.cosigned((ONE, limit), (TWO, limit)), policy)
    assert scene.reason(scene.cosigned((ONE, limit + 1), (TWO, limit + 1)), policy) is Reason.CHECKPOINT_STALE


def test_one_young_cosignature_makes_no_old_quorum_young(scene: Scene) -> None:
    """Two of two are as old as the older one; one of two as young as the younger."""
    limit = scene.here.policy.max_checkpoint_age_seconds
    presented = scene.cosigned((ONE, 0), (TWO, limit + 1))
    assert scene.reason(presented, BOTH) is Reason.CHECKPOINT_STALE
    scene.accepts(presented, ANY)


def test_cosignatures_from_the_future_are_no_proof_of_age(scene: Scene) -> None:
    """A witness whose clock runs far ahead says nothing on age; a little is borne."""
    scene.accepts(scene.cosigned((ONE, -CLOCK_SKEW_SECONDS), (TWO, 0)), BOTH)
    ahead = scene.cosigned((ONE, -CLOCK_SKEW_SECONDS - 1), (TWO, 0))
    assert scene.reason(ahead, BOTH) is Reason.CHECKPOINT_STALE
    scene.accepts(ahead, ANY)


@EITHER
def test_a_young_quorum_makes_no_old_heartbeat_young(scene: Scene, policy: WitnessPolicy) -> None:
    """Revocations stand in the heartbeat, so its own age is bounded whoever dates the head."""
    heartbeat = scene.here.heartbeat()
    limit = scene.here.policy.max_checkpoint_age_seconds
    scene.here.clock.now += timedelta(seconds=limit + 1)
    presented = scene.cosigned((ONE, 0), (TWO, 0))
    scene.accepts(presented, policy)
    assert scene.reason(presented, policy, heartbeat) is Reason.CHECKPOINT_STALE
