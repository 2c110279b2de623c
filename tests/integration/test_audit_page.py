# SPDX-License-Identifier: Apache-2.0
"""The audit page in a real Chromium: it verifies what it shows, finds one flipped byte, and everybody can use it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.audit_log import filled, judged, now_of, page_of, site_of, worker
from tests.support.browser import Browser, Tab, browser
from tests.support.http import beside
from tests.support.log import ORIGIN, MemoryLogStore, log_signer
from tests.support.tree import ROOT

pytestmark = pytest.mark.net

AXE = ROOT / "tests" / "foreign" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = (
    "",
    "/verdicts",
    "/verdicts?verdict=fail",
    "/policies",
    "/policies?old=1&new=97",
    "/entry/0",
    "/entry/5",
    f"/node/{worker(2).hex()}",
    f"/node/{worker(3).hex()}",
)
Altered = Callable[[str, bytes], bytes]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def tab(chromium: Browser) -> Tab:
    return chromium.tab()


def as_it_is(_: str, body: bytes) -> bytes:
    return body


@contextmanager
def an_audit(*, altered: Altered = as_it_is, size: int | None = None) -> Iterator[str]:
    """The address of the audit page of a log of some days, filled up to `size` entries with renewals."""
    store = MemoryLogStore()
    log = filled(store)
    if size is not None:
        log.append([judged(1, now_of(), version=2, generation=number) for number in range(log.size(), size)])
        log.publish(now_of())
    with beside(site_of(store, page_of(log, now=now_of()), altered=altered)) as address:
        yield f"http://{address}/audit"


@pytest.mark.parametrize("view", VIEWS)
def test_everything_shown_is_verified_in_the_browser(tab: Tab, view: str) -> None:
    """Signature, tree, entries and shown values hold; the policy lets everything through; only this site is asked."""
    with an_audit() as url:
        tab.open(url + view)
        assert tab.text("#verified").startswith("yes: signed by the key this page names")
        assert tab.value("[...document.querySelectorAll('.checked')].every((mark) => mark.textContent === 'yes')")
        assert tab.complaints() == []
        site = url.removesuffix("/audit")
        assert [asked for asked in tab.requests() if not asked.startswith((site, "data:image/svg+xml"))] == []


@pytest.mark.parametrize("size", [255, 256, 257, 600])
def test_trees_of_several_tiles_verify(tab: Tab, size: int) -> None:
    """Full tiles are proved by the tile above them, partial ones by the root."""
    with an_audit(size=size) as url:
        for view in ("", "/verdicts?until=2026-11-16", "/entry/0"):
            tab.open(url + view)
            assert tab.text("#verified").startswith("yes")
        asked = tab.requests()
        assert any("/tile/1/000" in address for address in asked) is (size >= 256)


def flipped(part: str, place: int) -> Altered:
    """One bit of one served file is another."""

    def altered(path: str, body: bytes) -> bytes:
        if part not in path:
            return body
        at = place % len(body)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return altered


def shown_otherwise(old: bytes, new: bytes) -> Altered:
    """The page says something else than the log."""
    return lambda path, body: body.replace(old, new, 1) if path.startswith("/audit") else body


@pytest.mark.parametrize(
    ("altered", "why"),
    [
        (flipped("/tile/0/000", 0), "tile 0/0 is not the one in the tree"),
        (flipped("/tile/0/000", 4000), "tile 0/0 is not the one in the tree"),
        (flipped("/tile/0/002", -1), "root"),
        (flipped("/tile/1/000", 7), "root"),
        (flipped("/tile/entries/", 700), "is not the one in the tree"),
        (flipped("/checkpoint", 26), "signature"),
        (flipped("/checkpoint", -30), "signature"),
        (shown_otherwise(b'data-path="verdict">fail', b'data-path="verdict">pass'), "the page shows something else"),
        (
            shown_otherwise(b'data-path="policy.version">2', b'data-path="policy.version">1'),
            "the page shows something else",
        ),
        (
            shown_otherwise(b'data-value="' + worker(4).hex().encode(), b'data-value="' + worker(0).hex().encode()),
            "the page shows something else",
        ),
    ],
)
def test_one_flipped_byte_is_found(tab: Tab, altered: Altered, why: str) -> None:
    """In a tile, an entry, the checkpoint, or in what the page itself shows: the browser says no, and why."""
    with an_audit(altered=altered, size=600) as url:
        tab.open(url + "/verdicts?verdict=fail&until=2026-11-17")
        first = tab.text("#verified")
        tab.open(url)
        found = [text for text in (first, tab.text("#verified")) if not text.startswith("yes")]
        assert found
        assert all(text.startswith("no: ") for text in found)
        assert any(why in text for text in found)
        assert tab.value("document.querySelector('#verified').classList.contains('no')") or found == [first]


def test_an_auditor_verifies_with_a_key_of_their_own(tab: Tab) -> None:
    """The form takes the key of a trust file; another log's key, or anything else, is refused."""
    with an_audit() as url:
        tab.open(url)
        for vkey, said in (
            (log_signer().verifier.vkey, "yes: signed by your key"),
            (log_signer(seed=2).verifier.vkey, "no: the checkpoint is not signed by this key"),
            (log_signer("another.example/log").verifier.vkey, "no: the key is no Ed25519 key of this log"),
            ("nonsense", "no: "),
        ):
            tab.value("delete document.documentElement.dataset.checked")
            tab.value(f"document.querySelector('#vkey').value = {json.dumps(vkey)}")
            tab.value("document.querySelector('#key-form button').click()")
            tab.until("document.documentElement.dataset.checked === 'done'")
            assert tab.text("#verified").startswith(said)


