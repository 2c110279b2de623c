# SPDX-License-Identifier: Apache-2.0
"""The audit page as text: what it shows, in which states, and that nothing logged becomes markup."""

import json
import re
from collections.abc import Collection, Sequence
from datetime import timedelta
from html.parser import HTMLParser

import click
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from attestation.errors import Reason, SealbidError
from attestation.http.message import Request, Response
from attestation.server import http_page
from attestation.server.http_page import AuditPage
from attestation.server.page.frame import asset
from attestation.server.page.html import Markup, escape, tag
from attestation.server.page.queries import MAX_LOOKED_AT, ROWS
from attestation.tlog import entry as entries
from attestation.tlog.cosignature import CosignatureSigner
from attestation.tlog.note import parse_note
from attestation.tlog.policy import parse_witness_policy
from attestation.tlog.store import NewEntry, StoredEntry
from sealbid.commands.audit import audit
from tests.support.audit_log import BEGAN, HOUR, filled, judged, now_of, page_of, worker
from tests.support.log import MemoryHeadStore, MemoryLogStore, new_log, open_log, refusal

NOW = now_of()


@pytest.fixture(scope="module")
def page() -> AuditPage:
    return page_of(filled(MemoryLogStore()), now=NOW)


def shown(page: AuditPage, path: str = "", **query: str) -> Response:
    answer = page.answer(path, Request(method="GET", path=path, query=query))
    assert answer is not None
    return answer


