# SPDX-License-Identifier: Apache-2.0
"""Readers of C2SP logs that others wrote read ours, and where they judge otherwise than we do is pinned by name.

`tlog-scales` (Python) reads tiles and all three signature types, `metamorphic-log` (Rust) reads notes and proofs.
"""

import base64
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import metamorphic_log
import pytest
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tlog import Checkpoint as TheirCheckpoint
from tlog_scales.tlog import ConsistencyProof, ConsistencyProofInvalid, InclusionProofInvalid
from tlog_scales.tlog import InclusionProof as TheirInclusionProof

from attestation.errors import NotGenuine
from attestation.tlog import merkle
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.entry_tile import encode_entries
from attestation.tlog.note import LineSigner
from attestation.tlog.tile import new_entry_tiles, new_tiles, tile_bytes
from attestation.tlog.tile_tree import TileTree
from tests.support.cosigning import AT, Dated, log_line_signer, witness
from tests.support.log import ORIGIN, log_signer
from tests.support.tiles import MemoryTiles
from tests.support.vectors import vector_files, vector_json

SEED = 0x5EA1
SIZES = [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, *random.Random(SEED).sample(range(3, 3000), 6)]


class Grown:
    """The hashes of a tree whose leaves are given, made once."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            self.levels.append([merkle.node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def read(self, level: int, index: int) -> bytes:
        return self.levels[level][index]


class OurLog:
    """A log of random entries as our code lays it out, served to the foreign reader as files by path."""

    def __init__(self, size: int) -> None:
        chance = random.Random(SEED + size)
        self.entries = [chance.randbytes(chance.randrange(20)) for _ in range(size)]
        self.leaves = [merkle.leaf_hash(entry) for entry in self.entries]
        self.hashes = Grown(self.leaves)
        self.head = Checkpoint(origin=ORIGIN, size=size, root=merkle.tree_root(size, self.hashes))
        signers: list[LineSigner] = [
            log_signer(),
            log_line_signer(),
            Dated(witness(1), AT),
            Dated(witness(2, ml_dsa=True), AT + 1),
        ]
        self.note = sign_checkpoint(self.head, *signers)
        self.files = {tile.path: tile_bytes(tile, self.hashes) for tile in new_tiles(0, size)}
        for tile in new_entry_tiles(0, size):
            first = tile.index * 256
            self.files[tile.path] = encode_entries(self.entries[first : first + tile.width])
        self.files["checkpoint"] = self.note

    def get(self, *path: str) -> bytes | None:
        return self.files.get("/".join(path))

    def reader(self) -> TilesReader:
        """The foreign reader at this log."""
        reader = TilesReader(self)
        reader.get_checkpoint()
        return reader

    def some(self) -> list[int]:
        """Indices at every edge, and a few others."""
        size = len(self.entries)
        edges = {0, 1, 255, 256, 257, 65_279, 65_280, 65_535, 65_536, size // 2, size - 1}
        chance = random.Random(size)
        return sorted({*(edges & set(range(size))), *(chance.randrange(size) for _ in range(5))})


@cache
def log_of(size: int) -> OurLog:
    """The log of this size; tests only read it."""
    return OurLog(size)


@pytest.fixture(params=SIZES)
def log(request: pytest.FixtureRequest) -> OurLog:
    """Logs of the sizes at which trees of tiles change shape."""
    return log_of(request.param)


def accepts(call: Callable[[], object]) -> bool:
    """Whether a verifier lets something pass; any other exception than its refusal is a failure of the test."""
    try:
        call()
    except (NotGenuine, InclusionProofInvalid, ConsistencyProofInvalid, metamorphic_log.VerifyError):
        return False
    return True


class TestTilesReader:
    """tlog-scales 0.0.3."""

    def test_head(self, log: OurLog) -> None:
        """It reads our checkpoint, and hashes our tiles to its root."""
        checkpoint = log.reader().get_checkpoint()
        assert (checkpoint.origin, checkpoint.size, checkpoint.root_hash) == (ORIGIN, log.head.size, log.head.root)
        assert log.reader().calculate_root_hash() == log.head.root

    def test_all_signature_types(self, log: OurLog) -> None:
        """It verifies the log's two lines and both kinds of cosignature, and finds no other."""
        cosigners = [log_line_signer(), witness(1), witness(2, ml_dsa=True)]
        vkeys = [log_signer().verifier.vkey, *(signer.verifier.vkey for signer in cosigners)]
        checkpoint = TheirCheckpoint.from_text(log.note.decode())
        known = VkeySet(*map(Vkey.from_string, vkeys))
        verified = known.verify(checkpoint.signatures, checkpoint)
        assert sorted(str(key.serialize()) for key, _ in verified) == sorted(vkeys)  # type: ignore[no-untyped-call]
        other = TheirCheckpoint(ORIGIN, log.head.size + 1, log.head.root, checkpoint.signatures)
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it raises, it does not return
            other.verify(Vkey.from_string(log_signer().verifier.vkey))

    def test_entries(self, log: OurLog) -> None:
        """It reads our entries out of their bundles."""
        reader = log.reader()
        assert [reader.get_entry(index) for index in log.some()] == [log.entries[index] for index in log.some()]

    def test_proofs_are_the_same(self, log: OurLog) -> None:
        """The proofs it makes from our tiles are the proofs we make, hash by hash, and each verifies the other's."""
        reader, size, root = log.reader(), log.head.size, log.head.root
        ours = TileTree(log.head, MemoryTiles(log.files))
        for index in log.some():
            theirs = reader.get_inclusion_proof(index, size)
            assert theirs.node_hashes == ours.inclusion(index) == merkle.inclusion_proof(index, size, log.hashes)
            theirs.check(log.leaves[index], root)
            merkle.verify_inclusion(index, size, log.leaves[index], theirs.node_hashes, root)
        for old in log.some():
            if old == 0:
                continue
            old_root = merkle.tree_root(old, log.hashes)
            proof = reader.get_consistency_proof(old, size)
            assert proof.node_hashes == ours.consistency(old)
            proof.check(old_root, root)
            merkle.verify_consistency(old, old_root, size, root, proof.node_hashes)


