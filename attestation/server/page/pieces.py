# SPDX-License-Identifier: Apache-2.0
"""Parts that several views share: times, digests, tables, time lines, and the marks the script reads.

A cell that shows a value of an entry names where in the entry it stands (`data-path`) and, if it shows a part only, the
whole value (`data-value`): the script compares both with the entry it proved to be in the log.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attestation.server.page.html import Child, Markup, tag
from attestation.server.page.values import Logged, Node, NodeState, Span
from attestation.tlog.schema import format_time

SHORT = 16
WIDTH = 1000
"""Of a time line, in its own units."""

UNCHECKED = "not checked"
BUNDLE = "--bundle audit.zip --trust trust.toml"


def time(at: datetime | None) -> Markup:
    """An instant, in UTC with seconds."""
    if at is None:
        return tag("span", "no time")
    text = format_time(at)
    return tag("time", text, datetime=text)


def value(entry: Logged, path: str) -> Markup:
    """A whole value of an entry."""
    return tag("span", entry.text(path), data_path=path)


def digest(entry: Logged, path: str) -> Markup:
    """A long value by its beginning."""
    whole = entry.text(path)
    if len(whole) <= SHORT:
        return value(entry, path)
    return tag("code", f"{whole[:SHORT]}…", data_path=path, data_value=whole, title=whole)


def entry_link(index: int, text: str | None = None) -> Markup:
    """A link to an entry's own view."""
    return tag("a", text or f"entry {index}", href=f"/audit/entry/{index}")


def node_link(worker_id: str) -> Markup:
    """A link to a node's own view."""
    return tag("a", tag("code", f"{worker_id[:SHORT]}…"), href=f"/audit/node/{worker_id}", title=worker_id)


def state(name: str) -> Markup:
    """A state in words; the colour only repeats them."""
    return tag("span", name, class_=f"state {name}")


def simulated(shown: bool) -> Markup | None:
    """The mark of what proves nothing."""
    return tag("strong", "SIMULATED", class_="simulated") if shown else None


def table(name: str, heads: Sequence[str], rows: Sequence[Markup], *, empty: str) -> Markup:
    """A table that scrolls by itself on a narrow screen; `empty` is said when there are no rows."""
    if not rows:
        return tag("p", empty)
    head = tag("thead", tag("tr", [tag("th", text, scope="col") for text in heads]))
    whole = tag("table", tag("caption", name), head, tag("tbody", rows))
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=name)


def row(entry: Logged, *cells: Child) -> Markup:
    """A row about an entry, the first cell links to it, the second is the browser's to fill."""
    first = tag("th", entry_link(entry.index, str(entry.index)), scope="row")
    checked = tag("td", tag("span", UNCHECKED, class_="checked"))
    return tag("tr", first, checked, [tag("td", cell) for cell in cells], data_entry=entry.index)


def asking(*questions: str) -> Markup:
    """Commands to paste that put questions to a bundle of the log, on the auditor's own machine."""
    return command("\n".join(f"sealbid audit {one} {BUNDLE}" for one in questions))


def command(text: str) -> Markup:
    """A command to paste."""
    return tag("pre", tag("code", text), class_="command", tabindex=0, role="region", aria_label=f"Command: {text}")


def timeline(node: Node, now: datetime) -> Markup:
    """A node's verdicts as a bar: full where one is valid, marks where it was refused or revoked."""
    start = min((span.start for span in node.spans), default=now)
    end = max([now, *(span.end for span in node.spans)])
    scale = WIDTH / max((end - start) / timedelta(seconds=1), 1.0)

    def place(at: datetime) -> int:
        return round((at - start) / timedelta(seconds=1) * scale)

    shapes = [_shape(span, place(span.start), place(span.end)) for span in node.spans]
    here = place(now)
    label = f"time line from {format_time(start)} to {format_time(end)}: {_in_words(node.spans)}"
    return tag(
        "svg",
        tag("rect", x=0, y=11, width=WIDTH, height=2, class_="axis"),
        shapes,
        tag("line", x1=here, x2=here, y1=0, y2=24, class_="now"),
        viewBox=f"0 0 {WIDTH} 24",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="timeline",
    )


def _shape(span: Span, left: int, right: int) -> Markup:
    if span.state is NodeState.VALID:
        return tag("rect", x=left, y=4, width=max(right - left, 3), height=16, class_="valid")
    tall = span.state is NodeState.REVOKED
    return tag("rect", x=left, y=0 if tall else 8, width=5, height=24 if tall else 8, class_=span.state.value)


def _in_words(spans: Sequence[Span]) -> str:
    counts = {kind: sum(span.state is kind for span in spans) for kind in NodeState}
    return ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count) or "nothing"