class Outline(HTMLParser):
    """Tags, texts and attributes of a document, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def outline(answer: Response) -> Outline:
    found = Outline()
    found.feed(answer.body.decode())
    found.close()
    assert found.open == []
    return found


def rows(answer: Response) -> list[int]:
    return [
        int(str(attrs["data-entry"])) for tag, attrs in outline(answer).tags if tag == "tr" and "data-entry" in attrs
    ]


def test_the_first_view_has_all_eight_parts(page: AuditPage) -> None:
    """Status, nodes, verdicts, policies, keys and witnesses, exceptions, controls, limits, in this order."""
    found = outline(shown(page))
    sections = [attrs["id"] for tag, attrs in found.tags if tag == "section"]
    assert sections == ["status", "nodes", "verdicts", "policies", "keys", "exceptions", "controls", "limits"]
    assert "operator's word only" in found.text
    assert "SIMULATED" in found.text
    assert "minutes since the newest entry, by the operator's clock" in found.text
    assert "reported stolen" in found.text
    assert "platform.move" in found.text


def test_a_production_registry_says_nothing_of_simulation() -> None:
    """The warning is for registries that accept simulated evidence."""
    log = new_log()
    assert "accepts simulated evidence" not in outline(shown(page_of(log, now=NOW, simulated=False))).text


@pytest.mark.parametrize(
    "path",
    ["", "/verdicts", "/policies", "/entry/0", "/entry/5", f"/node/{worker(3).hex()}", f"/node/{worker(2).hex()}"],
)
def test_every_view_is_whole_asks_for_nothing_and_leads_nowhere_else(page: AuditPage, path: str) -> None:
    """Well-formed, in English, one heading of the first level, no source, no link to another site, no handler."""
    answer = shown(page, path)
    found = outline(answer)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    for name, attrs in found.tags:
        assert "src" not in attrs, name
        assert not [key for key in attrs if key.startswith("on") or key == "style"], name
        assert str(attrs.get("href", "/"))[0] in "/#?", name
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    names = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(set(names)) == len(names)


def test_filters_choose_verdicts(page: AuditPage) -> None:
    """By node, policy, verdict and date; each narrows what is shown to what was asked for."""
    refused = shown(page, "/verdicts", verdict="fail")
    assert len(rows(refused)) == 6
    assert outline(refused).text.count("TCB_REFUSED, DEBUG_REFUSED") == 6
    node = worker(4).hex()
    assert rows(shown(page, "/verdicts", node=node, verdict="fail")) == rows(refused)
    assert rows(shown(page, "/verdicts", node=worker(1).hex(), verdict="fail")) == []
    assert rows(shown(page, "/verdicts", policy="production")) == []
    first_day = shown(page, "/verdicts", since="2026-11-16", until="2026-11-16", node=node)
    assert len(rows(first_day)) == 20
    assert rows(shown(page, "/verdicts", since="2026-11-18")) == []


def test_older_verdicts_are_a_link_away(page: AuditPage) -> None:
    """Pages follow each other without gap or repetition, to the first verdict."""
    seen: list[int] = []
    query: dict[str, str] = {}
    while True:
        answer = shown(page, "/verdicts", **query)
        seen += rows(answer)
        assert len(rows(answer)) <= ROWS
        older = [str(attrs["href"]) for tag, attrs in outline(answer).tags if "before=" in str(attrs.get("href", ""))]
        if not older:
            break
        query = {"before": older[0].partition("before=")[2]}
    everything = filled(MemoryLogStore()).entries(0, 256)
    assert seen == sorted((item.index for item in everything if item.kind == "attest.verdict"), reverse=True)


def test_a_view_looks_at_a_bounded_number_of_entries() -> None:
    """A filter nothing passes stops, says how far it looked, and where to go on."""
    store = MemoryLogStore()
    log = new_log(store)
    one = judged(1, BEGAN)
    for _ in range(9):
        log.append([one] * 256)
    log.publish(NOW)
    answer = shown(page_of(log, now=NOW), "/verdicts", policy="another")
    assert rows(answer) == []
    assert f"0 shown of {MAX_LOOKED_AT} entries looked at" in outline(answer).text
    assert "Older verdicts" in outline(answer).text


class Counting(MemoryLogStore):
    """Counts the entries that are read."""

    read = 0

    @override
    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        return self._count(super().entries(start, limit))

    @override
    def about(self, subject: str, limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        return self._count(super().about(subject, limit, before=before))

    @override
    def newest(self, kinds: Collection[str], limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
        return self._count(super().newest(kinds, limit, before=before))

    def _count(self, found: Sequence[StoredEntry]) -> Sequence[StoredEntry]:
        self.read += len(found)
        return found


def test_the_first_view_reads_as_much_of_a_long_log_as_of_a_short_one() -> None:
    """What it costs does not grow with the log."""
    store = Counting()
    log = filled(store)
    costs = []
    for size in (1_000, 4_000):
        log.append([judged(1, NOW, version=2, generation=number) for number in range(log.size(), size)])
        log.publish(NOW)
        store.read = 0
        shown(page_of(log, now=NOW))
        costs.append(store.read)
    assert costs[0] == costs[1] < 1_000


@pytest.mark.parametrize(
    "query",
    [
        {"node": "zz"},
        {"policy": "<script>"},
        {"verdict": "maybe"},
        {"since": "yesterday"},
        {"until": "2026-1-1"},
        {"before": "-1"},
        {"before": "1" * 30},
    ],
)
def test_filters_of_another_form_are_refused(page: AuditPage, query: dict[str, str]) -> None:
    """Named, and nothing is looked up."""
    with pytest.raises(SealbidError) as refused:
        shown(page, "/verdicts", **query)
    assert refused.value.reason is Reason.MALFORMED


def test_a_node_shows_its_gaps_and_its_end(page: AuditPage) -> None:
    """Worker 3 paused, worker 2 was revoked, worker 4 was refused now and then, worker 0 is valid."""
    paused = outline(shown(page, f"/node/{worker(3).hex()}"))
    gap_start, gap_end = BEGAN + 13 * timedelta(minutes=50) + HOUR, BEGAN + 20 * timedelta(minutes=50)
    assert f"{gap_start:%Y-%m-%dT%H:%M:%SZ} to {gap_end:%Y-%m-%dT%H:%M:%SZ}" in paused.text
    assert "revoked at" in outline(shown(page, f"/node/{worker(2).hex()}")).text
    assert "valid at" in outline(shown(page, f"/node/{worker(0).hex()}")).text
    later = page_of(filled(MemoryLogStore()), now=NOW + HOUR)
    assert "expired at" in outline(shown(later, f"/node/{worker(0).hex()}")).text


def test_an_entry_is_shown_as_logged_with_its_files(page: AuditPage) -> None:
    """Its bytes, its proof, its evidence by digest, and the command that judges it anew."""
    log = filled(MemoryLogStore())
    stored = log.entries(5, 1)[0]
    found = outline(shown(page, "/entry/5"))
    assert stored.data.decode() in " ".join(found.texts)
    assert "sealbid audit reverify 5" in found.text
    assert shown(page, "/entry/5.json").body == stored.data
    assert shown(page, "/entry/5.tlog-proof").body == log.proof(5)
    digest = json.loads(stored.data)["evidence"][0]["sha256"]
    assert f"/evidence/{digest}" in [attrs.get("href") for _, attrs in found.tags]


@pytest.mark.parametrize("path", ["/entry/100000", "/entry/100000.json", "/entry/100000.tlog-proof"])
def test_entries_beyond_the_checkpoint_are_not_there(page: AuditPage, path: str) -> None:
    """What no checkpoint covers is not in the log yet."""
    with pytest.raises(SealbidError) as refused:
        shown(page, path)
    assert refused.value.reason is Reason.NOT_FOUND


def test_unknown_addresses_are_none(page: AuditPage) -> None:
    """Also a node the log knows nothing about."""
    for path in ("/", "/nodes", "/entry/", "/entry/01", "/entry/1.html", f"/node/{'00' * 32}", "/node/ff"):
        assert page.answer(path, Request(method="GET", path=path)) is None


def test_two_policies_are_compared_by_their_rules(page: AuditPage) -> None:
    """As `sealbid audit policy diff` compares them."""
    policies = rows(shown(page, "/policies"))
    assert len(policies) == 2
    found = outline(shown(page, "/policies", old=str(policies[1]), new=str(policies[0])))
    assert f"From entry {policies[1]} to entry {policies[0]}" in found.text
    assert "rule" in found.text.partition("Texts")[0]
    other = outline(shown(page, "/policies", old="0", new=str(policies[0])))
    assert "only its digest" in other.text


def test_a_quorum_is_shown_with_its_witnesses() -> None:
    """Who cosigned and when, who has not; met or not."""
    heads, store = MemoryHeadStore(), MemoryLogStore()
    log = filled(store, heads)
    first, second = (
        CosignatureSigner(name=f"{name}.example", key=Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
        for number, name in ((7, "auditor"), (8, "customer"))
    )
    witnesses = f"witness auditor {first.verifier.vkey}\nwitness customer {second.verifier.vkey}\n"
    group = "group some {} auditor customer\nquorum some\n"
    note = log.checkpoint()
    assert store.note is not None
    store.note = note + first.cosign(parse_note(note)[0], int(NOW.timestamp())).text.encode()
    for threshold, state in ((1, "met"), (2, "NOT met")):
        policy = parse_witness_policy(witnesses + group.format(threshold))
        found = outline(shown(page_of(log, now=NOW, witnesses=policy)))
        assert f"quorum {state}" in found.text
        assert "operator's word only" not in found.text
        assert f"auditor {NOW:%Y-%m-%dT%H:%M:%SZ}" in found.text
        assert "customer has not cosigned" in found.text
        assert "0 minutes since the last cosignature" in found.text


def test_bytes_that_are_no_entry_are_shown_as_bytes() -> None:
    """An entry of a later version, or damage, is a row that says nothing; the page goes on."""
    store = MemoryLogStore()
    log = new_log(store)
    log.sequencer.append([NewEntry(data=b'{"kind":"attest.verdict","v":9}', kind="attest.verdict", at="never")])
    log.publish(NOW)
    found = outline(shown(page_of(log, now=NOW), "/entry/1"))
    assert '{"kind":"attest.verdict","v":9}' in found.text
    assert "no entry of a kind known here" in found.text
    assert rows(shown(page_of(log, now=NOW), "/verdicts")) == [1]


def test_texts_of_entries_never_become_markup() -> None:
    """A provider may call itself anything printable: it stays text, in content and in attributes."""
    hostile = """<script>alert(1)</script>"'&<img src=x onerror=alert(1)>"""
    log = new_log()
    log.append([entries.admin_change(by="ops-1", action="rename", target=hostile, detail=hostile, at=BEGAN)])
    log.publish(NOW)
    answer = shown(page_of(log, now=NOW), "/entry/1")
    found = outline(answer)
    assert hostile in found.texts
    assert "img" not in [tag for tag, _ in found.tags]
    assert [tag for tag, _ in found.tags].count("script") == 1


