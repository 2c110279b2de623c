# SPDX-License-Identifier: Apache-2.0
"""The first view: status, nodes, newest verdicts, policies, keys and witnesses, exceptions, controls, limits."""

from collections.abc import Sequence

from attestation.server.page.frame import document
from attestation.server.page.html import Child, Markup, join, tag
from attestation.server.page.matrix import controls, limits
from attestation.server.page.pieces import (
    asking,
    digest,
    entry_link,
    node_link,
    row,
    simulated,
    state,
    table,
    time,
    timeline,
    value,
)
from attestation.server.page.policies import policy_table
from attestation.server.page.values import Logged, Node, Overview, Status
from attestation.server.page.verdicts import verdict_table

_KEY_HEADS = ("Entry", "This browser", "At", "Use", "Key", "Not after")
_EXCEPTION_HEADS = ("Entry", "This browser", "At", "Kind", "About", "Why")


def overview_view(overview: Overview) -> bytes:
    """The page an auditor opens first."""
    status = overview.status
    return document(
        "Evidence log",
        status,
        _section("status", "Status", _status(status)),
        _section("nodes", "Nodes", _nodes(overview.nodes, status)),
        _section("verdicts", "Newest verdicts", _verdicts(overview)),
        _section("policies", "Policies", policy_table(overview.policies), _link("Texts and differences", "policies")),
        _section("keys", "Keys and witnesses", _keys(overview.keys), _witnesses(status)),
        _section("exceptions", "Exceptions", _exceptions(overview)),
        _section("controls", "Controls", controls()),
        _section("limits", "What this cannot prove", limits()),
    )


def _section(name: str, title: str, *content: Child) -> Markup:
    return tag("section", tag("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title")


def _link(text: str, place: str) -> Markup:
    return tag("p", tag("a", text, href=f"/audit/{place}"))


def _status(status: Status) -> Markup:
    quorum = tag("span", "met" if status.quorum_met else "NOT met", class_="yes" if status.quorum_met else "no")
    facts = (
        ("Size", join(f"{status.size} entries, ", entry_link(status.size - 1, "newest"), " at ", time(status.newest))),
        ("Root", tag("code", status.root.hex(), class_="long")),
        (
            "Vouched for by",
            join(
                tag("strong", status.witnessed),
                ": quorum " if status.cosigners else None,
                quorum if status.cosigners else None,
            ),
        ),
        (
            "Since your last visit",
            tag("span", "unknown: nothing is kept without a script", id="visited", role="status"),
        ),
        ("Age", _age(status)),
        ("Page made at", time(status.now)),
    )
    rows = [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts]
    return join(
        tag("dl", rows, class_="facts"),
        tag(
            "form",
            tag(
                "label",
                "Log key from your own trust file ",
                tag("input", name="vkey", id="vkey", type="text", autocomplete="off", spellcheck="false"),
            ),
            tag("button", "Verify with this key", type="submit"),
            id="key-form",
            class_="filters",
            hidden=True,
            aria_label="Verify with your own key",
        ),
        tag(
            "details",
            tag("summary", "Checkpoint, as signed"),
            tag("pre", status.checkpoint, tabindex=0, role="region", aria_label="Checkpoint"),
        ),
        asking("check", "witnesses"),
    )


def _age(status: Status) -> Markup:
    """Since the last outside statement of time, or by the operator's clock alone."""
    cosigned = max((one.at for one in status.cosigners if one.at is not None), default=None)
    since = cosigned or status.newest
    if since is None:
        return tag("span", "unknown: the newest entry says no time")
    minutes = max(0, int((status.now - since).total_seconds()) // 60)
    whose = "last cosignature" if cosigned else "newest entry, by the operator's clock"
    return tag("span", f"{minutes} minutes since the {whose}")


def _nodes(nodes: Sequence[Node], status: Status) -> Markup:
    heads = ("Node", "Provider", "State", "Time line")
    rows = [
        tag(
            "tr",
            tag("th", node_link(node.worker_id), scope="row"),
            tag("td", node.provider),
            tag("td", state(node.state.value), " ", simulated(node.simulated)),
            tag("td", timeline(node, status.now), class_="wide"),
        )
        for node in nodes
    ]
    return join(
        table("Nodes of the newest verdicts", heads, rows, empty="No node has been judged yet."),
        tag(
            "p",
            "Bars are times under a valid verdict; short marks are refusals, tall ones revocations; the line is now.",
        ),
    )


def _verdicts(overview: Overview) -> Markup:
    return join(
        verdict_table("Verdicts, newest first", overview.verdicts.rows),
        _link("All verdicts, with filters", "verdicts"),
    )


def _keys(keys: Sequence[Logged]) -> Markup:
    return table("Keys, newest first", _KEY_HEADS, [_key(entry) for entry in keys], empty="No key is in the log.")


def _key(entry: Logged) -> Markup:
    if entry.kind == "genesis":
        return row(entry, value(entry, "at"), "log", digest(entry, "log_key"), "")
    return row(entry, value(entry, "at"), value(entry, "use"), digest(entry, "key"), value(entry, "not_after"))


def _witnesses(status: Status) -> Markup:
    if not status.cosigners:
        return tag("p", f"No witness is asked: {status.witnessed}.")
    rows = [
        tag(
            "tr",
            tag("th", one.name, scope="row"),
            tag("td", time(one.at) if one.at else "has not cosigned this checkpoint"),
        )
        for one in status.cosigners
    ]
    return table("Witnesses of the newest checkpoint", ("Witness", "Cosigned at"), rows, empty="")


def _exceptions(overview: Overview) -> Markup:
    gaps = [
        tag("li", node_link(node.worker_id), ": ", time(gap.start), " to ", time(gap.end))
        for node in overview.nodes
        for gap in node.gaps
    ]
    return join(
        table(
            "Revocations, moves, deletions and incidents, newest first",
            _EXCEPTION_HEADS,
            [_exception(entry) for entry in overview.exceptions],
            empty="None is in the log.",
        ),
        tag("h3", "Refusals among the newest verdicts"),
        verdict_table("Refusals", overview.refusals),
        tag("h3", "Times in which a node had no valid verdict"),
        tag("ul", gaps) if gaps else tag("p", "None among the nodes above."),
        tag("p", "Receipts inside such times, and delays of logging, are counted by:"),
        asking("gaps", "revocations --exposure", "uptime"),
    )


def _exception(entry: Logged) -> Markup:
    about = next((path for path in ("worker_id", "platform", "shard", "id") if entry.text(path)), "kind")
    why = next((path for path in ("reason", "detail", "summary") if entry.text(path)), "")
    return row(
        entry,
        value(entry, "at"),
        value(entry, "kind"),
        digest(entry, about),
        join(value(entry, why) if why else "", " ", simulated(entry.simulated)),
    )
