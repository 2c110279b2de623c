# SPDX-License-Identifier: Apache-2.0
"""A registry asks its witnesses: whoever is down, slow, behind, forked or lying is named and never counted."""

import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from attestation.collateral.transport import Response
from attestation.errors import Reason
from attestation.server.witness_telemetry import WitnessTelemetry
from attestation.server.witnesses import QuorumMissing, Witnesses
from attestation.tlog.add_checkpoint import AddCheckpoint
from attestation.tlog.checkpoint import open_checkpoint
from attestation.tlog.policy import parse_witness_policy
from attestation.tlog.store import LogError
from tests.support.log import ORIGIN, log_signer
from tests.support.witnessing import (
    Answering,
    Hands,
    Leaves,
    MemoryWitnessStore,
    Network,
    cosigned,
    lattice_signer,
    new_witness,
    policy_of,
    serving,
    showing,
    witness_signer,
)

LOG = Leaves()
ONE = witness_signer(61, "one.example/w")
TWO = witness_signer(62, "two.example/w")
BOTH = policy_of(one=ONE, two=TWO) + "group both all one two\nquorum both\n"
ANY = policy_of(one=ONE, two=TWO) + "group any any one two\nquorum any\n"
NOBODY = policy_of(one=ONE, two=TWO) + "quorum none\n"


class Asking:
    """Witnesses of a policy on a network, and what their metrics say."""

    def __init__(
        self,
        network: Network,
        policy: str = BOTH,
        *,
        fail_open: bool = False,
        grace_seconds: float = 30.0,
        clock: Hands | None = None,
    ) -> None:
        self.metrics = CollectorRegistry()
        self.policy = parse_witness_policy(policy)
        self._witnesses = Witnesses(
            policy=self.policy,
            log_key=log_signer().verifier,
            transport=network,
            seconds=30.0,
            grace_seconds=grace_seconds,
            fail_open=fail_open,
            telemetry=WitnessTelemetry(registry=self.metrics, profile="SIMULATED"),
            clock=clock or Hands(),
        )

    def cosign(self, size: int, log: Leaves = LOG) -> bytes:
        return self._witnesses.cosign(log.note(size), log.head(size), lambda old: log.proof(old, size))

    def answers(self, witness: str) -> dict[str, float]:
        """How often this witness gave which answer."""
        (metric,) = [found for found in self.metrics.collect() if found.name == "sealbid_registry_witness_answers"]
        return {
            sample.labels["answer"]: sample.value
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["witness"] == witness
        }

    def quorum(self) -> float | None:
        labels = {"witnesses": self.policy.display, "profile": "SIMULATED"}
        return self.metrics.get_sample_value("sealbid_registry_log_quorum", labels)


def honest(signer: object = ONE, **changes: object) -> Answering:
    return serving(new_witness(signers=[signer], **changes))  # type: ignore[list-item, arg-type]


def status(code: int, body: bytes = b"no\n", media_type: str = "text/plain") -> Answering:
    return lambda _: Response(status=code, headers={"content-type": media_type}, body=body)


def test_all_that_cosign_are_in_the_note_and_it_meets_the_policy() -> None:
    """Two of two: the note opens under the policy, and the metric says that the quorum is met."""
    asking = Asking(Network(one=honest(ONE), two=honest(TWO)))
    note = asking.cosign(5)
    head = open_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=asking.policy)
    assert head == LOG.head(5)
    assert asking.quorum() == 1
    assert (asking.answers("one"), asking.answers("two")) == ({"cosigned": 1}, {"cosigned": 1})


def test_a_growing_log_is_proved_from_the_size_the_witness_knows() -> None:
    """After the first answer every request starts at the last size, so a growing log costs one request a head."""
    network = Network(one=honest(ONE), two=honest(TWO))
    asking = Asking(network)
    for size in (3, 4, 4, 9):
        asking.cosign(size)
    olds = [AddCheckpoint.decode(body).old for name, body in network.asked if name == "one"]
    assert olds == [0, 3, 4, 4]


def test_a_witness_of_two_keys_is_asked_once() -> None:
    """An Ed25519 and an ML-DSA-44 key at one address: one request, two lines, both counted."""
    lattice = lattice_signer(63, "one.example/w")
    key = lattice.verifier.vkey
    policy = policy_of(one=ONE) + f"witness pq {key} https://one.example/\ngroup both all one pq\nquorum both\n"
    network = Network(one=serving(new_witness(signers=[ONE, lattice])))
    asking = Asking(network, policy)
    open_checkpoint(asking.cosign(5), origin=ORIGIN, log_key=log_signer().verifier, policy=asking.policy)
    assert len(network.asked) == 1


