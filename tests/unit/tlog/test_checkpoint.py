# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: published examples, one spelling each, and whose they are."""

import pytest

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, parse_size, sign_checkpoint
from attestation.tlog.note import NoteVerifier, parse_note, sign_note
from attestation.tlog.policy import NO_WITNESSES, parse_witness_policy
from tests.support.log import ORIGIN, log_signer
from tests.support.vectors import vector_json

HEAD = Checkpoint(origin=ORIGIN, size=257, root=b"\x11" * 32)


def opened(note: bytes, *, origin: str = ORIGIN, key: NoteVerifier | None = None) -> Checkpoint:
    """A note opened as the test log's."""
    return open_checkpoint(note, origin=origin, log_key=key or log_signer().verifier, policy=NO_WITNESSES)


class TestPublishedCheckpoints:
    def test_go_checksum_database(self) -> None:
        """A checkpoint of sum.golang.org, signed by its real key, opens."""
        case = vector_json("log", "transcribed", "xmod-tlog.json")
        head = opened(
            case["sumdb_note"].encode(),
            origin="go.sum database tree",
            key=NoteVerifier.parse(case["sumdb_vkey"]),
        )
        assert head.size == 35225469

    def test_refused_forms(self) -> None:
        """Every text that the published cases refuse is refused here."""
        cases = vector_json("log", "transcribed", "formats-checkpoint.json")["cases"]
        assert len(cases) == 12
        for case in (case for case in cases if case["wantErr"]):
            with pytest.raises(MalformedEvidence):
                Checkpoint.parse(case["m"])

    @pytest.mark.parametrize("example", ["checkpoint_format_only", "cosigned_format_only"])
    def test_c2sp_examples(self, example: str) -> None:
        """The specifications' examples parse, with and without a cosignature, and print back the same."""
        text, _ = parse_note(vector_json("log", "transcribed", "c2sp-examples.json")[example].encode())
        head = Checkpoint.parse(text)
        assert (head.origin, head.size, head.text) == ("example.com/behind-the-sofa", 20852163, text)


class TestCheckpoints:
    def test_round_trip(self) -> None:
        """What is signed is what is opened."""
        assert opened(sign_checkpoint(HEAD, log_signer())) == HEAD

    def test_exact_bytes(self) -> None:
        """The signed text is origin, size and root, one line each: bytes that later versions must keep."""
        assert HEAD.text == f"{ORIGIN}\n257\nERERERERERERERERERERERERERERERERERERERERERE=\n"

    def test_size_zero(self) -> None:
        """The empty log has a checkpoint too."""
        empty = Checkpoint(origin=ORIGIN, size=0, root=b"\x11" * 32)
        assert Checkpoint.parse(empty.text) == empty

    @pytest.mark.parametrize(
        "size", ["", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "٣", str(1 << 63), "9" * 5000]
    )
    def test_sizes_with_another_spelling(self, size: str) -> None:
        """A size must print back the same and fit in 63 bits."""
        with pytest.raises(MalformedEvidence):
            parse_size(size, "size")

    def test_largest_size(self) -> None:
        """2^63 - 1 is the largest size."""
        assert parse_size(str((1 << 63) - 1), "size") == (1 << 63) - 1

    @pytest.mark.parametrize(
        "text",
        [
            HEAD.text + "extension\n",
            HEAD.text + "\n",
            HEAD.text.replace(ORIGIN, ""),
            HEAD.text.replace("=", ""),
            HEAD.text.replace("ERE=", "ERF="),
            HEAD.text[:-1],
            f"{ORIGIN}\n257\nERE=\n",
            "",
        ],
    )
    def test_refused_texts(self, text: str) -> None:
        """Extension lines, missing lines and roots of another spelling or length are refused."""
        with pytest.raises(MalformedEvidence):
            Checkpoint.parse(text)

    def test_another_origin(self) -> None:
        """A head of another log, even under the same key, is not this log's."""
        with pytest.raises(NotGenuine) as caught:
            opened(sign_checkpoint(HEAD, log_signer()), origin="log.example/other")
        assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_another_key(self) -> None:
        """A head that only a stranger signed is refused, whatever name the stranger takes."""
        with pytest.raises(NotGenuine) as caught:
            opened(sign_checkpoint(HEAD, log_signer(seed=9)))
        assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_signed_extension_lines(self) -> None:
        """Extension lines are refused even when the log's own key has signed them."""
        with pytest.raises(MalformedEvidence):
            opened(sign_note(HEAD.text + "extension\n", [log_signer()]))

    def test_further_signatures_change_nothing(self) -> None:
        """A checkpoint with lines of keys unknown here (witnesses to come) opens to the same head."""
        witness = log_signer("witness.example/w", 7)
        assert opened(sign_note(HEAD.text, [witness, log_signer()])) == HEAD

    def test_every_flipped_bit_is_refused_or_harmless(self) -> None:
        """No flipped bit of a note opens to anything but the head that was signed, and none crashes."""
        note = sign_checkpoint(HEAD, log_signer())
        for place in range(len(note) * 8):
            flipped = bytearray(note)
            flipped[place // 8] ^= 1 << place % 8
            with pytest.raises(AttestationError):
                opened(bytes(flipped))


class TestWitnessPolicy:
    def test_none_says_what_it_is(self) -> None:
        """Without witnesses the screen says that there is only the operator's word."""
        policy = parse_witness_policy("none")
        assert (policy.name, policy.display, policy.witnesses) == ("none", "operator's word only", ())
