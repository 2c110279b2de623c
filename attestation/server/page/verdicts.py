# SPDX-License-Identifier: Apache-2.0
"""The table of verdicts and its filters; a plain form, so that it works without a script."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from attestation.server.page.frame import document
from attestation.server.page.html import Markup, join, tag
from attestation.server.page.pieces import asking, digest, row, simulated, table, value
from attestation.server.page.values import Filters, Logged, Status, Verdicts

HEADS = ("Entry", "This browser", "At", "Node", "Provider", "Policy", "Verdict", "Reasons", "Valid until")


def verdicts_view(status: Status, filters: Filters, found: Verdicts) -> bytes:
    """Verdicts that pass the filters, newest first."""
    return document(
        "Verdicts",
        status,
        _form(filters),
        verdict_table("Verdicts, newest first", found.rows),
        _more(filters, found),
        tag("p", "The same from the log itself, on your own machine:"),
        asking("population", "refusals"),
    )


def verdict_table(name: str, rows: Sequence[Logged]) -> Markup:
    """One row a verdict."""
    return table(name, HEADS, [verdict_row(entry) for entry in rows], empty="No such verdict.")


def verdict_row(entry: Logged) -> Markup:
    """A verdict in one line; every value is compared with the log's by the script."""
    passed = entry.text("verdict") == "pass"
    worker = entry.text("worker_id")
    reasons = ", ".join(str(reason) for reason in entry.items("reasons"))
    return row(
        entry,
        value(entry, "at"),
        tag("a", digest(entry, "worker_id"), href=f"/audit/node/{worker}") if worker else "not named",
        value(entry, "provider"),
        join(value(entry, "policy.id"), " ", value(entry, "policy.version")),
        join(
            tag("span", entry.text("verdict"), class_=f"state {'valid' if passed else 'refused'}", data_path="verdict")
        ),
        join(tag("span", reasons, data_path="reasons"), " ", simulated(entry.simulated)),
        value(entry, "valid_until"),
    )


def _form(filters: Filters) -> Markup:
    choices = [
        tag("option", text, value=name, selected=filters.verdict == name)
        for name, text in (("", "all"), ("pass", "pass"), ("fail", "fail"))
    ]
    return tag(
        "form",
        _field("Node", "node", filters.node, pattern="[0-9a-f]{64}"),
        _field("Policy id or digest", "policy", filters.policy),
        tag("label", "Verdict ", tag("select", choices, name="verdict")),
        _field("From (UTC)", "since", filters.since, type_="date"),
        _field("To (UTC)", "until", filters.until, type_="date"),
        tag("button", "Show", type="submit"),
        method="get",
        action="/audit/verdicts",
        class_="filters",
        aria_label="Filter verdicts",
    )


def _field(label: str, name: str, text: str, *, type_: str = "text", pattern: str | None = None) -> Markup:
    return tag("label", f"{label} ", tag("input", type=type_, name=name, value=text, pattern=pattern))


def _more(filters: Filters, found: Verdicts) -> Markup:
    looked = f"{len(found.rows)} shown of {found.looked_at} entries looked at."
    if found.next_before is None:
        return tag("p", looked, " There are no older ones.")
    older = {key: text for key, text in _named(replace(filters, before=found.next_before)).items() if text}
    return tag("p", looked, " ", tag("a", "Older verdicts", href=f"/audit/verdicts?{urlencode(older)}"))


def _named(filters: Filters) -> dict[str, str]:
    return {
        "node": filters.node,
        "policy": filters.policy,
        "verdict": filters.verdict,
        "since": filters.since,
        "until": filters.until,
        "before": "" if filters.before is None else str(filters.before),
    }
