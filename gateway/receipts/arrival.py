# SPDX-License-Identifier: Apache-2.0
"""A worker's signed batch of halves as it arrived, and what it must pass before it is stored (docs/spec.md, 9.4).

    arrival = COSE_Sign1(receipt key, "worker-half") over the root, all leaves of the batch, the halves of this gateway

Checked: the signature under the receipt key of the link's own worker, the root over the leaves, each half's place among
them, and that each half names that worker. Not checked: whether a half fits any request; the journal joins by dispatch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from attestation.codec.labels import sha256
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.sealing.batch import MAX_LEAVES, WORKER_HALF, HalfProof, verify_half
from attestation.sealing.halves import WorkerHalf, worker_half_digest
from attestation.tlog.merkle import leaf_hash, path_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfArrival:
    """Unverified. `halves` are (position, half, memo); the memo is empty except after a new hello."""

    worker_id: bytes
    receipt_key: bytes
    cose: bytes
    leaves: tuple[bytes, ...]
    halves: Sequence[tuple[int, bytes, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedHalf:
    """A half and what it names; in a verified arrival it has a place in its batch, and a memo after a new hello."""

    worker_id: bytes
    half_sha256: bytes
    dispatch_sha256: bytes
    half: bytes
    memo: bytes = field(default=b"", repr=False)
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHalves:
    """A verified arrival."""

    batch_sha256: bytes
    cose: bytes
    leaves: tuple[bytes, ...]
    halves: tuple[NamedHalf, ...]


def verify_arrival(arrival: HalfArrival) -> SignedHalves:
    """The arrival's halves, proven.

    Raises:
        Malformed: the batch or a half does not parse.
        NotGenuine: the signature, a place or a worker id does not hold (RECEIPT_INVALID).
    """
    size = len(arrival.leaves)
    if not 0 < size <= MAX_LEAVES or any(len(leaf) != 32 for leaf in arrival.leaves):
        raise Malformed(f"half batch has {size} leaves, want 1..{MAX_LEAVES} of 32 bytes")
    if not 0 < len(arrival.halves) <= size:
        raise Malformed(f"half batch has {len(arrival.halves)} halves, want 1..{size}")
    halves = tuple(_place(arrival, *half) for half in arrival.halves)
    # The path of one half is made of the given leaves, so it leads to the signed root only if all of them are signed.
    index, half, _ = arrival.halves[0]
    proof = HalfProof(cose=arrival.cose, index=index, size=size, path=tuple(path_of(arrival.leaves, index)))
    verify_half(half, proof, public_key=arrival.receipt_key, purpose=WORKER_HALF)
    return SignedHalves(
        batch_sha256=sha256(arrival.cose),
        cose=arrival.cose,
        leaves=arrival.leaves,
        halves=halves,
    )


def name_half(half: bytes) -> NamedHalf:
    """A half outside any batch. Raises `Malformed`."""
    parsed = WorkerHalf.decode(half)
    return NamedHalf(
        worker_id=parsed.worker_id,
        half_sha256=worker_half_digest(half),
        dispatch_sha256=parsed.dispatch_sha256,
        half=half,
    )


def _place(arrival: HalfArrival, position: int, half: bytes, memo: bytes) -> NamedHalf:
    if not 0 <= position < len(arrival.leaves) or leaf_hash(half) != arrival.leaves[position]:
        raise NotGenuine(Reason.RECEIPT_INVALID, f"half {position} is not the leaf at its place in the batch")
    parsed = WorkerHalf.decode(half)
    if parsed.worker_id != arrival.worker_id:
        raise NotGenuine(Reason.RECEIPT_INVALID, f"half {position} names another worker than the one that signed it")
    return NamedHalf(
        worker_id=arrival.worker_id,
        half_sha256=worker_half_digest(half),
        dispatch_sha256=parsed.dispatch_sha256,
        half=half,
        memo=memo,
        position=position,
    )
