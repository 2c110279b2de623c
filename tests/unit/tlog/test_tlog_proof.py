# SPDX-License-Identifier: Apache-2.0
"""Offline proofs: one spelling, bound to entry, index, log and key."""

import contextlib

import pytest

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import NoteVerifier
from attestation.tlog.policy import NO_WITNESSES, parse_witness_policy
from attestation.tlog.proof import (
    MAX_PROOF_BYTES,
    InclusionProof,
    open_listed_proof,
    open_proof,
    prove,
    verify_tlog_proof,
)
from tests.support.cosigning import AT, cosigned, log_line_signer, policy_text
from tests.support.log import ORIGIN, log_signer
from tests.support.vectors import vector_json

DATA = [b"entry %d" % index for index in range(5)]
LEAVES = [merkle.leaf_hash(data) for data in DATA]
HEAD = Checkpoint(origin=ORIGIN, size=5, root=merkle.root_of(LEAVES))
NOTE = sign_checkpoint(HEAD, log_signer())


def proof(entry: int, **changes: object) -> InclusionProof:
    """The proof of an entry of the five, with fields changed."""
    fields = {"index": entry, "path": tuple(merkle.path_of(LEAVES, entry)), "checkpoint": NOTE, **changes}
    return InclusionProof(**fields)  # type: ignore[arg-type]


def verify(
    text: bytes, data: bytes, *, origin: str = ORIGIN, key: NoteVerifier | None = None
) -> tuple[Checkpoint, int]:
    """Verification as the test log's."""
    return verify_tlog_proof(text, data, origin=origin, log_key=key or log_signer().verifier, policy=NO_WITNESSES)


def test_published_malformed_proofs() -> None:
    """Every published malformed proof is refused by the parser."""
    cases = vector_json("log", "transcribed", "torchwood-proof-malformed.json")["all_must_fail"]
    assert len(cases) == 7
    for case in cases:
        with pytest.raises(MalformedEvidence):
            InclusionProof.decode(case["proof"].encode())


def test_specification_example() -> None:
    """A proof laid out as in the specification is read, extra data included."""
    text = (
        b"c2sp.org/tlog-proof@v1\nextra YWdl\nindex 73894\ngSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
        b"B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\nexample.com/fancylog\n109482\n"
    )
    parsed = InclusionProof.decode(text)
    assert (parsed.index, len(parsed.path), parsed.extra) == (73894, 2, b"age")
    assert parsed.encode() == text


@pytest.mark.parametrize("index", range(5))
def test_round_trip(index: int) -> None:
    """Every entry's proof is read back the same and verifies to its head and index."""
    text = proof(index).encode()
    assert InclusionProof.decode(text) == proof(index)
    assert verify(text, DATA[index]) == (HEAD, index)


def test_exact_bytes() -> None:
    """The text of a proof: bytes that later versions must keep reading."""
    head = Checkpoint(origin=ORIGIN, size=1, root=LEAVES[0])
    note = sign_checkpoint(head, log_signer())
    text = InclusionProof(index=0, path=(), checkpoint=note).encode()
    assert text == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note
    assert verify(text, DATA[0]) == (head, 0)


@pytest.mark.parametrize(
    ("text", "data", "reason"),
    [
        (proof(2).encode(), DATA[3], Reason.PROOF_INVALID),
        (proof(2, index=3).encode(), DATA[2], Reason.PROOF_INVALID),
        (proof(2, index=5).encode(), DATA[2], Reason.PROOF_INVALID),
        (proof(2, path=proof(2).path[:-1]).encode(), DATA[2], Reason.PROOF_INVALID),
        (proof(2, path=(*proof(2).path, bytes(32))).encode(), DATA[2], Reason.PROOF_INVALID),
        (proof(2, extra=b"extra").encode(), DATA[2], Reason.PROOF_INVALID),
        (proof(2, checkpoint=sign_checkpoint(HEAD, log_signer(seed=2))).encode(), DATA[2], Reason.CHECKPOINT_INVALID),
    ],
    ids=["other entry", "other index", "outside", "short", "long", "extra data", "other key"],
)
def test_refused(text: bytes, data: bytes, reason: Reason) -> None:
    """A proof of another entry, index, path or signer is refused by name."""
    with pytest.raises(NotGenuine) as caught:
        verify(text, data)
    assert caught.value.reason == reason


def test_another_log() -> None:
    """A genuine proof of one log proves nothing in another."""
    with pytest.raises(NotGenuine) as caught:
        verify(proof(2).encode(), DATA[2], origin="log.example/other")
    assert caught.value.reason == Reason.CHECKPOINT_INVALID


def test_every_flipped_bit_is_refused() -> None:
    """No bit of a proof can be flipped: there is one spelling and all of it is checked."""
    text = proof(4).encode()
    for place in range(len(text) * 8):
        flipped = bytearray(text)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(AttestationError):
            verify(bytes(flipped), DATA[4])


@pytest.mark.parametrize("text", [b"", b"\n\n", b"c2sp.org/tlog-proof@v1\n\n", b"x" * (1 << 21)])
def test_scraps(text: bytes) -> None:
    """Scraps and floods are refused as malformed."""
    with pytest.raises(MalformedEvidence):
        InclusionProof.decode(text)


