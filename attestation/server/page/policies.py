# SPDX-License-Identifier: Apache-2.0
"""Published appraisal policies: their rules and texts, and what changed from one to another."""

from collections.abc import Sequence

from attestation.server.page.frame import document
from attestation.server.page.html import Markup, join, tag
from attestation.server.page.pieces import command, digest, row, table, value
from attestation.server.page.values import Logged, PolicyChange, Status

_HEADS = ("Entry", "This browser", "At", "Policy", "Version", "Profile", "Published by", "SHA-256")


def policies_view(status: Status, policies: Sequence[Logged], change: PolicyChange | None) -> bytes:
    """Every policy in the log, newest first, and the difference of two if two are chosen."""
    return document(
        "Policies",
        status,
        policy_table(policies),
        tag("h2", "Compare two"),
        _form(policies, change),
        None if change is None else _change(change),
        tag("h2", "Texts"),
        [_text(entry) for entry in policies[:20]],
    )


def policy_table(policies: Sequence[Logged]) -> Markup:
    """One row a publication."""
    return table(
        "Policies, newest first", _HEADS, [_row(entry) for entry in policies], empty="No policy is in the log."
    )


def _row(entry: Logged) -> Markup:
    by = value(entry, "by") if entry.text("by") else "nobody named"
    cells = (value(entry, "at"), value(entry, "id"), value(entry, "version"), value(entry, "profile"), by)
    return row(entry, *cells, digest(entry, "sha256"))


def _form(policies: Sequence[Logged], change: PolicyChange | None) -> Markup:
    chosen = (change.old.index, change.new.index) if change else (-1, -1)

    def choice(label: str, name: str, selected: int) -> Markup:
        options = [
            tag(
                "option",
                f"{p.text('id')} version {p.text('version')}, entry {p.index}",
                value=p.index,
                selected=p.index == selected,
            )
            for p in policies
        ]
        return tag("label", f"{label} ", tag("select", options, name=name))

    return tag(
        "form",
        choice("From", "old", chosen[0]),
        choice("To", "new", chosen[1]),
        tag("button", "Compare", type="submit"),
        method="get",
        action="/audit/policies",
        class_="filters",
        aria_label="Compare two policies",
    )


def _change(change: PolicyChange) -> Markup:
    heading = tag("h3", f"From entry {change.old.index} to entry {change.new.index}")
    if change.unread:
        return join(heading, tag("p", change.unread))
    lines = [tag("span", f"{line}\n", class_=_side(line)) for line in change.lines]
    return join(
        heading,
        tag("p", "An exclamation mark stands before a rule that now accepts more."),
        tag("pre", lines, class_="diff", tabindex=0, role="region", aria_label="Rules that differ"),
        command(
            f"sealbid audit policy diff {change.old.text('sha256')[:16]}.toml {change.new.text('sha256')[:16]}.toml"
        ),
    )


def _side(line: str) -> str | None:
    mark = line.strip()[:1]
    return {"+": "new", "-": "old", "!": "wider"}.get(mark)


def _text(entry: Logged) -> Markup:
    text = entry.text("text")
    name = f"{entry.text('id')} version {entry.text('version')}, entry {entry.index}"
    shown = (
        tag("pre", tag("code", text), tabindex=0, role="region", aria_label=f"Text of {name}")
        if text
        else tag("p", "Its text is longer than an entry may be: compare the digest with a copy from elsewhere.")
    )
    return tag("details", tag("summary", name), shown)