def test_the_browser_remembers_the_log_it_saw(tab: Tab) -> None:
    """On a later visit the log must begin with what was seen; of another log it does not."""
    store = MemoryLogStore()
    log = filled(store)
    page = page_of(log, now=now_of())
    with beside(site_of(store, page)) as address:
        url = f"http://{address}/audit"
        tab.open(url)
        size = log.size()
        assert tab.text("#visited") == "first visit of this browser"
        log.append([judged(1, now_of(), generation=number) for number in range(300)])
        log.publish(now_of())
        tab.open(url)
        assert tab.text("#visited") == f"only appended to: from {size} to {size + 300} entries"
        another = json.dumps({"size": size, "root": "A" * 43 + "="})
        tab.value(f"localStorage.setItem('sealbid-audit {ORIGIN}', {json.dumps(another)})")
        tab.open(url)
        assert tab.text("#verified").startswith("yes")
        assert tab.text("#visited").startswith("no: the log you saw")


def test_the_page_is_read_without_a_script(tab: Tab) -> None:
    """Everything but the browser's own check is there; it says what the check needs."""
    with an_audit() as url:
        tab.open_without_script(url)
        assert tab.text("#verified") == "no: it needs a script, over HTTPS or on localhost"
        assert "operator's word only" in tab.text("header")
        assert tab.value("document.querySelectorAll('tr[data-entry]').length") > 20
        assert tab.value("document.querySelector('#key-form').checkVisibility()") is False


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation(tab: Tab, view: str) -> None:
    """Contrast, names, order, landmarks, tables: npm's axe-core has nothing to say, in any look."""
    if not AXE.exists():
        if os.environ.get("SEALBID_REQUIRE_BROWSER") == "1":
            pytest.fail("axe-core is not installed: npm ci in tests/foreign/axe")
        pytest.skip("axe-core is not installed: npm ci in tests/foreign/axe")
    with an_audit() as url:
        tab.open(url + view)
        tab.value(AXE.read_text(encoding="utf-8") + ";0")
        for scheme in ("light", "dark"):
            for width in (1280, 360):
                tab.look(width=width, scheme=scheme)
                passed, violated = tab.value(
                    "axe.run().then((r) => [r.passes.map((p) => p.id),"
                    " r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])])"
                )
                assert violated == []
                assert {"color-contrast", "document-title", "html-has-lang", "link-name"} <= set(passed)


@pytest.mark.parametrize("view", VIEWS)
def test_every_control_is_reached_by_tab(tab: Tab, view: str) -> None:
    """In the order of the document, each with a visible outline, and nothing holds the focus."""
    controls = "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]"
    shown = f"{controls}.filter((control) => control.checkVisibility())"
    with an_audit() as url:
        tab.look(width=1280)
        tab.open(url + view)
        tab.value(f"{shown}.forEach((control, place) => {{ control.dataset.place = place; }})")
        count = tab.value(f"{shown}.length")
        reached = []
        for _ in range(count):
            tab.press("Tab")
            place = tab.value("document.activeElement.dataset.place ?? null")
            outlined = tab.value("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            assert outlined, f"control {place} shows no focus"
            reached.append(place)
            # A date field is one control with several stops.
            while tab.value("document.activeElement.type === 'date'"):
                tab.press("Tab")
                if (place := tab.value("document.activeElement.dataset.place ?? null")) != reached[-1]:
                    reached.append(place)
            if len([place for place in reached if place is not None]) >= count:
                break
        assert [int(place) for place in reached if place is not None][:count] == list(range(count))


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_sticks_out_of_a_narrow_screen(tab: Tab, view: str) -> None:
    """At 360 pixels the page itself does not scroll sideways; wide tables do so by themselves."""
    with an_audit() as url:
        tab.look(width=360, height=740)
        tab.open(url + view)
        assert tab.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_it_prints(tab: Tab) -> None:
    """Links and filters are gone, tables are whole, and the paper says whether it was verified."""
    with an_audit() as url:
        tab.look(width=800, media="print")
        tab.open(url)
        assert tab.value("document.querySelector('nav').checkVisibility()") is False
        assert tab.value("[...document.querySelectorAll('.scroll')].every((e) => e.scrollWidth <= e.clientWidth + 1)")
        assert tab.value("document.querySelector('#verified').checkVisibility()") is True
        assert tab.pdf().startswith(b"%PDF")


def test_the_pictures_in_the_documents_are_small() -> None:
    """Light, dark, print and narrow, each below 200 KiB."""
    pictures = sorted(Path(ROOT / "docs" / "audit-page").glob("*.png"))
    assert [picture.stem for picture in pictures] == ["dark", "light", "narrow", "print"]
    assert all(picture.stat().st_size < 200 * 1024 for picture in pictures)
