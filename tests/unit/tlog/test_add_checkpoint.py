# SPDX-License-Identifier: Apache-2.0
"""The request a log sends to a witness: its grammar, and that it is total on any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.tlog.add_checkpoint import (
    MAX_ANSWER_BYTES,
    MAX_HASHES,
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    read_conflict,
    read_cosignatures,
)

_HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_HASHES).map(tuple)


@given(old=st.integers(0, (1 << 63) - 1), proof=_HASHES, note=st.binary(max_size=300))
def test_what_is_written_reads_back(old: int, proof: tuple[bytes, ...], note: bytes) -> None:
    """Every request has one spelling, whatever its note is."""
    request = AddCheckpoint(old=old, proof=proof, note=note)
    assert AddCheckpoint.decode(request.encode()) == request


@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda tail: b"old 3\n" + tail + b"\n\n"))
def test_any_bytes_read_or_are_malformed(body: bytes) -> None:
    """The parser is total, and what it accepts is spelt as it would be written."""
    try:
        request = AddCheckpoint.decode(body)
    except MalformedEvidence:
        return
    assert request.encode() == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1\nnote",
        b"\n\nnote",
        b"size 1\n\nnote",
        b"old  1\n\nnote",
        b"old 01\n\nnote",
        b"old -1\n\nnote",
        b"old +1\n\nnote",
        b"old 9223372036854775808\n\nnote",
        b"old 1 \n\nnote",
        b"old 1\r\n\r\nnote",
        b"old 1\nAAAA\n\nnote",
        b"old 1\n" + b"A" * 43 + b"\n\nnote",
        b"old 1\n" + b"A" * 42 + b"B=\n\nnote",
        b"old 1\n" + b"_" * 43 + b"=\n\nnote",
        b"old 1\n" + (b"A" * 43 + b"=\n") * (MAX_HASHES + 1) + b"\nnote",
        b"old 1\n\n" + bytes(MAX_REQUEST_BYTES),
        "old 1\n\u00b9\n\nnote".encode(),
    ],
)
def test_other_spellings_are_malformed(body: bytes) -> None:
    """Sizes, hashes, lines and lengths have one form each."""
    with pytest.raises(MalformedEvidence):
        AddCheckpoint.decode(body)


@pytest.mark.parametrize(
    "body", [b"", b"7", b"7\n\n", b" 7\n", b"07\n", b"-7\n", b"7\r\n", "\u0667\n".encode(), b"x\n"]
)
def test_a_conflict_names_one_size(body: bytes) -> None:
    """A size and a newline, or it is malformed."""
    assert read_conflict(b"20852014\n") == 20852014
    with pytest.raises(MalformedEvidence):
        read_conflict(body)


@pytest.mark.parametrize("body", [b"", b"OK", b"\n", b"cosigned\n", bytes(MAX_ANSWER_BYTES + 1), b"\xff\n"])
def test_an_answer_without_signature_lines_is_malformed(body: bytes) -> None:
    """An answer is signature lines and nothing else."""
    with pytest.raises(MalformedEvidence):
        read_cosignatures(body, "log\n1\nroot\n")
