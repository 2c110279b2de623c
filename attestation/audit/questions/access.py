# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit access`: who read or exported what is not public, and does each reading state a purpose?

Yes when every `audit.access` states one; no when one does not.
"""

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time

_UNPROVEN = (
    "who stands behind a pseudonym: that list is kept elsewhere",
    "what the operator read at its own database, which no log sees",
)


def access(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    table = Table(("entry", "at", "by", "action", "target", "purpose"))
    silent = 0
    for logged in bundle.view.of(Kind.AUDIT_ACCESS):
        purpose = logged.text("purpose")
        silent += not purpose
        said = (logged.text("by"), logged.text("action"), logged.text("target"), purpose)
        table.add(logged.index, format_time(logged.entry.at), *said)
    answer, because = of_bad(
        silent,
        none=f"{table.count} readings, each with its purpose",
        some=f"of {table.count} readings state no purpose",
    )
    return Reply(question="access", answer=answer, because=because, table=table, unproven=_UNPROVEN)
