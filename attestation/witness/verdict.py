# SPDX-License-Identifier: Apache-2.0
"""Whether a head may be cosigned: the rules of C2SP tlog-witness, decided from what was submitted and what is known.

The order is part of the protocol, since it decides which status an answer has:

    unknown_log    404  no log of this origin is configured
    unsigned       403  no signature by a key of the log, or one that does not verify
    limited        429  the log has used up its quota (asked of signed heads only: nobody else can use it up)
    old_too_large  400  the old size is above the size submitted
    conflict       409  the old size is not that of the last head cosigned; the answer names that size
    empty_root     422  size 0 with another root than that of the empty tree
    inconsistent   422  a proof from size 0, or one that does not lead from the last head to this one
    forked         422  the size of the last head and another root: two histories under one key

A head of the same size and root as the last is cosigned anew: its time is what readers judge freshness by.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from attestation.errors import NotGenuine
from attestation.tlog import merkle
from attestation.tlog.add_checkpoint import AddCheckpoint
from attestation.tlog.checkpoint import Checkpoint


class Outcome(StrEnum):
    """What became of a request; a closed set, used in metrics and log lines."""

    COSIGNED = "cosigned"
    MALFORMED = "malformed"
    UNKNOWN_LOG = "unknown_log"
    UNSIGNED = "unsigned"
    LIMITED = "limited"
    OLD_TOO_LARGE = "old_too_large"
    CONFLICT = "conflict"
    EMPTY_ROOT = "empty_root"
    INCONSISTENT = "inconsistent"
    FORKED = "forked"
    ROLLED_BACK = "rolled_back"
    CLOCK = "clock"
    UNAVAILABLE = "unavailable"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self]


_STATUS: Final = MappingProxyType(
    {
        Outcome.COSIGNED: 200,
        Outcome.MALFORMED: 400,
        Outcome.UNKNOWN_LOG: 404,
        Outcome.UNSIGNED: 403,
        Outcome.LIMITED: 429,
        Outcome.OLD_TOO_LARGE: 400,
        Outcome.CONFLICT: 409,
        Outcome.EMPTY_ROOT: 422,
        Outcome.INCONSISTENT: 422,
        Outcome.FORKED: 422,
        Outcome.ROLLED_BACK: 503,
        Outcome.CLOCK: 503,
        Outcome.UNAVAILABLE: 503,
    }
)


def judge(request: AddCheckpoint, head: Checkpoint, last: Checkpoint | None) -> Outcome:
    """COSIGNED if `head`, which `request` submitted signed, continues `last`, the last head cosigned for its origin.

    Does not check the signature of either.
    """
    known = last.size if last else 0
    if request.old > head.size:
        return Outcome.OLD_TOO_LARGE
    if request.old != known:
        return Outcome.CONFLICT
    if head.size == 0 and head.root != merkle.EMPTY_ROOT:
        return Outcome.EMPTY_ROOT
    if last is None or last.size == 0:
        return Outcome.INCONSISTENT if request.proof else Outcome.COSIGNED
    if head.size == last.size and head.root != last.root:
        return Outcome.FORKED
    try:
        merkle.verify_consistency(last.size, last.root, head.size, head.root, request.proof)
    except NotGenuine:
        return Outcome.INCONSISTENT
    return Outcome.COSIGNED