class TestNoteReader:
    """metamorphic-log 0.1.11."""

    def test_head(self, log: OurLog) -> None:
        """It opens our checkpoint under the log's Ed25519 key, with further lines below, and no other's."""
        head = metamorphic_log.checkpoint_verify(log.note.decode(), [log_signer().verifier.vkey])
        assert (head.origin, head.size, head.root) == (ORIGIN, log.head.size, log.head.root)
        with pytest.raises(metamorphic_log.VerifyError):
            metamorphic_log.checkpoint_verify(log.note.decode(), [log_signer(seed=9).verifier.vkey])

    def test_inclusion(self, log: OurLog) -> None:
        """It verifies our inclusion proofs under our checkpoint, and refuses them for another entry."""
        for index in log.some():
            path = merkle.inclusion_proof(index, log.head.size, log.hashes)
            vkeys = [log_signer().verifier.vkey]
            metamorphic_log.checkpoint_verify_inclusion(log.note.decode(), vkeys, index, log.leaves[index], path)
            with pytest.raises(metamorphic_log.VerifyError):
                metamorphic_log.checkpoint_verify_inclusion(log.note.decode(), vkeys, index, bytes(32), path)

    def test_consistency(self, log: OurLog) -> None:
        """It verifies our consistency proofs."""
        for old in (old for old in log.some() if old):
            proof = merkle.consistency_proof(old, log.head.size, log.hashes)
            old_root = merkle.tree_root(old, log.hashes)
            metamorphic_log.verify_consistency(old, log.head.size, proof, old_root, log.head.root)


# ---- verdicts, ours beside theirs ------------------------------------------------------------------------------------

