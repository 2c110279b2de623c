# SPDX-License-Identifier: Apache-2.0
"""Trees of any shape: proofs verify, agree with the whole tree, and hold for nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import NotGenuine
from attestation.tlog import merkle

LEAVES = [merkle.leaf_hash(b"%d" % index) for index in range(600)]


class Complete:
    """The complete subtrees over `LEAVES`, each made from its own leaves."""

    def __init__(self) -> None:
        self.cache: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int) -> bytes:
        """The root over one complete subtree."""
        if (level, index) not in self.cache:
            self.cache[level, index] = merkle.root_of(LEAVES[index << level : (index + 1) << level])
        return self.cache[level, index]


STORED = Complete()
ROOTS = [merkle.root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]
sizes = st.integers(1, len(LEAVES))


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    """A size and an index in it."""
    size = draw(sizes)
    return draw(st.integers(0, size - 1)), size


@settings(max_examples=300, deadline=None)
@given(place=places())
def test_inclusion(place: tuple[int, int]) -> None:
    """Both provers agree, and their proof verifies."""
    index, size = place
    path = merkle.inclusion_proof(index, size, STORED)
    assert path == merkle.path_of(LEAVES[:size], index)
    merkle.verify_inclusion(index, size, LEAVES[index], path, ROOTS[size])


@settings(max_examples=300, deadline=None)
@given(place=places(), other=places())
def test_inclusion_elsewhere(place: tuple[int, int], other: tuple[int, int]) -> None:
    """A path is good for its own leaf and root at its own index alone."""
    index, size = place
    path = merkle.inclusion_proof(index, size, STORED)
    if other[0] != index:
        with pytest.raises(NotGenuine):
            merkle.verify_inclusion(other[0], size, LEAVES[index], path, ROOTS[size])
        with pytest.raises(NotGenuine):
            merkle.verify_inclusion(index, size, LEAVES[other[0]], path, ROOTS[size])
    if other[1] != size:
        with pytest.raises(NotGenuine):
            merkle.verify_inclusion(index, size, LEAVES[index], path, ROOTS[other[1]])


@settings(max_examples=300, deadline=None)
@given(place=places())
def test_consistency(place: tuple[int, int]) -> None:
    """From any smaller size to any larger one there is a proof that verifies."""
    smaller, size = place[0] + 1, place[1]
    proof = merkle.consistency_proof(smaller, size, STORED)
    merkle.verify_consistency(smaller, ROOTS[smaller], size, ROOTS[size], proof)


@settings(max_examples=300, deadline=None)
@given(place=places(), data=st.data())
def test_altered_proofs(place: tuple[int, int], data: st.DataObject) -> None:
    """A proof with a hash dropped, doubled, swapped or altered is refused."""
    smaller, size = place[0] + 1, place[1]
    proof = merkle.consistency_proof(smaller, size, STORED)
    altered = list(proof)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        step = data.draw(st.sampled_from(["drop", "double", "flip"]))
        if step == "drop":
            del altered[at]
        elif step == "double":
            altered.insert(at, altered[at])
        else:
            altered[at] = bytes([altered[at][0] ^ 1]) + altered[at][1:]
    else:
        altered = [bytes(32)]
    with pytest.raises(NotGenuine):
        merkle.verify_consistency(smaller, ROOTS[smaller], size, ROOTS[size], altered)


@settings(max_examples=200, deadline=None)
@given(
    index=st.integers(-2, 1 << 70),
    size=st.integers(-2, 1 << 70),
    hashes=st.lists(st.binary(min_size=30, max_size=34), max_size=70),
)
def test_verifiers_are_total(index: int, size: int, hashes: list[bytes]) -> None:
    """Whatever the numbers and hashes, a verifier refuses by name and never crashes."""
    with pytest.raises(NotGenuine):
        merkle.verify_inclusion(index, size, bytes(32), hashes, b"\x01" * 32)
    with pytest.raises(NotGenuine):
        merkle.verify_consistency(index, bytes(32), size, b"\x01" * 32, hashes)
