# SPDX-License-Identifier: Apache-2.0
"""Cosignatures: exact messages of both types, whose they are, and every way they do not hold."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint, open_signed_checkpoint, sign_checkpoint
from attestation.tlog.cosignature import CosignatureSigner, CosignatureVerifier, cosigned_at, parse_note_key
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import NoteKey, NoteSigner, NoteVerifier, SignatureLine, open_note, parse_note
from attestation.tlog.policy import NO_WITNESSES
from tests.support.cosigning import AT, HEAD, cosigned, log_line_signer, witness
from tests.support.log import ORIGIN, log_signer
from tests.support.vectors import vector_json

BOTH = pytest.mark.parametrize("ml_dsa", [False, True], ids=["ed25519", "ml-dsa-44"])


def altered(line: SignatureLine, place: int, bit: int = 1) -> SignatureLine:
    """A line with one bit of its signature flipped."""
    signature = bytearray(line.signature)
    signature[place] ^= bit
    return SignatureLine(name=line.name, key_id=line.key_id, signature=bytes(signature))


class TestMessages:
    def test_ed25519(self) -> None:
        """Type 0x04 signs the header, the time and the whole text, and its line begins with the time."""
        signer = witness(1)
        line = signer.cosign(HEAD.text, AT)
        assert line.signature[:8] == AT.to_bytes(8, "big")
        assert len(line.signature) == 72
        message = f"cosignature/v1\ntime {AT}\n{ORIGIN}\n257\nERERERERERERERERERERERERERERERERERERERERERE=\n"
        Ed25519PublicKey.from_public_bytes(signer.verifier.public_key).verify(line.signature[8:], message.encode())

    def test_ml_dsa(self) -> None:
        """Type 0x06 signs label, cosigner, time, origin, 0, size and root, and nothing else of the text."""
        signer = witness(1, ml_dsa=True)
        line = signer.cosign(HEAD.text, AT)
        assert len(line.signature) == 8 + 2420
        message = b"subtree/v1\n\x00" + bytes([18]) + b"witness.example/w1" + AT.to_bytes(8, "big")
        message += bytes([20]) + ORIGIN.encode() + bytes(8) + (257).to_bytes(8, "big") + b"\x11" * 32
        MLDSA44PublicKey.from_public_bytes(signer.verifier.public_key).verify(line.signature[8:], message)

    def test_extension_lines(self) -> None:
        """Other logs' extension lines are under an Ed25519 cosignature and not under an ML-DSA one."""
        text = HEAD.text + "an extension\n"
        for ml_dsa in (False, True):
            signer = witness(1, ml_dsa=ml_dsa)
            line = signer.cosign(text, AT)
            signer.verifier.verify(text, line)
            if ml_dsa:
                signer.verifier.verify(HEAD.text, line)
            else:
                with pytest.raises(NotGenuine):
                    signer.verifier.verify(HEAD.text, line)

    def test_published_form(self) -> None:
        """The specification's example has the time it speaks of in its witness's line."""
        text, lines = parse_note(
            vector_json("log", "transcribed", "c2sp-examples.json")["cosigned_format_only"].encode()
        )
        assert cosigned_at(lines[1]) == 1679315147
        assert Checkpoint.parse(text).size == 20852163