def test_what_does_not_print_is_shown_by_its_code_point() -> None:
    """Characters that turn the reading direction do not turn it here."""
    assert escape("a\u202eb\x00c") == "a\\u202eb\\u0000c"
    assert escape("a\n\tb") == "a\n\tb"


def test_the_escaping_is_the_only_way_to_markup() -> None:
    """Text is escaped, markup is kept, and names, handlers and foreign links are refused."""
    assert tag("p", "<b>", Markup("<b>x</b>"), [None, 3]) == "<p>&lt;b&gt;<b>x</b>3</p>"
    assert tag("a", "x", href='/a"b', title="<'>") == '<a href="/a&quot;b" title="&lt;&#x27;&gt;">x</a>'
    for wrong in (
        {"onclick": "x"},
        {"style": "x"},
        {"href": "javascript:alert(1)"},
        {"href": "https://elsewhere.example/"},
        {"href": "//elsewhere.example/"},
        {"a b": "x"},
    ):
        with pytest.raises(ValueError, match="want"):
            tag("a", **wrong)
    with pytest.raises(ValueError, match="want a name"):
        tag("p onclick=x")


def test_script_and_style_cannot_end_early() -> None:
    """They stand inside the document, so nothing in them may close their element."""
    for name in ("page.js", "page.css"):
        assert re.search(r"</|<!--", asset(name)) is None


