# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit keys`: every key the log names, from which entry on, until when, and who added it.

Yes when each key that is over has a successor of its use and subject, and none was added for a time already over; no
otherwise. That log and lease key are the auditor's own was checked when the bundle was opened.
"""

from datetime import datetime

from attestation.audit.bundle.log_view import Logged
from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time, parse_time


def keys(bundle: VerifiedBundle) -> Reply:
    """The answer as of the log's last entry."""
    view = bundle.view
    now = max(view.at(index) for index in range(view.size))
    added = list(view.of(Kind.KEY_ADD))
    newest = {_use(logged): logged.index for logged in added}
    table = Table(("entry", "at", "use", "key", "subject", "until", "by", "state"))
    first = view.entry(0)
    for use, key in (("log", "log_key"), ("lease", "lease_key")):
        table.add(0, format_time(first.entry.at), use, first.text(key), bundle.head.origin, "", "", "in force")
    bad = 0
    for logged in added:
        state = _state(logged, now, newest[_use(logged)])
        bad += state.startswith("over")
        row = (logged.text("use"), logged.text("key"), logged.text("subject"))
        table.add(logged.index, format_time(logged.entry.at), *row, logged.text("not_after"), logged.text("by"), state)
    answer, because = of_bad(
        bad, none=f"{table.count} keys, each in force or succeeded", some="keys are over without a successor"
    )
    return Reply(question="keys", answer=answer, because=because, table=table)


def _use(logged: Logged) -> tuple[str, str]:
    return logged.text("use"), logged.text("subject")


def _state(logged: Logged, now: datetime, newest: int) -> str:
    until = logged.text("not_after")
    over = parse_time(until, "not_after") if until else None
    if over is not None and over <= logged.entry.at:
        return "over when added"
    if newest > logged.index:
        return f"succeeded by entry {newest}"
    return "over" if over is not None and over <= now else "in force"
