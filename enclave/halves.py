# SPDX-License-Identifier: Apache-2.0
"""The worker's halves of receipts: numbered without gaps, signed in batches, kept until the gateway has them on disk.

    half ──add──▶ pending ──flush (64 halves or 20 ms)──▶ signed, delivered ──kept──▶ forgotten
                                                                │
                                     new hello of the gateway ──┴─▶ delivered again, with memo

A number is given at the moment its half exists, so no failure leaves a gap. Room is reserved before a call is opened:
a gateway that confirms nothing fills its own share and is refused, memory stays bounded, and no half is ever dropped.
The halves live in memory only: a worker that dies takes the unconfirmed ones along, which an auditor sees as missing
numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from attestation.codec.labels import sha256
from attestation.errors import Reason, SealingError
from attestation.tlog.merkle import leaf_hash

BATCH_HALVES: Final = 64
BATCH_SECONDS: Final = 0.02
MAX_MEMO_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoot:
    """A signed batch: the signature over its root and all its leaves, whichever gateways they are of."""

    signature: bytes
    leaves: tuple[bytes, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Half:
    """One half with what is needed to deliver it again. `origin` is the link its call came by."""

    gateway_id: bytes
    encoded: bytes
    memo: bytes = field(repr=False)
    origin: object
    root: SignedRoot | None = None
    position: int = 0


class HalfBook:
    """Every half not yet confirmed, by gateway. One per receipt key, used from one event loop."""

    def __init__(
        self,
        *,
        sign: Callable[[Sequence[bytes]], bytes],
        deliver: Callable[[bytes, Sequence[Half]], None],
        later: Callable[[float, Callable[[], None]], object],
        capacity: int,
    ) -> None:
        """`sign` gives the signature over a batch's leaf hashes, `deliver` sends halves of one gateway and batch,
        `later` calls back after seconds, `capacity` is what one gateway may leave unconfirmed."""
        self._sign = sign
        self._deliver = deliver
        self._later = later
        self._capacity = capacity
        self._next = 1
        self._pending: list[Half] = []
        self._kept: dict[bytes, dict[bytes, Half]] = {}
        self._reserved: dict[bytes, int] = {}

    @property
    def unconfirmed(self) -> int:
        """How many halves no gateway has confirmed."""
        return sum(map(len, self._kept.values()))

    def reserve(self, gateway_id: bytes) -> None:
        """Sets room aside for one call's half.

        Raises:
            SealingError: the gateway has left too many unconfirmed (WORKER_OVERLOADED).
        """
        taken = self._reserved.get(gateway_id, 0) + len(self._kept.get(gateway_id, ()))
        if taken >= self._capacity:
            message = f"unconfirmed halves are {taken}, want under {self._capacity}"
            raise SealingError(Reason.WORKER_OVERLOADED, message)
        self._reserved[gateway_id] = self._reserved.get(gateway_id, 0) + 1

    def release(self, gateway_id: bytes) -> None:
        """Gives back the room of a call that ended without a half."""
        self._reserved[gateway_id] -= 1
        if not self._reserved[gateway_id]:
            del self._reserved[gateway_id]

    def add(self, gateway_id: bytes, make: Callable[[int], bytes], *, memo: bytes, origin: object) -> bytes:
        """Numbers, keeps and returns the half that `make` encodes for its number; uses up the call's reservation."""
        encoded = make(self._next)
        self._next += 1
        self.release(gateway_id)
        half = Half(gateway_id=gateway_id, encoded=encoded, memo=memo, origin=origin)
        self._kept.setdefault(gateway_id, {})[sha256(encoded)] = half
        self._pending.append(half)
        if len(self._pending) >= BATCH_HALVES:
            self.flush()
        elif len(self._pending) == 1:
            self._later(BATCH_SECONDS, self.flush)
        return encoded

    def flush(self) -> None:
        """Signs and delivers what is pending. A timer left from a batch that filled early signs the next one sooner."""
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        leaves = tuple(leaf_hash(half.encoded) for half in batch)
        root = SignedRoot(signature=self._sign(leaves), leaves=leaves)
        groups: dict[tuple[bytes, int], list[Half]] = {}
        for position, half in enumerate(batch):
            half.root, half.position = root, position
            groups.setdefault((half.gateway_id, id(half.origin)), []).append(half)
        for (gateway_id, _), halves in groups.items():
            self._deliver(gateway_id, halves)

    def confirm(self, gateway_id: bytes, digests: Iterable[bytes]) -> None:
        """Forgets halves the gateway has on disk. Digests of others, or of another gateway's, are ignored."""
        kept = self._kept.get(gateway_id, {})
        for digest in digests:
            kept.pop(digest, None)
        if not kept:
            self._kept.pop(gateway_id, None)

    def unconfirmed_of(self, gateway_id: bytes, *, origin: object | None = None) -> Iterator[list[Half]]:
        """Signed halves to deliver again, oldest first, one batch at a time; those confirmed meanwhile are left out.

        With `origin` only those whose calls came by that link.
        """
        kept = self._kept.get(gateway_id, {})
        wanted = [item for item in kept.items() if origin is None or item[1].origin is origin]
        for _, batch in groupby(wanted, key=lambda item: id(item[1].root)):
            halves = [half for digest, half in batch if half.root is not None and digest in kept]
            for start in range(0, len(halves), BATCH_HALVES):
                yield halves[start : start + BATCH_HALVES]