@pytest.mark.parametrize("path", ["", "/verdicts", "/policies", "/entry/0", "/entry/5", f"/node/{worker(3).hex()}"])
def test_every_command_on_the_page_can_be_pasted(page: AuditPage, path: str) -> None:
    """It is a command of this version, with arguments and options that it takes."""
    texts = outline(shown(page, path, old="1", new="97")).texts
    pasted = [line.split() for text in texts for line in text.splitlines() if line.startswith("sealbid audit ")]
    assert pasted
    for words in pasted:
        if "--trust" not in words and words[2] != "policy":
            words += ["--bundle", "audit.zip", "--trust", "trust.toml"]  # as the note below the controls says
        command, rest = audit.commands[words[2]], words[3:]
        if isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context("audit", rest).close()


def test_views_wait_for_their_turn_and_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a few views at once a reader is told to come again; the turn of a view that failed is free again."""
    monkeypatch.setattr(http_page, "MAX_VIEWS", 1)
    monkeypatch.setattr(http_page, "WAIT_SECONDS", 0.0)
    busy: list[int] = []

    class Asking(MemoryLogStore):
        @override
        def newest(self, kinds: Collection[str], limit: int, *, before: int | None = None) -> Sequence[StoredEntry]:
            if not busy:
                busy.append(0)
                busy.append(shown(one).status)
            return super().newest(kinds, limit, before=before)

    one = page_of(filled(Asking()), now=NOW)
    assert shown(one).status == 200
    assert busy == [0, 503]
    for _ in range(2):
        with pytest.raises(SealbidError):
            shown(one, "/verdicts", verdict="maybe")
    assert shown(one).status == 200


def test_a_log_without_a_checkpoint_has_no_page() -> None:
    """There is nothing to show that anybody signed."""
    log = open_log(MemoryLogStore(), MemoryHeadStore(), inception=True)
    assert refusal(lambda: shown(page_of(log, now=NOW))) is Reason.NOT_FOUND
