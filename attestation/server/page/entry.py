# SPDX-License-Identifier: Apache-2.0
"""One entry: what it says, its bytes as logged, its proof, its evidence, and the command that judges it anew."""

from collections.abc import Iterator, Mapping

from attestation.server.page.frame import document
from attestation.server.page.html import Child, Markup, tag
from attestation.server.page.pieces import UNCHECKED, asking, entry_link, node_link, simulated, table, time
from attestation.server.page.values import Logged, Status
from attestation.tlog.jcs import JSON


def entry_view(status: Status, entry: Logged) -> bytes:
    """The entry at its index."""
    near = [
        entry_link(place, text)
        for place, text in ((entry.index - 1, "older"), (entry.index + 1, "newer"))
        if 0 <= place < status.size
    ]
    return document(
        f"Entry {entry.index}",
        status,
        tag("p", tag("code", entry.kind), " at ", time(entry.at), " ", simulated(entry.simulated)),
        tag("p", *[part for link in near for part in (link, " ")]),
        tag(
            "p",
            "In the log, checked by this browser: ",
            tag("span", UNCHECKED, class_="checked"),
            data_entry=entry.index,
        ),
        _node(entry),
        tag("h2", "What it says"),
        _table(entry),
        tag("h2", "Bytes as logged"),
        tag("p", "These bytes are the leaf: the proof is over them and nothing else."),
        tag(
            "pre",
            tag("code", entry.data.decode("utf-8", "replace")),
            data_entry=entry.index,
            data_raw=True,
            tabindex=0,
            role="region",
            aria_label="Bytes as logged",
        ),
        tag(
            "ul",
            tag("li", tag("a", "the entry (JSON)", href=f"/audit/entry/{entry.index}.json")),
            tag("li", tag("a", "its proof (tlog-proof)", href=f"/audit/entry/{entry.index}.tlog-proof")),
        ),
        _evidence(entry),
        tag("h2", "Check it on your own machine"),
        tag("p", "From a bundle of the whole log, with keys from your own trust file:"),
        asking(f"reverify {entry.index}" if entry.kind == "attest.verdict" else f"when {entry.index}"),
    )


def _node(entry: Logged) -> Markup | None:
    worker = entry.text("worker_id")
    return tag("p", "About node ", node_link(worker)) if worker else None


def _table(entry: Logged) -> Markup:
    rows = [tag("tr", tag("th", key, scope="row"), tag("td", tag("code", text))) for key, text in _flat(entry.body)]
    return table(
        f"Fields of entry {entry.index}", ("Field", "Value"), rows, empty="This is no entry of a kind known here."
    )


def _flat(value: JSON, name: str = "") -> Iterator[tuple[str, Child]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, (str, int)):
        yield name, ("true" if value is True else "false" if value is False else value)
    elif value is not None:
        if not value:
            yield name, "none"
        for place, item in enumerate(value):
            yield from _flat(item, f"{name}[{place}]")


def _evidence(entry: Logged) -> Markup | None:
    blobs = [*_blobs(entry, "evidence"), *_blobs(entry, "collateral")]
    if not blobs:
        return None
    return tag(
        "section",
        tag("h2", "Evidence"),
        tag("p", "Evidence holds identities of machines: it is given to accounts only, and the log says who read it."),
        tag("ul", blobs),
        aria_label="Evidence",
    )


def _blobs(entry: Logged, key: str) -> Iterator[Markup]:
    for blob in entry.items(key):
        if isinstance(blob, Mapping):
            digest = str(blob.get("sha256", ""))
            link = tag("a", tag("code", digest), href=f"/evidence/{digest}")
            yield tag("li", f"{blob.get('type')}, {blob.get('size')} bytes: ", link)
