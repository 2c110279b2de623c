# SPDX-License-Identifier: Apache-2.0
"""The history of one node: its time line, the gaps in it, and every entry about it."""

from collections.abc import Sequence

from attestation.server.page.frame import document
from attestation.server.page.html import Markup, join, tag
from attestation.server.page.pieces import asking, entry_link, row, simulated, state, table, time, timeline, value
from attestation.server.page.values import Logged, Node, Status
from attestation.server.page.verdicts import verdict_table

_REVOCATIONS = ("Entry", "This browser", "At", "Why", "By")


def node_view(status: Status, node: Node, entries: Sequence[Logged]) -> bytes:
    """All that was logged about a node, newest first."""
    revoked = [entry for entry in entries if entry.kind == "attest.revoke"]
    return document(
        f"Node {node.worker_id[:16]}…",
        status,
        tag("p", tag("code", node.worker_id, class_="long")),
        tag("p", state(node.state.value), " at ", time(status.now), " ", simulated(node.simulated)),
        tag("p", f"Provider: {node.provider or 'not named'}"),
        timeline(node, status.now),
        tag("p", "Older entries exist and are not shown here." if node.more else "This is all the log has about it."),
        tag("h2", "Gaps"),
        _gaps(node),
        tag("h2", "Verdicts"),
        verdict_table("Verdicts about this node", [entry for entry in entries if entry.kind == "attest.verdict"]),
        tag("h2", "Revocations"),
        table(
            "Revocations of this node",
            _REVOCATIONS,
            [row(e, value(e, "at"), value(e, "reason"), value(e, "by")) for e in revoked],
            empty="It was never revoked.",
        ),
        tag("h2", "Check it on your own machine"),
        asking(f"node {node.worker_id}"),
    )


def _gaps(node: Node) -> Markup:
    if not node.gaps:
        return tag("p", "No time between two verdicts in which none was valid.")
    items = [
        tag("li", time(gap.start), " to ", time(gap.end), ", ended by ", entry_link(gap.index)) for gap in node.gaps
    ]
    return join(
        tag("p", "Nothing may have been served in these times; a receipt from one would be misconduct."),
        tag("ul", items),
    )
