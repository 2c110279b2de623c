# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit changes`: what administrators changed, and did a second person approve each change?

Yes when every `admin.change` names an approver other than who made it; no when one does not.
"""

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time

_UNPROVEN = ("who stands behind a pseudonym: that list is kept elsewhere",)


def changes(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    table = Table(("entry", "at", "action", "target", "detail", "by", "approved by"))
    alone = 0
    for logged in bundle.view.of(Kind.ADMIN_CHANGE):
        by, approver = logged.text("by"), logged.text("approved_by")
        alone += approver in ("", by)
        said = (logged.text("action"), logged.text("target"), logged.text("detail"))
        table.add(logged.index, format_time(logged.entry.at), *said, by, approver)
    answer, because = of_bad(
        alone,
        none=f"{table.count} changes, each approved by a second person",
        some=f"of {table.count} changes name no second person who approved",
    )
    return Reply(question="changes", answer=answer, because=because, table=table, unproven=_UNPROVEN)
