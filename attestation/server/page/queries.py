# SPDX-License-Identifier: Apache-2.0
"""What the audit page reads of a log: each question looks at a bounded number of entries, by index or by kind.

Filters that no index answers (policy, verdict) are applied to at most `MAX_LOOKED_AT` entries; the page says how many
were looked at and links to where it stopped. Nothing beyond the published checkpoint is shown.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from attestation.errors import AttestationError, Reason
from attestation.server.page.spans import make_nodes
from attestation.server.page.values import Filters, Logged, Node, Overview, Status, Verdicts
from attestation.tlog.entry import parse_entry
from attestation.tlog.schema import parse_time
from attestation.tlog.served import PAGE, ServedLog
from attestation.tlog.store import LogError, StoredEntry

ROWS: Final = 50
FIRST_ROWS: Final = 20
MAX_LOOKED_AT: Final = 8 * PAGE
VERDICT: Final = "attest.verdict"
REVOKE: Final = "attest.revoke"
POLICY: Final = "policy.publish"
KEYS: Final = ("key.add", "key.rotate", "key.retire")
EXCEPTIONS: Final = (REVOKE, "platform.move", "incident", "shard.delete", "shard.freeze")


class LogQueries:
    """Questions to one log. Raises `LogError` when the store fails."""

    def __init__(self, log: ServedLog) -> None:
        self._log = log

    def entry(self, index: int, size: int) -> Logged:
        """The entry at `index`. Raises `LogError`, NOT_FOUND, outside the checkpoint."""
        found = self._log.entries(index, 1) if 0 <= index < size else ()
        if not found or found[0].index != index:
            raise LogError(Reason.NOT_FOUND, f"entry index is {index}, want below the checkpoint's size {size}")
        return logged(found[0])

    def policies(self, size: int) -> Sequence[Logged]:
        """The newest published policies."""
        return self._newest((POLICY,), size, PAGE)

    def verdicts(self, filters: Filters, size: int, rows: int = ROWS) -> Verdicts:
        """Verdicts that pass the filters, newest first."""
        end = min(size, size if filters.before is None else filters.before)
        if filters.until:
            end = min(end, self._first_after(f"{filters.until}T23:59:59Z", end))
        found: list[Logged] = []
        looked_at, last = 0, end
        for stored in self._walk(filters.node, end):
            looked_at += 1
            last = stored.index
            if filters.since and stored.at < filters.since:
                return Verdicts(rows=found, looked_at=looked_at, next_before=None)
            if stored.kind == VERDICT and _wanted(stored, filters):
                found.append(logged(stored))
            if len(found) == rows or looked_at == MAX_LOOKED_AT:
                return Verdicts(rows=found, looked_at=looked_at, next_before=last)
        return Verdicts(rows=found, looked_at=looked_at, next_before=None)

    def node(self, worker_id: str, size: int, now: datetime) -> tuple[Node, Sequence[Logged]] | None:
        """A worker's time line and entries, newest first; None if the log has nothing about it."""
        found = [logged(item) for item in self._log.about(worker_id, PAGE, before=size)]
        nodes = make_nodes(found, now, more=len(found) == PAGE)
        return (nodes[0], found) if nodes else None

    def overview(self, status: Status) -> Overview:
        """Everything the first view shows."""
        recent = self._newest((VERDICT, REVOKE), status.size, PAGE)
        return Overview(
            status=status,
            nodes=make_nodes(recent, status.now)[:FIRST_ROWS],
            verdicts=self.verdicts(Filters(), status.size, FIRST_ROWS),
            policies=self._newest((POLICY,), status.size, FIRST_ROWS),
            keys=[*self._newest(KEYS, status.size, FIRST_ROWS), self.entry(0, status.size)],
            refusals=[item for item in recent if item.text("verdict") == "fail"][:FIRST_ROWS],
            exceptions=self._newest(EXCEPTIONS, status.size, FIRST_ROWS),
        )

    def newest_at(self, size: int) -> datetime | None:
        """When the newest entry under the checkpoint says it was made."""
        return self.entry(size - 1, size).at if size else None

    def _newest(self, kinds: Sequence[str], size: int, limit: int) -> list[Logged]:
        return [logged(item) for item in self._log.newest(kinds, limit, before=size)]

    def _walk(self, node: str, end: int) -> Iterator[StoredEntry]:
        while page := (
            self._log.about(node, PAGE, before=end) if node else self._log.newest((VERDICT,), PAGE, before=end)
        ):
            yield from page
            end = page[-1].index

    def _first_after(self, at: str, size: int) -> int:
        """The first index whose entry says it is later than `at`: entries are in order of time but for seconds."""
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            found = self._log.entries(middle, 1)
            if found and found[0].at <= at:
                low = middle + 1
            else:
                high = middle
        return low


def logged(stored: StoredEntry) -> Logged:
    """The entry as the page shows it: bytes that are no entry known here are shown as they are, and say nothing."""
    try:
        entry = parse_entry(stored.data)
    except AttestationError:
        return Logged(index=stored.index, kind=stored.kind or "unknown", at=_time(stored.at), body={}, data=stored.data)
    return Logged(index=stored.index, kind=str(entry.kind), at=entry.at, body=entry.body, data=stored.data)


def _time(at: str) -> datetime | None:
    try:
        return parse_time(at, "at")
    except AttestationError:
        return None


def _wanted(stored: StoredEntry, filters: Filters) -> bool:
    """Whether a verdict passes the filters; a glance, because most are not shown: what is shown is parsed in full."""
    if not filters.policy and not filters.verdict:
        return True
    try:
        body = json.loads(stored.data)
    except (ValueError, RecursionError):
        return False
    entry = Logged(index=stored.index, kind=VERDICT, at=None, body=body if isinstance(body, dict) else {}, data=b"")
    policy = {entry.text("policy.id"), entry.text("policy.sha256")}
    return (not filters.policy or filters.policy in policy) and filters.verdict in ("", entry.text("verdict"))
