# SPDX-License-Identifier: Apache-2.0
"""Every parser of the log is total: any bytes either parse to what prints back the same, or are refused by name."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import AttestationError
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.cosignature import cosigned_at, parse_note_key
from attestation.tlog.entry import parse_entry
from attestation.tlog.entry_tile import decode_entries, encode_entries
from attestation.tlog.note import NoteVerifier, SignatureLine, parse_note, sign_note
from attestation.tlog.policy import parse_witness_policy
from attestation.tlog.proof import InclusionProof
from attestation.tlog.tile import EntryTile, Tile, parse_path, split_hashes
from tests.support.cosigning import policy_text, witness
from tests.support.log import ORIGIN, genesis, log_signer, verdict

POLICY = policy_text("group G 2 W1 W2 W3", "quorum G")
ENTRIES = [b"one", b"", b"three"]
HEAD = Checkpoint(origin=ORIGIN, size=3, root=b"\x11" * 32)
NOTE = sign_checkpoint(HEAD, log_signer())


def reprint_note(data: bytes) -> bytes:
    text, lines = parse_note(data)
    return f"{text}\n{''.join(line.text for line in lines)}".encode()


def reprint_extended(text: str) -> str:
    head = Checkpoint.read(text)
    return head.text + "".join(f"{line}\n" for line in text.split("\n")[3:-1])


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
    "cosigner": (
        lambda data: parse_note_key(data.decode("latin-1")).vkey.encode("latin-1"),
        witness(1).verifier.vkey.encode(),
    ),
    "policy": (
        lambda data: parse_witness_policy(data).text.encode("utf-8", "surrogateescape"),
        POLICY.encode(),
    ),
    "tile path": (
        lambda data: parse_path(data.decode("latin-1")).path.encode("latin-1"),
        b"tile/3/x001/x234/067.p/8",
    ),
    "entries": (
        lambda data: encode_entries(decode_entries(EntryTile(index=0, width=3), data)),
        encode_entries(ENTRIES),
    ),
    "checkpoint of another log": (
        lambda data: reprint_extended(data.decode("latin-1")).encode("latin-1"),
        (HEAD.text + "an extension\n").encode(),
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


@settings(max_examples=100, deadline=None)
@given(signature=st.binary(max_size=100))
def test_any_cosignature_line(signature: bytes) -> None:
    """Any bytes where a cosignature should be are refused by name, and state a time or refuse to."""
    line = SignatureLine(name=witness(1).name, key_id=witness(1).verifier.key_id, signature=signature)
    with contextlib.suppress(AttestationError):
        assert cosigned_at(line).to_bytes(8, "big") == signature[:8]
    with pytest.raises(AttestationError):
        witness(1).verifier.verify(HEAD.text, line)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), width=st.integers(1, 256))
def test_any_hash_tile(data: bytes, width: int) -> None:
    """Any bytes are the hashes of a tile of their width, or no tile."""
    with contextlib.suppress(AttestationError):
        assert b"".join(split_hashes(Tile(level=0, index=0, width=width), data)) == data


@settings(max_examples=200, deadline=None)
@given(level=st.integers(0, 63), index=st.integers(0, (1 << 55) - 1), width=st.integers(1, 256), entries=st.booleans())
def test_tile_paths(level: int, index: int, width: int, entries: bool) -> None:
    """Every tile has a path that is read back as it."""
    tile = EntryTile(index=index, width=width) if entries else Tile(level=level, index=index, width=width)
    assert parse_path(tile.path) == tile


@settings(max_examples=100, deadline=None)
@given(entries=st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_entry_bundles(entries: list[bytes]) -> None:
    """Any entries go through a bundle unchanged."""
    assert decode_entries(EntryTile(index=0, width=len(entries)), encode_entries(entries)) == entries
