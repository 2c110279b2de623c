# SPDX-License-Identifier: Apache-2.0
"""Offline proofs: one spelling, bound to entry, index, log and key."""

import pytest

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.note import NoteVerifier
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.proof import InclusionProof, verify_tlog_proof
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
