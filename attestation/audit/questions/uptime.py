# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit uptime`: was logging ever down?

Nodes come back for a verdict within the hour, so a log that is alive grows. Yes when no two entries in a row are
further apart than asked; no when they are. An idle registry looks like one that is down: a log cannot tell them
apart.
"""

from typing import Final

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.tlog.schema import format_time

DEFAULT_SECONDS: Final = 3600
_UNPROVEN = ("whether a pause was an outage or a time without nodes",)


def uptime(bundle: VerifiedBundle, *, max_gap_seconds: int = DEFAULT_SECONDS) -> Reply:
    """The answer; the table has every longer pause."""
    view = bundle.view
    table = Table(("after entry", "from", "to", "seconds"))
    longest, latest = 0, view.at(0)
    for index in range(1, view.size):
        at = view.at(index)
        seconds = int((at - latest).total_seconds())
        longest = max(longest, seconds)
        if seconds > max_gap_seconds:
            table.add(index - 1, format_time(latest), format_time(at), seconds)
        latest = max(latest, at)
    answer, because = of_bad(
        table.count,
        none=f"the longest pause between entries was {longest} seconds",
        some=f"pauses were longer than {max_gap_seconds} seconds, the longest {longest}",
    )
    return Reply(question="uptime", answer=answer, because=because, table=table, unproven=_UNPROVEN)