class TestKeys:
    @BOTH
    def test_round_trip(self, ml_dsa: bool) -> None:
        """A cosigner's key is read back from its text form, also where any type may stand."""
        key = witness(1, ml_dsa=ml_dsa).verifier
        assert CosignatureVerifier.parse(key.vkey) == key
        assert parse_note_key(key.vkey) == key
        assert key.key_type == (6 if ml_dsa else 4)

    def test_any_key(self) -> None:
        """A log's Ed25519 key is told apart by its type."""
        assert parse_note_key(log_signer().verifier.vkey) == log_signer().verifier

    def test_types_do_not_stand_for_each_other(self) -> None:
        """A log key is no cosigner's key and the other way round; both are named as unsupported there."""
        for parse, vkey in (
            (CosignatureVerifier.parse, log_signer().verifier.vkey),
            (NoteVerifier.parse, witness(1).verifier.vkey),
            (parse_note_key, "w+00000000+AgA="),
        ):
            with pytest.raises(MalformedLog) as caught:
                parse(vkey)
            assert (caught.value.fault, caught.value.reason) == (Fault.KEY_TYPE, Reason.UNSUPPORTED)

    def test_one_key_two_types_have_two_ids(self) -> None:
        """The same Ed25519 key as log and as cosigner has two key ids, so no line stands for the other's."""
        signer = witness(1, name="a")
        as_log = NoteVerifier(name="a", public_key=signer.verifier.public_key)
        assert as_log.key_id != signer.verifier.key_id
        assert not as_log.made(signer.cosign(HEAD.text, AT))

    @pytest.mark.parametrize(
        ("vkey", "fault"),
        [
            ("", Fault.KEY_FORM),
            ("w+" + "0" * 8, Fault.KEY_FORM),
            ("w" * 5000 + "+00000000+BA==", Fault.KEY_FORM),
            ("a b+00000000+BAA=", Fault.KEY_NAME),
            ("w+00000000+B", Fault.BASE64),
            ("w+00000000+BAB=", Fault.BASE64_SPELLING),
            ("w+00000000+", Fault.KEY_SIZE),
            ("w+00000000+BAA=", Fault.KEY_ID),
        ],
    )
    def test_malformed(self, vkey: str, fault: Fault) -> None:
        """Every way a verifier key can be malformed has its own fault."""
        with pytest.raises(MalformedLog) as caught:
            parse_note_key(vkey)
        assert caught.value.fault == fault

    @pytest.mark.parametrize(("key_type", "size"), [(4, 31), (4, 1312), (6, 32), (6, 1311)])
    def test_sizes(self, key_type: int, size: int) -> None:
        """A key has the length of its type."""
        with pytest.raises(MalformedLog) as caught:
            CosignatureVerifier(name="w", key_type=key_type, public_key=bytes(size))
        assert caught.value.fault == Fault.KEY_SIZE

    def test_unknown_type(self) -> None:
        """There is no cosigner of another type."""
        with pytest.raises(MalformedLog) as caught:
            CosignatureVerifier(name="w", key_type=1, public_key=bytes(32))
        assert caught.value.fault == Fault.KEY_TYPE

    def test_private_keys_do_not_print(self) -> None:
        """A signer's text form names the key and does not hold it."""
        assert repr(witness(1)) == "CosignatureSigner(name='witness.example/w1')"


class TestVerifying:
    @BOTH
    def test_every_byte_counts(self, ml_dsa: bool) -> None:
        """No flipped byte of a line, its time included, verifies; nor another text."""
        signer = witness(1, ml_dsa=ml_dsa)
        line = signer.cosign(HEAD.text, AT)
        signer.verifier.verify(HEAD.text, line)
        for place in range(0, len(line.signature), 7 if ml_dsa else 1):
            with pytest.raises(NotGenuine):
                signer.verifier.verify(HEAD.text, altered(line, place))
        with pytest.raises(NotGenuine) as caught:
            signer.verifier.verify(HEAD.text.replace("257", "256"), line, Reason.CHECKPOINT_INVALID)
        assert caught.value.reason == Reason.CHECKPOINT_INVALID

    @BOTH
    def test_other_lengths(self, ml_dsa: bool) -> None:
        """A line cut short anywhere, or with a byte more, is wrong and not a crash."""
        signer = witness(1, ml_dsa=ml_dsa)
        line = signer.cosign(HEAD.text, AT)
        for signature in (b"\x00", line.signature[:8], line.signature[:-1], line.signature + b"\x00"):
            other = SignatureLine(name=line.name, key_id=line.key_id, signature=signature)
            with pytest.raises(NotGenuine):
                signer.verifier.verify(HEAD.text, other)

    def test_the_name_is_covered_by_ml_dsa(self) -> None:
        """An ML-DSA cosigner under another name is another cosigner, with the same key."""
        line = witness(1, ml_dsa=True).cosign(HEAD.text, AT)
        other = witness(1, name="witness.example/other", ml_dsa=True).verifier
        with pytest.raises(NotGenuine):
            other.verify(HEAD.text, line)

    def test_texts_that_are_no_checkpoint(self) -> None:
        """A cosigner signs and verifies heads alone."""
        signer = witness(1)
        for text in ("a text\n", "o\n1\n", "o\n1\nAA==\n", HEAD.text + "\n"):
            with pytest.raises(MalformedEvidence):
                signer.cosign(text, AT)

    @pytest.mark.parametrize("at", [-1, 1 << 63])
    def test_times_that_are_none(self, at: int) -> None:
        """Times fit in 63 bits."""
        with pytest.raises(MalformedLog) as caught:
            witness(1).cosign(HEAD.text, at)
        assert caught.value.fault == Fault.COSIGNATURE_TIME
        line = SignatureLine(name="w", key_id=b"abcd", signature=b"\xff" * 72)
        with pytest.raises(MalformedLog):
            cosigned_at(line)

    def test_names_beyond_a_length_byte(self) -> None:
        """A name or origin above 255 bytes cannot stand in an ML-DSA message."""
        text = Checkpoint(origin="o" * 256, size=1, root=bytes(32)).text
        with pytest.raises(MalformedLog) as caught:
            witness(1, ml_dsa=True).cosign(text, AT)
        assert caught.value.fault == Fault.COSIGNATURE_NAME

    def test_a_line_too_short_for_a_time(self) -> None:
        """Fewer than eight bytes state no time."""
        with pytest.raises(MalformedLog) as caught:
            cosigned_at(SignatureLine(name="w", key_id=b"abcd", signature=b"1234567"))
        assert caught.value.fault == Fault.COSIGNATURE_TIME


