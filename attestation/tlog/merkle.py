# SPDX-License-Identifier: Apache-2.0
"""Merkle tree hashing, inclusion and consistency proofs (RFC 6962 section 2.1; RFC 9162 sections 2.1.3 and 2.1.4).

    leaf(d)    = SHA-256(0x00 || d)
    node(l, r) = SHA-256(0x01 || l || r)
    root([])   = SHA-256("")
    root(D[n]) = node(root(D[0:k]), root(D[k:n])), k the largest power of two below n

Refused: a proof one hash too long or too short, a hash that is not 32 bytes, an index outside the tree, and consistency
from the empty tree, which would hold for every tree and so proves nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from attestation.errors import NotGenuine, Reason

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_SIZE: Final = (1 << 63) - 1
"""The largest tree size a checkpoint may name; it fits a signed 64-bit column."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# ---- whole trees in memory -------------------------------------------------------------------------------------------


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes; `EMPTY_ROOT` for none."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def path_of(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion path of leaf `index`, lowest sibling first.

    Raises:
        ValueError: no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise ValueError(f"index is {index}, want below {len(leaf_hashes)}")
    path: list[bytes] = []
    level = list(leaf_hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index >>= 1
    return path


def _level_above(level: list[bytes]) -> list[bytes]:
    """Pairs hashed together; a last one without partner moves up unchanged, which is RFC 6962's split."""
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


# ---- proofs checked --------------------------------------------------------------------------------------------------


def verify_inclusion(index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Checks that the entry hashed to `leaf_hash` is number `index` of the tree of `size` entries under `root`.

    Does not check who vouches for `root`.

    Raises:
        NotGenuine: PROOF_INVALID.
    """
    if not 0 <= index < size:
        raise _invalid(f"index is {index}, want below {size}")
    _want_hashes([leaf_hash, *path])
    position, last, computed = index, size - 1, leaf_hash
    for sibling in path:
        if last == 0:
            raise _invalid(f"inclusion path has {len(path)} hashes, want fewer")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            position, last = _skip_promoted(position, last)
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise _invalid(f"inclusion path has {len(path)} hashes, want more")
    if computed != root:
        raise _invalid(f"inclusion path of index {index} does not lead to the root of size {size}")


def verify_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree of `size1` entries under `root1` is a prefix of the tree of `size2` under `root2`.

    Raises:
        NotGenuine: PROOF_INVALID, also for `size1` = 0.
    """
    if not 0 < size1 <= size2:
        raise _invalid(f"consistency is asked from size {size1} to {size2}, want 0 < from <= to")
    _want_hashes(proof)
    if size1 == size2:
        if proof or root1 != root2:
            raise _invalid(f"two trees of size {size1} have different roots or a proof that is not empty")
        return
    # A first tree that is a whole subtree is its own first hash, so the proof leaves it out.
    hashes = [root1, *proof] if size1 & (size1 - 1) == 0 else list(proof)
    if not hashes or len(hashes[0]) != HASH_BYTES:
        raise _invalid(f"consistency proof from {size1} to {size2} is empty, want at least one hash")
    first, second, rest = _fold_consistency(size1, size2, hashes)
    if rest or first != root1 or second != root2:
        raise _invalid(f"consistency proof from size {size1} to {size2} does not lead to both roots")


def _fold_consistency(size1: int, size2: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes, int]:
    """Both roots that `hashes` lead to, and what is left of the tree above them (0 when the proof is complete)."""
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise _invalid(f"consistency proof from {size1} to {size2} has surplus hashes")
        if position & 1 or position == last:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            position, last = _skip_promoted(position, last)
        else:
            second = node_hash(second, sibling)
        position >>= 1
        last >>= 1
    return first, second, last


def _skip_promoted(position: int, last: int) -> tuple[int, int]:
    """Leaves out the levels at which the rightmost subtree has no partner and moves up unchanged."""
    while position and not position & 1:
        position >>= 1
        last >>= 1
    return position, last


def _want_hashes(hashes: Sequence[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise _invalid(f"proof hash has {len(value)} bytes, want {HASH_BYTES}")


def _invalid(message: str) -> NotGenuine:
    return NotGenuine(Reason.PROOF_INVALID, message)


# ---- large trees, of which only the complete subtrees are stored -----------------------------------------------------


class HashReader(Protocol):
    """Reads stored hashes of complete subtrees.

    `read(level, index)` is the root over leaves `index << level` up to `(index + 1) << level`. What was readable once
    is readable and unchanged for ever; a subtree not yet complete is never asked for.
    """

    def read(self, level: int, index: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A complete subtree: `level` 0 is a leaf hash."""

    level: int
    index: int
    hash: bytes


def tree_root(size: int, reader: HashReader) -> bytes:
    """The root of the first `size` entries, from at most 63 reads."""
    return _range_root(0, size, reader) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, reader: HashReader) -> list[bytes]:
    """The inclusion path of entry `index` in the tree of `size`, lowest sibling first.

    Raises:
        ValueError: no such entry in that tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"index is {index}, want below {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_root(middle, high, reader))
            high = middle
        else:
            path.append(_range_root(low, middle, reader))
            low = middle
    return path[::-1]


def consistency_proof(size1: int, size2: int, reader: HashReader) -> list[bytes]:
    """The proof that the tree of `size1` is a prefix of the tree of `size2` (RFC 6962 section 2.1.2).

    Raises:
        ValueError: unless 0 < size1 <= size2.
    """
    if not 0 < size1 <= size2:
        raise ValueError(f"consistency is asked from size {size1} to {size2}, want 0 < from <= to")
    proof: list[bytes] = []
    low, high = 0, size2
    while high != size1:
        middle = low + _split(high - low)
        if size1 <= middle:
            proof.append(_range_root(middle, high, reader))
            high = middle
        else:
            proof.append(_range_root(low, middle, reader))
            low = middle
    if low:
        proof.append(_range_root(low, high, reader))
    return proof[::-1]


def new_hashes(size: int, leaf_hash: bytes, reader: HashReader) -> list[Node]:
    """The complete subtrees that appending `leaf_hash` to a tree of `size` entries creates, lowest first."""
    nodes = [Node(level=0, index=size, hash=leaf_hash)]
    level, index, value = 0, size, leaf_hash
    while index & 1:
        value = node_hash(reader.read(level, index - 1), value)
        level, index = level + 1, index >> 1
        nodes.append(Node(level=level, index=index, hash=value))
    return nodes


def _range_root(low: int, high: int, reader: HashReader) -> bytes:
    """The root over leaves [low, high), a range that RFC 6962's split produces."""
    width = high - low
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return reader.read(level, low >> level)
    middle = low + _split(width)
    return node_hash(_range_root(low, middle, reader), _range_root(middle, high, reader))


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)
