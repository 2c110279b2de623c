# SPDX-License-Identifier: Apache-2.0
"""Every parser of the log is total: any bytes either parse to what prints back the same, or are refused by name."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import AttestationError
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.entry import parse_entry
from attestation.tlog.note import NoteVerifier, parse_note, sign_note
from attestation.tlog.proof import InclusionProof
from tests.support.log import ORIGIN, genesis, log_signer, verdict

HEAD = Checkpoint(origin=ORIGIN, size=3, root=b"\x11" * 32)
NOTE = sign_checkpoint(HEAD, log_signer())


def reprint_note(data: bytes) -> bytes:
    text, lines = parse_note(data)
    return f"{text}\n{''.join(line.text for line in lines)}".encode()


PARSERS: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "note": (reprint_note, NOTE),
    "checkpoint": (lambda data: Checkpoint.parse(data.decode("latin-1")).text.encode("latin-1"), HEAD.text.encode()),
    "proof": (
        lambda data: InclusionProof.decode(data).encode(),
        InclusionProof(index=1, path=(bytes(32), b"\xff" * 32), checkpoint=NOTE).encode(),
    ),
    "vkey": (
        lambda data: NoteVerifier.parse(data.decode("latin-1")).vkey.encode("latin-1"),
        log_signer().verifier.vkey.encode(),
    ),
    "genesis": (lambda data: parse_entry(data).encoded, genesis().encoded),
    "verdict": (lambda data: parse_entry(data).encoded, verdict().encoded),
}


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=None)
@given(junk=st.binary(max_size=200))
def test_junk(name: str, junk: bytes) -> None:
    """Junk is refused with an error of ours, or is what the parser would print."""
    parse, _ = PARSERS[name]
    with contextlib.suppress(AttestationError):
        assert parse(junk) == junk


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutations(name: str, data: st.DataObject) -> None:
    """A genuine one with a piece cut, doubled or replaced is refused, or is what the parser would print."""
    parse, genuine = PARSERS[name]
    start = data.draw(st.integers(0, len(genuine)))
    end = data.draw(st.integers(start, min(len(genuine), start + 40)))
    piece = data.draw(st.sampled_from([b"", genuine[start:end] * 2]) | st.binary(max_size=8))
    mutated = genuine[:start] + piece + genuine[end:]
    with contextlib.suppress(AttestationError):
        assert parse(mutated) == mutated


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=80), lines=st.integers(1, 5))
def test_notes_carry_any_text(text: str, lines: int) -> None:
    """Any text without control characters goes through a note unchanged."""
    signers = [log_signer(f"k{index}", index + 1) for index in range(lines)]
    note = sign_note(text + "\n", signers)
    assert parse_note(note)[0] == text + "\n"
    assert reprint_note(note) == note