DEVIATIONS = {
    "tlog-scales": {
        # Size 0 is consistent with everything, which proves nothing: we refuse it, whatever the roots.
        "consistency/additional/roots-do-not-match-and-sizes-are-zero.json",
        "consistency/additional/size1-is-zero-and-size2-is-not-zero.json",
        "consistency/additional/sizes-are-equal-zero-and-proof-is-empty.json",
        # An empty text as leaf hash and as root: we want 32 bytes.
        "inclusion/single-entry/empty-root-and-leaf.json",
    },
    # A tree is a prefix of itself, with no proof: we accept it, it does not.
    "metamorphic-log": {"consistency/additional/sizes-are-equal-one-and-proof-is-empty.json"},
    "ours": set[str](),
}
"""Where each judges otherwise than the probe says it must; nothing else may differ, and each of these must."""


def probes(kind: str) -> list[tuple[str, Any]]:
    """The published probes of one kind, each with its name."""
    files = vector_files("log", "merkle", kind)
    assert len(files) == 98
    return [("/".join(file.parts[file.parts.index(kind) :]), vector_json(str(file))) for file in files]


def raw(text: str | None) -> bytes:
    """The bytes of a probe's base64 field."""
    return base64.b64decode(text or "")


def judged(case: Any) -> dict[str, bool]:
    """Who accepts a probe."""
    proof = [raw(value) for value in case["proof"] or []]
    if "leafIdx" in case:
        index, size, leaf, root = case["leafIdx"], case["treeSize"], raw(case["leafHash"]), raw(case["root"])
        calls: dict[str, Callable[[], object]] = {
            "tlog-scales": lambda: TheirInclusionProof(index, size, proof).check(leaf, root),
            "metamorphic-log": lambda: metamorphic_log.verify_inclusion(index, size, leaf, proof, root),
            "ours": lambda: merkle.verify_inclusion(index, size, leaf, proof, root),
        }
    else:
        old, size, old_root, root = case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"])
        calls = {
            "tlog-scales": lambda: ConsistencyProof(old, size, proof).check(old_root, root),
            "metamorphic-log": lambda: metamorphic_log.verify_consistency(old, size, proof, old_root, root),
            "ours": lambda: merkle.verify_consistency(old, old_root, size, root, proof),
        }
    return {name: accepts(call) for name, call in calls.items()}


def test_published_probes() -> None:
    """All three judge the published probes as published, but for the deviations named above, each of which is real."""
    found: dict[str, set[str]] = {name: set() for name in DEVIATIONS}
    for name, case in probes("inclusion") + probes("consistency"):
        for reader, accepted in judged(case).items():
            if accepted is case["wantErr"]:
                found[reader].add(name)
    assert found == DEVIATIONS


def test_damaged_proofs() -> None:
    """On random trees, a proof with one damaged hash or root is refused by all, and other sizes are judged alike."""
    chance = random.Random(SEED)
    for _ in range(150):
        log = log_of(chance.choice(SIZES[1:]))
        size, root = log.head.size, log.head.root
        index = chance.randrange(size)
        proof = merkle.inclusion_proof(index, size, log.hashes)
        case = {"leafIdx": index, "treeSize": size, "leafHash": log.leaves[index], "root": root, "proof": proof}
        old = chance.randrange(1, size)
        proof = merkle.consistency_proof(old, size, log.hashes)
        roots = {"root1": merkle.tree_root(old, log.hashes), "root2": root}
        for whole in (case, {"size1": old, "size2": size, **roots, "proof": proof}):
            assert set(judged(encoded(whole)).values()) == {True}
            name = chance.choice(sorted(whole))
            verdicts = set(judged(encoded(whole | {name: damaged(whole[name], chance)})).values())
            # A path does not say how large its tree is: another size may have the same one. The root's signature does.
            assert verdicts == {False} or (isinstance(whole[name], int) and len(verdicts) == 1)


def damaged(value: Any, chance: random.Random) -> Any:
    """A size, hash or list of hashes changed."""
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    hashes = list(value)
    if hashes and chance.random() < 0.5:
        del hashes[chance.randrange(len(hashes))]
    else:
        hashes.insert(chance.randrange(len(hashes) + 1), chance.randbytes(32))
    return hashes


def encoded(case: dict[str, Any]) -> dict[str, Any]:
    """A case with its hashes as the published ones have them."""

    def text(value: Any) -> Any:
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return [text(item) for item in value] if isinstance(value, list) else value

    return {name: text(value) for name, value in case.items()}
