# SPDX-License-Identifier: Apache-2.0
"""Time lines of nodes from logged verdicts and revocations: pure, and only as complete as the entries given.

A pass is valid from its entry's time until `valid_until`, until a later pass of the same worker replaces it, or until a
revocation of its keyset. A refusal has no length. What lies between two passes, valid in neither, is a gap.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from attestation.errors import AttestationError
from attestation.server.page.values import Logged, Node, NodeState, Span
from attestation.tlog.schema import parse_time


def make_nodes(entries: Sequence[Logged], now: datetime, *, more: bool = False) -> list[Node]:
    """The nodes that these entries are about, the one with the newest entry first."""
    about: dict[str, list[Logged]] = {}
    for entry in sorted(entries, key=lambda item: -item.index):
        worker_id = entry.text("worker_id")
        if worker_id and entry.at is not None:
            about.setdefault(worker_id, []).append(entry)
    return [_node(worker_id, found[::-1], now, more=more) for worker_id, found in about.items()]


def _node(worker_id: str, entries: Sequence[Logged], now: datetime, *, more: bool) -> Node:
    spans = list(_spans(entries))
    valid = [span for span in spans if span.state is NodeState.VALID]
    return Node(
        worker_id=worker_id,
        provider=next((name for entry in reversed(entries) if (name := entry.text("provider"))), ""),
        state=_state(spans, now),
        simulated=any(entry.simulated for entry in entries),
        spans=spans,
        gaps=[
            Span(state=NodeState.EXPIRED, start=before.end, end=after.start, index=after.index)
            for before, after in pairwise(valid)
            if before.end < after.start
        ],
        more=more,
    )


def _spans(entries: Sequence[Logged]) -> Iterator[Span]:
    for place, entry in enumerate(entries):
        at, until = entry.at, _until(entry)
        if at is None:
            continue
        if entry.text("verdict") == "pass" and until is not None:
            end = min([until, *_ends(entry, entries[place + 1 :])])
            yield Span(state=NodeState.VALID, start=at, end=end, index=entry.index)
        else:
            state = NodeState.REFUSED if entry.text("verdict") == "fail" else NodeState.REVOKED
            if state is NodeState.REFUSED or entry.kind == "attest.revoke":
                yield Span(state=state, start=at, end=at, index=entry.index)


def _ends(entry: Logged, later: Sequence[Logged]) -> Iterator[datetime]:
    for other in later:
        replaced = other.text("verdict") == "pass"
        revoked = other.kind == "attest.revoke" and other.text("keyset_id") == entry.text("keyset_id")
        if other.at is not None and (replaced or revoked):
            yield other.at


def _state(spans: Sequence[Span], now: datetime) -> NodeState:
    if any(span.state is NodeState.VALID and span.start <= now < span.end for span in spans):
        return NodeState.VALID
    last = spans[-1].state if spans else NodeState.EXPIRED
    return NodeState.EXPIRED if last is NodeState.VALID else last


def _until(entry: Logged) -> datetime | None:
    try:
        return parse_time(entry.text("valid_until"), "valid_until")
    except AttestationError:
        return None
