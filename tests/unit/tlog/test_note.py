# SPDX-License-Identifier: Apache-2.0
"""Signed notes: the Go and C2SP examples, and every way a note is refused."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import (
    MAX_NOTE_BYTES,
    NoteSigner,
    NoteVerifier,
    SignatureLine,
    open_note,
    parse_note,
    sign_note,
)
from tests.support.log import log_signer
from tests.support.vectors import vector_json

TEXT = "a text\n\nof two paragraphs\n"


def opens(note: bytes, verifiers: list[NoteVerifier]) -> list[str] | None:
    """The names whose signatures verified, or None for a refused note."""
    try:
        return [line.name for line in open_note(note, verifiers).verified]
    except AttestationError:
        return None


class TestPublishedNotes:
    def test_go(self) -> None:
        """Every case of the Go note package's tests gets its verdict and the same verified names."""
        published = vector_json("log", "transcribed", "xmod-note.json")
        assert len(published["cases"]) == 13
        for case in published["cases"]:
            note = bytes.fromhex(case["note_hex"]) if "note_hex" in case else case["note"].encode()
            known = [NoteVerifier.parse(vkey) for vkey in case["known"]]
            want = case["verified"] if case["ok"] else None
            assert (case["desc"], opens(note, known)) == (case["desc"], want)

    def test_go_signatures_are_ours(self) -> None:
        """Signing the Go package's text with its key gives its signature line."""
        published = vector_json("log", "transcribed", "xmod-note.json")
        seed = base64.b64decode(published["skey_peter"].split("+", 4)[4])[1:]
        peter = NoteSigner(name="PeterNeumann", key=Ed25519PrivateKey.from_private_bytes(seed))
        assert sign_note(published["text"], [peter]).decode() in {
            case["note"].split("— EnochRoot")[0]
            for case in published["cases"]
            if case["desc"] == "one known, one unknown"
        }

    def test_c2sp(self) -> None:
        """The specification's example opens under its key."""
        example = vector_json("log", "transcribed", "c2sp-examples.json")["note"]
        assert opens(example["note"].encode(), [NoteVerifier.parse(example["vkey"])]) == ["example.com/foo"]

    def test_key_ids(self) -> None:
        """The note whose key id follows the specification opens, the one with another key id is by an unknown key."""
        case = vector_json("log", "transcribed", "c2sp-issue99.json")
        name = case["note"].split("\n")[0]
        key = NoteVerifier(name=name, public_key=bytes.fromhex(case["pubkey_hex"]))
        assert opens(case["note"].encode(), [key]) == [name]
        assert opens(case["note_wrong_key_id"].encode(), [key]) is None


class TestVerifierKeys:
    def test_round_trip(self) -> None:
        """A key is read back from its text form."""
        key = log_signer().verifier
        assert NoteVerifier.parse(key.vkey) == key

    @pytest.mark.parametrize(
        "damage",
        [
            lambda vkey: vkey.replace("+", "-", 1),
            lambda vkey: vkey.replace(vkey.split("+")[1], "00000000"),
            lambda vkey: vkey.replace(vkey.split("+")[1], vkey.split("+")[1].upper()),
            lambda vkey: vkey + "=",
            lambda vkey: vkey[:-4],
            lambda vkey: " " + vkey,
            lambda vkey: "+" + vkey.split("+", 1)[1],
            lambda vkey: "",
        ],
    )
    def test_refused(self, damage: object) -> None:
        """Another spelling, a key id that is not the key's, a bad name: none is a key."""
        assert callable(damage)
        vkey = NoteVerifier(name="log.example/a", public_key=b"\xaf" * 32).vkey
        with pytest.raises(MalformedEvidence):
            NoteVerifier.parse(damage(vkey))

    def test_other_types_are_named(self) -> None:
        """A key of a type this version cannot verify is refused as unsupported, not as damaged."""
        with pytest.raises(MalformedEvidence) as caught:
            NoteVerifier.parse(f"w+00000000+{base64.b64encode(bytes([4]) + bytes(32)).decode()}")
        assert caught.value.reason == Reason.UNSUPPORTED

    def test_private_keys_do_not_print(self) -> None:
        """A signer's text form names the key and does not hold it."""
        assert repr(log_signer()) == "NoteSigner(name='log.example/evidence')"


