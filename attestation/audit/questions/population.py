# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit population`: how many entries of each kind are there between two dates, and is that all of them?

The entries of a period are one range of indices under a signed root, so their number is provable. Yes when times never
run back by more than `SLACK_SECONDS`; no when an entry is dated before its forerunner, and so could have been moved
into a period or out of it.
"""

from collections import Counter
from datetime import datetime
from typing import Final

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time

SLACK_SECONDS: Final = 60
"""Entries of one moment are written by several threads; they may stand in another order than their times."""
_UNPROVEN = ("that times are true: they are the operator's, `sealbid audit when` says what bounds them",)


def population(bundle: VerifiedBundle, *, since: datetime | None, until: datetime | None) -> Reply:
    """The answer for entries dated from `since` on and before `until`."""
    view = bundle.view
    counts: Counter[Kind] = Counter()
    first: dict[Kind, int] = {}
    last: dict[Kind, int] = {}
    latest, backwards = view.at(0), 0
    for index in range(view.size):
        at = view.at(index)
        backwards += (latest - at).total_seconds() > SLACK_SECONDS
        latest = max(latest, at)
        if (since is None or at >= since) and (until is None or at < until):
            kind = view.kind(index)
            counts[kind] += 1
            first.setdefault(kind, index)
            last[kind] = index
    table = Table(("kind", "count", "first entry", "last entry"))
    for kind in sorted(counts):
        table.add(kind.value, counts[kind], first[kind], last[kind])
    period = f"from {_said(since, 'the beginning')} to {_said(until, 'the end')}"
    because = f"{counts.total()} of {view.size} entries are dated {period}"
    if backwards:
        because += f", and {backwards} entries are dated before one that stands before them"
    answer = Answer.NO if backwards else Answer.YES
    return Reply(question="population", answer=answer, because=because, table=table, unproven=_UNPROVEN)


def _said(at: datetime | None, otherwise: str) -> str:
    return otherwise if at is None else format_time(at)
