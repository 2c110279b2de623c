# SPDX-License-Identifier: Apache-2.0
"""Merkle trees: published probes, the sizes at which trees change shape, and refusals."""

import base64
import hashlib

import pytest

from attestation.errors import NotGenuine, Reason
from attestation.tlog import merkle
from tests.support.vectors import vector_files, vector_json, vectors

INCLUSION_CASES = 98
CONSISTENCY_CASES = 98


class Stored:
    """The complete subtrees of a growing tree."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.leaves: list[bytes] = []

    def read(self, level: int, index: int) -> bytes:
        """A stored hash."""
        return self.nodes[level, index]

    def grow_to(self, size: int) -> "Stored":
        """Appends leaves up to `size`."""
        for index in range(len(self.leaves), size):
            leaf = merkle.leaf_hash(b"leaf %d" % index)
            self.nodes |= {(node.level, node.index): node.hash for node in merkle.new_hashes(index, leaf, self)}
            self.leaves.append(leaf)
        return self


def refused(call: object, *args: object) -> bool:
    """Whether a verifier refuses, and by the right name."""
    assert callable(call)
    try:
        call(*args)
    except NotGenuine as error:
        return error.reason == Reason.PROOF_INVALID
    return False


def raw(text: str | None) -> bytes:
    """The bytes of a vector's base64 field."""
    return base64.b64decode(text or "")


class TestPublishedProbes:
    def test_inclusion(self) -> None:
        """Every published inclusion probe gets the verdict it states, and none is left out."""
        files = vector_files("log", "merkle", "inclusion")
        wrong = []
        for file in files:
            case = vector_json(str(file))
            path = [raw(value) for value in case["proof"] or []]
            got = refused(
                merkle.verify_inclusion,
                case["leafIdx"],
                case["treeSize"],
                raw(case["leafHash"]),
                path,
                raw(case["root"]),
            )
            if got != case["wantErr"]:
                wrong.append((file.parent.name, file.name))
        assert wrong == []
        assert len(files) == INCLUSION_CASES

    def test_consistency(self) -> None:
        """Every published consistency probe gets the verdict it states, and none is left out."""
        files = vector_files("log", "merkle", "consistency")
        wrong = []
        for file in files:
            case = vector_json(str(file))
            proof = [raw(value) for value in case["proof"] or []]
            got = refused(
                merkle.verify_consistency,
                case["size1"],
                raw(case["root1"]),
                case["size2"],
                raw(case["root2"]),
                proof,
            )
            if got != case["wantErr"]:
                wrong.append((file.parent.name, file.name))
        assert wrong == []
        assert len(files) == CONSISTENCY_CASES

    def test_leaf(self) -> None:
        """The leaf hash is that of the Go checksum database's own test."""
        case = vector_json("log", "transcribed", "xmod-tlog.json")
        assert merkle.leaf_hash(case["leaf"].encode()) == raw(case["leaf_hash"])

    def test_vectors_are_where_they_are_said_to_be(self) -> None:
        """The folder names its origin."""
        assert "transparency-dev" in vectors("log", "merkle", ".origin").read_text()