def test_too_long_a_path() -> None:
    """A path longer than any tree has is refused before it is hashed."""
    with pytest.raises(MalformedEvidence, match="want at most 63"):
        InclusionProof.decode(proof(0, path=(bytes(32),) * 64).encode())


class TestWithWitnesses:
    """Proofs whose checkpoint carries the log's ML-DSA line and two witnesses' lines."""

    def note(self) -> bytes:
        """The head, signed by the log with both keys and cosigned by two of three witnesses."""
        return cosigned({1: AT, 3: AT + 9}, head=HEAD, log=[log_signer(), log_line_signer()])

    def test_the_quorum_and_its_time_come_with_the_proof(self) -> None:
        """Who vouches for the entry, and since when, is known from the proof alone."""
        policy = parse_witness_policy(policy_text("group G 2 W1 W2 W3", "quorum G"))
        proven = open_proof(
            proof(2, checkpoint=self.note()).encode(),
            DATA[2],
            origin=ORIGIN,
            log_key=log_signer().verifier,
            policy=policy,
            also=[log_line_signer().verifier],
        )
        assert (proven.index, proven.checkpoint.head) == (2, HEAD)
        assert policy.cosigned_at(proven.checkpoint.note) == AT
        listed = open_listed_proof(proof(2, checkpoint=self.note()).encode(), DATA[2], policy=policy)
        assert (listed.index, listed.checkpoint.head) == (2, HEAD)

    def test_too_few_witnesses(self) -> None:
        """A proof under a head that too few have cosigned proves nothing."""
        policy = parse_witness_policy(policy_text("group G all W1 W2 W3", "quorum G"))
        with pytest.raises(NotGenuine) as caught:
            open_listed_proof(proof(2, checkpoint=self.note()).encode(), DATA[2], policy=policy)
        assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_every_flipped_byte(self) -> None:
        """No byte of index, path, text or any known line can change; an unknown line proves nothing either way."""
        policy = parse_witness_policy(policy_text("group G 2 W1 W2 W3", "quorum G"))
        note = cosigned({1: AT, 3: AT + 9}, head=HEAD)
        text = proof(3, checkpoint=note).encode()
        open_listed_proof(text, DATA[3], policy=policy)
        for place in range(len(text)):
            for bit in (0x01, 0x20, 0x80):
                flipped = text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :]
                with pytest.raises(AttestationError):
                    open_listed_proof(flipped, DATA[3], policy=policy)

    def test_every_flipped_byte_of_an_unknown_line(self) -> None:
        """Whatever becomes of an unknown witness's line, the proof holds as before or is refused, never otherwise."""
        policy = parse_witness_policy(policy_text("quorum W1", seeds=(1,)))
        text = proof(3, checkpoint=cosigned({1: AT, 8: AT}, head=HEAD)).encode()
        for place in range(text.rindex(b"w8"), len(text)):
            flipped = text[:place] + bytes([text[place] ^ 0x01]) + text[place + 1 :]
            with contextlib.suppress(AttestationError):
                assert open_listed_proof(flipped, DATA[3], policy=policy).checkpoint.head == HEAD


def test_made_proofs() -> None:
    """A proof made from a tree's hashes is the one put together by hand, extra data included."""

    class Whole:
        """All hashes of the tree of five."""

        def read(self, level: int, index: int) -> bytes:
            return merkle.root_of(LEAVES[index << level : (index + 1) << level])

    for index in range(5):
        assert prove(index, 5, Whole(), NOTE) == proof(index).encode()
    assert prove(1, 5, Whole(), NOTE, b"more") == proof(1, extra=b"more").encode()
    with pytest.raises(ValueError, match="index is 5"):
        prove(5, 5, Whole(), NOTE)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", Fault.PROOF_ENCODING),
        (b"\xe2\x80\x94\n\n", Fault.PROOF_ENCODING),
        (b"c2sp.org/tlog-proof@v2\nindex 0\n\n", Fault.PROOF_HEADER),
        (b"c2sp.org/tlog-proof@v1\n\n", Fault.PROOF_INDEX),
        (b"c2sp.org/tlog-proof@v1\nindex 01\n\n", Fault.DECIMAL),
        (b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n", Fault.PROOF_EXTRA),
        (b"c2sp.org/tlog-proof@v1\nextra YQ==\nextra YQ==\nindex 0\n\n", Fault.PROOF_INDEX),
        (b"c2sp.org/tlog-proof@v1\nindex 0\nYQ==\n\n", Fault.LENGTH),
        (b"c2sp.org/tlog-proof@v1\nindex 0\nYR==\n\n", Fault.BASE64_SPELLING),
        (b"c2sp.org/tlog-proof@v1\nindex 0\n?\n\n", Fault.BASE64),
        (b"c2sp.org/tlog-proof@v1\nindex 0" + b"\nYQ==" * 64 + b"\n\n", Fault.PROOF_HASH_COUNT),
        (b" " * (MAX_PROOF_BYTES + 1), Fault.PROOF_SIZE),
    ],
)
def test_faults(text: bytes, fault: Fault) -> None:
    """Every way a proof can be malformed has its own fault."""
    with pytest.raises(MalformedLog) as caught:
        InclusionProof.decode(text)
    assert caught.value.fault == fault