def test_one_that_knows_an_older_head_is_sent_the_proof_from_there() -> None:
    """A registry that starts anew, or a witness that missed heads: the size in its answer is where the proof begins."""
    witness = new_witness(signers=[ONE])
    cosigned(witness, LOG, 3)
    network = Network(one=serving(witness), two=honest(TWO))
    asking = Asking(network)
    asking.cosign(8)
    assert asking.answers("one") == {"cosigned": 1}
    assert [AddCheckpoint.decode(body).old for name, body in network.asked if name == "one"] == [0, 3]


def test_one_that_forgot_what_it_cosigned_is_named_and_taught_again(caplog: pytest.LogCaptureFixture) -> None:
    """A witness restored from a backup still states the truth about our head; that it forgot is an alarm."""
    network = Network(one=honest(ONE), two=honest(TWO))
    asking = Asking(network)
    asking.cosign(8)
    network.answers["one"] = honest(ONE)
    asking.cosign(9)
    assert asking.answers("one") == {"cosigned": 2}
    assert "witness has forgotten what it cosigned" in caplog.text


def _ahead() -> Answering:
    witness = new_witness(signers=[TWO])
    cosigned(witness, LOG, 20)
    return serving(witness)


def _forked() -> Answering:
    witness = new_witness(signers=[TWO])
    cosigned(witness, Leaves(world="two"), 4)
    return serving(witness)


def _forked_at_the_same_size() -> Answering:
    witness = new_witness(signers=[TWO])
    cosigned(witness, Leaves(world="two"), 5)
    return serving(witness)


def _of_another_head() -> Answering:
    line = TWO.cosign(LOG.head(4).text, int(Hands().now.timestamp()))
    return status(200, line.text.encode())


def _flipped() -> Answering:
    line = TWO.cosign(LOG.head(5).text, int(Hands().now.timestamp()))
    text = line.text.encode()
    return status(200, text.replace(text[-20:-19], b"B" if text[-20:-19] == b"A" else b"A", 1))


def _of_the_time(seconds: int) -> Answering:
    def answer(_: bytes) -> Response:
        line = TWO.cosign(LOG.head(5).text, int(Hands().now.timestamp()) + seconds)
        return Response(status=200, headers={}, body=line.text.encode())

    return answer


def _never_the_same() -> Answering:
    sizes = iter((1, 2, 3, 4))
    return lambda _: Response(status=409, headers={"content-type": "text/x.tlog.size"}, body=b"%d\n" % next(sizes))