class TestTrees:
    def test_empty(self) -> None:
        """The empty tree's root is the hash of nothing."""
        assert hashlib.sha256(b"").digest() == merkle.EMPTY_ROOT
        assert merkle.root_of([]) == merkle.tree_root(0, Stored()) == merkle.EMPTY_ROOT

    def test_one_leaf(self) -> None:
        """A tree of one leaf has the leaf hash as its root and an empty path."""
        tree = Stored().grow_to(1)
        assert merkle.root_of(tree.leaves) == tree.leaves[0] == merkle.tree_root(1, tree)
        assert merkle.inclusion_proof(0, 1, tree) == []
        merkle.verify_inclusion(0, 1, tree.leaves[0], [], tree.leaves[0])

    def test_three_leaves_by_hand(self) -> None:
        """RFC 6962 splits three leaves into two and one."""
        a, b, c = (merkle.leaf_hash(bytes([i])) for i in range(3))
        ab = hashlib.sha256(b"\x01" + a + b).digest()
        assert merkle.root_of([a, b, c]) == hashlib.sha256(b"\x01" + ab + c).digest()
        assert merkle.path_of([a, b, c], 2) == [ab]

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257])
    def test_stored_subtrees_give_the_same_proofs(self, size: int) -> None:
        """Roots and paths from stored subtrees are those computed from all leaves, and verify."""
        tree = Stored().grow_to(size)
        root = merkle.root_of(tree.leaves)
        assert merkle.tree_root(size, tree) == root
        for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
            path = merkle.inclusion_proof(index, size, tree)
            assert path == merkle.path_of(tree.leaves, index)
            merkle.verify_inclusion(index, size, tree.leaves[index], path, root)

    @pytest.mark.parametrize("size", [1, 255, 256, 257])
    def test_every_prefix_is_consistent(self, size: int) -> None:
        """From every smaller size there is a proof that verifies, and that no other root passes."""
        tree = Stored().grow_to(size)
        root = merkle.tree_root(size, tree)
        for smaller in range(1, size + 1):
            proof = merkle.consistency_proof(smaller, size, tree)
            old = merkle.tree_root(smaller, tree)
            merkle.verify_consistency(smaller, old, size, root, proof)
            assert refused(merkle.verify_consistency, smaller, merkle.EMPTY_ROOT, size, root, proof)
            assert refused(merkle.verify_consistency, smaller, old, size, merkle.EMPTY_ROOT, proof)

    def test_only_new_complete_subtrees_are_made(self) -> None:
        """Appending leaf 255 completes eight subtrees above it, leaf 256 none."""
        tree = Stored().grow_to(255)
        made = merkle.new_hashes(255, merkle.leaf_hash(b"leaf 255"), tree)
        assert [(node.level, node.index) for node in made] == [(level, 255 >> level) for level in range(9)]
        tree.grow_to(256)
        assert [(node.level, node.index) for node in merkle.new_hashes(256, b"x" * 32, tree)] == [(0, 256)]


class TestRefusals:
    def test_consistency_from_nothing(self) -> None:
        """Size 0 is consistent with everything and so proves nothing: refused, with the right roots too."""
        root = merkle.leaf_hash(b"a")
        assert refused(merkle.verify_consistency, 0, merkle.EMPTY_ROOT, 1, root, [])
        assert refused(merkle.verify_consistency, 0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])

    def test_shrinking(self) -> None:
        """A larger tree is no prefix of a smaller one."""
        root = merkle.leaf_hash(b"a")
        assert refused(merkle.verify_consistency, 2, root, 1, root, [])

    def test_a_node_is_not_a_leaf(self) -> None:
        """An inner node's two halves, offered as an entry, do not hash to the node."""
        tree = Stored().grow_to(2)
        root = merkle.tree_root(2, tree)
        forged = merkle.leaf_hash(tree.leaves[0] + tree.leaves[1])
        assert refused(merkle.verify_inclusion, 0, 1, forged, [], root)

    @pytest.mark.parametrize("size", [31, 33, 0])
    def test_hashes_of_another_length(self, size: int) -> None:
        """A hash that is not 32 bytes is refused, in path and in leaf."""
        root = merkle.leaf_hash(b"a")
        assert refused(merkle.verify_inclusion, 0, 2, root, [bytes(size)], root)
        assert refused(merkle.verify_inclusion, 0, 1, bytes(size), [], bytes(size))
        assert refused(merkle.verify_consistency, 1, bytes(size), 2, root, [root])

    @pytest.mark.parametrize(("index", "size"), [(1, 1), (-1, 1), (0, 0), (5, 3)])
    def test_proofs_outside_the_tree(self, index: int, size: int) -> None:
        """Neither making nor checking a proof reaches outside the tree."""
        tree = Stored().grow_to(8)
        assert refused(merkle.verify_inclusion, index, size, bytes(32), [], bytes(32))
        with pytest.raises(ValueError, match="index is"):
            merkle.inclusion_proof(index, size, tree)
        with pytest.raises(ValueError, match="index is"):
            merkle.path_of(tree.leaves[:size], index)

    @pytest.mark.parametrize(("size1", "size2"), [(0, 1), (3, 2), (-1, 2)])
    def test_consistency_proofs_that_cannot_be(self, size1: int, size2: int) -> None:
        """There is no consistency proof from nothing or backwards."""
        with pytest.raises(ValueError, match="consistency is asked"):
            merkle.consistency_proof(size1, size2, Stored().grow_to(4))