class TestLogsOwnLine:
    def test_both_lines_under_one_text(self) -> None:
        """A log signs with Ed25519 and ML-DSA-44; readers of the first line alone see what they always saw."""
        note = sign_checkpoint(HEAD, log_signer(), log_line_signer())
        assert note.startswith(sign_checkpoint(HEAD, log_signer()))
        log_key = log_signer().verifier
        assert open_checkpoint(note, origin=ORIGIN, log_key=log_key, policy=NO_WITNESSES) == HEAD
        both = open_signed_checkpoint(
            note, origin=ORIGIN, log_key=log_key, policy=NO_WITNESSES, also=[log_line_signer().verifier]
        )
        assert [cosigned_at(line) for line in both.note.verified[1:]] == [0]

    def test_a_key_that_must_have_signed(self) -> None:
        """Where the second key is asked for, a note without its line, or with another's, is refused."""
        for signers in ([log_signer()], [log_signer(), log_line_signer(91)], [log_line_signer()]):
            with pytest.raises(NotGenuine) as caught:
                open_checkpoint(
                    sign_checkpoint(HEAD, *signers),
                    origin=ORIGIN,
                    log_key=log_signer().verifier,
                    policy=NO_WITNESSES,
                    also=[log_line_signer().verifier],
                )
            assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_ml_dsa_alone(self) -> None:
        """A log whose only trusted key is ML-DSA opens under it."""
        note = sign_checkpoint(HEAD, log_line_signer())
        key = log_line_signer().verifier
        assert open_checkpoint(note, origin=ORIGIN, log_key=key, policy=NO_WITNESSES) == HEAD


class TestNotesWithCosignatures:
    def test_all_types_in_one_note(self) -> None:
        """Lines of all three types verify side by side, each by its own key."""
        signers: list[NoteSigner | CosignatureSigner] = [log_signer(), witness(1), witness(1, ml_dsa=True)]
        note = open_note(sign_checkpoint(HEAD, *signers), [signer.verifier for signer in signers])
        assert all(note.signed_by(signer.verifier) for signer in signers)

    def test_unknown_cosigners_are_ignored(self) -> None:
        """Lines of witnesses nobody asked about change nothing, right or wrong."""
        note = cosigned({1: AT})
        assert open_note(note, [log_signer().verifier]).unknown[0].name == "witness.example/w1"

    def test_two_keys_with_one_name_and_id(self) -> None:
        """Two different keys that a line could be by are refused rather than one of them chosen."""

        class Colliding:
            """A key made to have the same four bytes."""

            name = log_signer().verifier.name
            key_id = log_signer().verifier.key_id
            public_key = bytes(32)
            vkey = "another"

            def made(self, line: SignatureLine) -> bool:
                return True

            def verify(self, text: str, line: SignatureLine, reason: Reason = Reason.INTERNAL) -> None:
                """Believes anything."""

        pairs: list[list[NoteKey]] = [[log_signer().verifier, Colliding()], [Colliding(), log_signer().verifier]]
        for keys in pairs:
            with pytest.raises(MalformedLog) as caught:
                open_note(cosigned({}), keys)
            assert caught.value.fault == Fault.KEY_AMBIGUOUS