WRONG: dict[str, tuple[Callable[[], Answering] | None, str]] = {
    "down": (None, "down"),
    "failing": (lambda: status(500), "down"),
    "its memory rolled back": (lambda: status(503), "down"),
    "limiting": (lambda: status(429), "limited"),
    "another's key": (lambda: honest(witness_signer(99, "two.example/w")), "lying"),
    "without our log": (lambda: status(404), "refused"),
    "without our key": (lambda: status(403), "refused"),
    "ahead of the log": (_ahead, "ahead"),
    "with another history": (_forked, "forked"),
    "with another root of this size": (_forked_at_the_same_size, "forked"),
    "signing another head": (_of_another_head, "lying"),
    "signing nothing that verifies": (_flipped, "lying"),
    "signing nothing": (lambda: status(200, b"\n"), "lying"),
    "answering at length": (lambda: status(200, b"x" * 100_000), "lying"),
    "naming no size": (lambda: status(409, b"many\n", "text/x.tlog.size"), "lying"),
    "naming a size as text": (lambda: status(409, b"4\n"), "down"),
    "naming ever another size": (_never_the_same, "lying"),
    "replaying an old time": (lambda: _of_the_time(-600), "untimely"),
    "from the future": (lambda: _of_the_time(600), "untimely"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("policy", ["both", "any", "none"])
def test_one_that_is_wrong_is_named_and_not_counted(name: str, policy: str) -> None:
    """Whatever one of two does, the note holds no line of it: two of two is missed, one of two met, none served."""
    make, answer = WRONG[name]
    network = Network(one=honest(ONE), **({} if make is None else {"two": make()}))
    asking = Asking(network, {"both": BOTH, "any": ANY, "none": NOBODY}[policy])
    if policy == "both":
        with pytest.raises(QuorumMissing) as missed:
            asking.cosign(5)
        assert missed.value.reason is Reason.STORE_UNAVAILABLE
        assert asking.quorum() == 0
    else:
        note = asking.cosign(5)
        open_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=asking.policy)
        assert b"two.example" not in note
        assert b"one.example" in note
        assert asking.quorum() == (1 if policy == "any" else 0)
    assert asking.answers("two") == {answer: 1}
    assert asking.answers("one") == {"cosigned": 1}


@pytest.mark.parametrize("policy", [BOTH, ANY, NOBODY], ids=["both", "any", "none"])
@pytest.mark.parametrize(
    ("log", "size", "reason"),
    [
        (LOG, 20, Reason.LOG_ROLLBACK),
        (Leaves(world="two"), 20, Reason.LOG_ROLLBACK),
        (Leaves(world="two"), 5, Reason.LOG_FORK),
        (Leaves(world="two"), 3, Reason.LOG_FORK),
    ],
    ids=["longer", "longer and other", "of this size", "shorter"],
)
def test_one_that_shows_another_history_under_our_own_key_stops_the_log(
    policy: str, log: Leaves, size: int, reason: Reason
) -> None:
    """A note that only our key can have signed proves that we were rolled back or forked: no policy publishes then."""
    witness = new_witness(signers=[TWO])
    cosigned(witness, log, size)
    network = Network(one=honest(ONE), two=serving(witness))
    network.monitors["two"] = showing(witness)
    with pytest.raises(LogError) as stopped:
        Asking(network, policy, fail_open=True).cosign(5)
    assert stopped.value.reason is reason


def _shown(note: bytes, code: int = 200) -> Answering:
    return lambda _: Response(status=code, headers={}, body=note)


@pytest.mark.parametrize(
    "shown",
    [
        _shown(Leaves(signer=log_signer(seed=9)).note(20)),
        _shown(LOG.note(20).replace(b"\n20\n", b"\n21\n")),
        _shown(Leaves(signer=log_signer("other.example/log")).note(20)),
        _shown(LOG.note(3)),
        _shown(LOG.note(5)),
        _shown(LOG.note(0)),
        _shown(b"fork!"),
        _shown(LOG.note(20), 404),
    ],
    ids=["other key", "altered", "other log", "a prefix", "the same", "empty", "garbage", "not there"],
)
def test_a_claim_without_our_signature_stops_nothing(shown: Answering) -> None:
    """A witness that only says that it knows more is named and not counted; the log goes on with the others."""
    network = Network(one=honest(ONE), two=status(422))
    network.monitors["two"] = shown
    asking = Asking(network, ANY)
    open_checkpoint(asking.cosign(5), origin=ORIGIN, log_key=log_signer().verifier, policy=asking.policy)
    assert asking.answers("two") == {"forked": 1}


def test_a_policy_none_is_the_operator_s_word_in_metrics() -> None:
    """Nobody is asked, the gauge stays 0, and its label says whose word it is."""
    asking = Asking(Network(), "none")
    assert asking.cosign(5) == LOG.note(5)
    labels = {"witnesses": "operator's word only", "profile": "SIMULATED"}
    assert asking.metrics.get_sample_value("sealbid_registry_log_quorum", labels) == 0


def test_served_without_quorum_is_flagged_and_refused_by_whoever_asks_for_it() -> None:
    """Fail-open: the note is published with what there is, the metric says no, and the policy refuses it."""
    asking = Asking(Network(one=honest(ONE)), fail_open=True)
    note = asking.cosign(5)
    assert asking.quorum() == 0
    with pytest.raises(Exception, match="want cosigned by 2 of") as refused:
        open_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=asking.policy)
    assert getattr(refused.value, "reason", None) is Reason.CHECKPOINT_INVALID


def test_a_slow_one_that_is_not_needed_is_waited_for_no_longer_than_the_grace() -> None:
    """A witness that does not answer is named slow in every round, and the others' heads go out."""
    answering = threading.Event()

    def slowly(body: bytes) -> Response:
        answering.wait(60)
        return honest(TWO)(body)

    asking = Asking(Network(one=honest(ONE), two=slowly), ANY, grace_seconds=0.05)
    try:
        for size in (5, 6, 7, 8):
            asking.cosign(size)
        assert asking.answers("two") == {"slow": 4}
        assert asking.answers("one") == {"cosigned": 4}
    finally:
        answering.set()


def test_a_head_of_the_same_size_is_cosigned_anew() -> None:
    """A quiet log gets cosignatures of now, so that it does not grow old in the eyes of a policy."""
    clock = Hands()
    witness = new_witness(MemoryWitnessStore(), signers=[ONE], clock=clock)
    asking = Asking(Network(one=serving(witness)), ANY, clock=clock)
    first = asking.cosign(5)
    clock.forward(3600)
    assert asking.cosign(5) != first
