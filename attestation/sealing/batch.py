# SPDX-License-Identifier: Apache-2.0
"""Receipt halves signed in Merkle batches (docs/spec.md, 9.4).

    leaf  = H(0x00 || half)            node = H(0x01 || l || r)               RFC 6962, section 2.1
    batch = COSE_Sign1(key, "sealbid/1 " || purpose) over u32 size || root(32)
    proof = CBOR {0: batch, 1: index, 2: size, 3: [32-byte sibling, lowest first]}

One signature serves up to 64 halves, so no request waits for or pays for its own. The size is signed because several
tree sizes fit one path; with it, a half has exactly one place, and a proof exactly one form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor, cose
from attestation.codec.fields import array, numbered, octets, uint
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.tlog.merkle import leaf_hash, path_of, root_of, verify_inclusion

WORKER_HALF: Final = "worker-half"
GATEWAY_HALF: Final = "gateway-half"
PURPOSES: Final = frozenset({WORKER_HALF, GATEWAY_HALF})
MAX_LEAVES: Final = 64
_MAX_PATH: Final = 6
_MAX_COSE_BYTES: Final = 256
_STATEMENT_BYTES: Final = 4 + 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfProof:
    """What shows that one half was signed: the batch's signature and the half's path to its root.

    Raises:
        Malformed: a size over 64, an index outside it, or a sibling that is no hash.
    """

    cose: bytes
    index: int
    size: int
    path: tuple[bytes, ...]

    def __post_init__(self) -> None:
        octets(self.cose, "half_proof.cose", maximum=_MAX_COSE_BYTES)
        uint(self.size, "half_proof.size", MAX_LEAVES)
        uint(self.index, "half_proof.index", self.size - 1)
        for sibling in array(self.path, "half_proof.path", _MAX_PATH):
            octets(sibling, "half_proof.sibling", 32)

    def encode(self) -> bytes:
        """The canonical bytes."""
        return cbor.encode({0: self.cose, 1: self.index, 2: self.size, 3: self.path})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The proof of exactly these bytes, unverified. Raises `Malformed`."""
        items = numbered(cbor.decode(data), "half_proof", 4)
        return cls(
            cose=octets(items[0], "half_proof.cose"),
            index=uint(items[1], "half_proof.index"),
            size=uint(items[2], "half_proof.size"),
            path=tuple(octets(item, "half_proof.sibling") for item in array(items[3], "half_proof.path", _MAX_PATH)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBatch:
    """One signature over several halves, and the path of each."""

    cose: bytes
    paths: tuple[tuple[bytes, ...], ...]

    @property
    def size(self) -> int:
        """How many halves it signs."""
        return len(self.paths)

    def proof(self, index: int) -> HalfProof:
        """The proof of the half at `index`, in the order they were signed."""
        return HalfProof(cose=self.cose, index=index, size=self.size, path=self.paths[index])


def sign_batch(key: Ed25519PrivateKey, purpose: str, halves: Sequence[bytes]) -> SignedBatch:
    """Signs 1 to 64 encoded halves at once, for "worker-half" or "gateway-half"."""
    leaves = [leaf_hash(half) for half in halves]
    return SignedBatch(
        cose=sign_leaves(key, purpose, leaves),
        paths=tuple(tuple(path_of(leaves, index)) for index in range(len(leaves))),
    )


def sign_leaves(key: Ed25519PrivateKey, purpose: str, leaves: Sequence[bytes]) -> bytes:
    """The signature of a batch alone, over its leaf hashes: for a signer whose reader derives the paths."""
    if purpose not in PURPOSES or not 1 <= len(leaves) <= MAX_LEAVES:
        raise Malformed(f"batch of {len(leaves)} for {purpose}, want 1..{MAX_LEAVES} worker or gateway halves")
    return cose.sign(key, purpose, _statement(len(leaves), root_of(leaves)))


def verify_half(half: bytes, proof: HalfProof, *, public_key: bytes, purpose: str) -> None:
    """Accepts a half signed by `public_key` for `purpose`. What the half says is not judged here.

    Raises:
        Malformed: the signature's bytes are no COSE_Sign1 over a root.
        NotGenuine: RECEIPT_INVALID, for another key, another purpose or a path that does not lead to the root.
    """
    signed = octets(cose.verify(proof.cose, public_key, purpose, Reason.RECEIPT_INVALID), "batch", _STATEMENT_BYTES)
    size, root = int.from_bytes(signed[:4], "big"), signed[4:]
    if size != proof.size:
        raise NotGenuine(Reason.RECEIPT_INVALID, f"{purpose} batch size is {proof.size}, want the signed {size}")
    try:
        verify_inclusion(proof.index, proof.size, leaf_hash(half), proof.path, root)
    except NotGenuine as invalid:
        raise NotGenuine(Reason.RECEIPT_INVALID, f"{purpose}: {invalid.message}") from None


def _statement(size: int, root: bytes) -> bytes:
    return size.to_bytes(4, "big") + root
