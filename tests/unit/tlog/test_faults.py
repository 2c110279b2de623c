# SPDX-License-Identifier: Apache-2.0
"""Faults: each has a test that sees it, and says one thing in its own words."""

import re

import pytest

from attestation.errors import Reason
from attestation.tlog.checkpoint import Checkpoint, parse_size
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import NoteVerifier, sign_note
from tests.support.log import log_signer
from tests.support.tree import ROOT


def test_each_is_seen() -> None:
    """No fault stands without a test that asserts it by name."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "unit" / "tlog").glob("test_*.py")]
    seen = {name for source in sources for name in re.findall(r"\bFault\.([A-Z][A-Z0-9_]+)", source)}
    assert seen == {fault.name for fault in Fault}


def test_they_are_malformed_evidence() -> None:
    """Callers that switch on the reason alone see what they always saw."""
    assert MalformedLog(Fault.LENGTH, "x").reason == Reason.MALFORMED


@pytest.mark.parametrize("text", ["no newline", "tab\t\n"])
def test_texts_no_note_can_carry(text: str) -> None:
    """A text without final newline or with control characters is not signed."""
    with pytest.raises(MalformedLog) as caught:
        sign_note(text, [log_signer()])
    assert caught.value.fault == Fault.NOTE_TEXT


@pytest.mark.parametrize("text", ["", "o\n1\n", "o\n1\nAA==\n\n", "\n1\nAA==\n", "o\n1\nAA=="])
def test_texts_that_are_no_checkpoint(text: str) -> None:
    """Too few lines, an empty one, or a last one without newline."""
    for read in (Checkpoint.parse, Checkpoint.read):
        with pytest.raises(MalformedLog) as caught:
            read(text)
        assert caught.value.fault == Fault.CHECKPOINT_LINES


def test_sizes() -> None:
    """A size that does not print back the same."""
    with pytest.raises(MalformedLog) as caught:
        parse_size("01", "size")
    assert caught.value.fault == Fault.DECIMAL


def test_log_keys_of_another_length() -> None:
    """An Ed25519 key is 32 bytes."""
    with pytest.raises(MalformedLog) as caught:
        NoteVerifier(name="log", public_key=bytes(31))
    assert caught.value.fault == Fault.KEY_SIZE