class TestNotes:
    def test_round_trip(self) -> None:
        """A note opens to its text, empty lines included, and names who signed."""
        signers = [log_signer("a", 1), log_signer("b", 2)]
        note = open_note(sign_note(TEXT, signers), [signer.verifier for signer in signers])
        assert note.text == TEXT
        assert [line.name for line in note.verified] == ["a", "b"]
        assert note.signed_by(signers[0].verifier)
        assert not note.signed_by(log_signer("a", 3).verifier)

    def test_unknown_lines_are_kept(self) -> None:
        """A line by an unknown key is not trusted and not lost."""
        known, stranger = log_signer("a", 1), log_signer("b", 2)
        note = open_note(sign_note(TEXT, [known, stranger]), [known.verifier])
        assert [line.name for line in note.unknown] == ["b"]
        assert note.unknown[0].text in sign_note(TEXT, [stranger]).decode()

    def test_same_name_other_key(self) -> None:
        """A line that shares only its name with a known key is by an unknown key."""
        impostor = log_signer("a", 2)
        note = open_note(sign_note(TEXT, [log_signer("a", 1), impostor]), [log_signer("a", 1).verifier])
        assert [line.key_id for line in note.unknown] == [impostor.verifier.key_id]

    def test_a_wrong_signature_by_a_known_key_spoils_the_note(self) -> None:
        """One bad line of a known key refuses the note, even beside a good one of the same key."""
        signer = log_signer()
        good = signer.sign(TEXT)
        bad = SignatureLine(name=good.name, key_id=good.key_id, signature=good.signature[:-1] + b"\x00")
        for lines in (bad.text, good.text + bad.text, bad.text + good.text):
            with pytest.raises(NotGenuine) as caught:
                open_note(f"{TEXT}\n{lines}".encode(), [signer.verifier])
            assert caught.value.reason == Reason.SIGNATURE_INVALID

    def test_a_signature_of_another_length(self) -> None:
        """A known key's signature that is not 64 bytes is wrong, not a crash."""
        signer = log_signer()
        line = SignatureLine(name=signer.name, key_id=signer.verifier.key_id, signature=b"short")
        with pytest.raises(NotGenuine):
            open_note(f"{TEXT}\n{line.text}".encode(), [signer.verifier])

    def test_another_text_under_the_same_signature(self) -> None:
        """A signature holds for its own text alone."""
        signer = log_signer()
        with pytest.raises(NotGenuine):
            open_note(sign_note(TEXT, [signer]).replace(b"two", b"2"), [signer.verifier])

    def test_a_hundred_signatures_and_one(self) -> None:
        """A hundred lines are read, one more is refused."""
        signer = log_signer()
        line = signer.sign(TEXT).text
        assert opens(f"{TEXT}\n{line * 100}".encode(), [signer.verifier]) == [signer.name]
        assert opens(f"{TEXT}\n{line * 101}".encode(), [signer.verifier]) is None

    def test_base64_has_one_spelling(self) -> None:
        """Unused bits that are not zero, missing padding and white space are refused."""
        # 4 + 63 bytes leave unused bits in the last character.
        line = SignatureLine(name="x", key_id=b"abcd", signature=bytes(63)).text
        assert parse_note(f"{TEXT}\n{line}".encode())[1][0].signature == bytes(63)
        for other in (line.replace("A==\n", "B==\n"), line.replace("==\n", "\n"), line.replace("==\n", "== \n")):
            assert other != line
            with pytest.raises(MalformedEvidence):
                parse_note(f"{TEXT}\n{other}".encode())

    @pytest.mark.parametrize("text", ["no newline", "tab\t\n", "return\r\n", "\x00\n"])
    def test_texts_no_note_can_carry(self, text: str) -> None:
        """A text without final newline or with control characters is not signed."""
        with pytest.raises(MalformedEvidence):
            sign_note(text, [log_signer()])

    def test_huge(self) -> None:
        """A note above a mebibyte is refused before it is read."""
        with pytest.raises(MalformedEvidence, match="want at most"):
            parse_note(b"a" * ((1 << 20) + 1))

    @pytest.mark.parametrize(
        ("note", "fault"),
        [
            (b"a" * (MAX_NOTE_BYTES + 1), Fault.NOTE_SIZE),
            (b"\xff\n\n", Fault.NOTE_ENCODING),
            (b"a\t\n\n", Fault.NOTE_CONTROL_CHARACTER),
            (b"a\n", Fault.NOTE_UNSIGNED),
            ("a\n\n\u2014 n YWFhYWE=".encode(), Fault.NOTE_UNSIGNED),
            (b"a\n\n", Fault.NOTE_SIGNATURE_LINE),
            (b"a\n\n- n YWFhYWE=\n", Fault.NOTE_SIGNATURE_LINE),
            ("a\n\n\u2014 n+ YWFhYWE=\n".encode(), Fault.KEY_NAME),
            ("a\n\n\u2014  YWFhYWE=\n".encode(), Fault.KEY_NAME),
            ("a\n\n\u2014 n YWFhYQ==\n".encode(), Fault.NOTE_SIGNATURE_SIZE),
            ("a\n\n\u2014 n ?\n".encode(), Fault.BASE64),
            ("a\n\n\u2014 n YWFhYWF=\n".encode(), Fault.BASE64_SPELLING),
            (b"a\n\n" + "\u2014 n YWFhYWE=\n".encode() * 101, Fault.NOTE_SIGNATURE_COUNT),
        ],
    )
    def test_faults(self, note: bytes, fault: Fault) -> None:
        """Every way a note can be malformed has its own fault."""
        with pytest.raises(MalformedLog) as caught:
            parse_note(note)
        assert caught.value.fault == fault
