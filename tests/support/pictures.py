# SPDX-License-Identifier: Apache-2.0
"""Writes docs/audit-page/*.png: the audit page of the log of `audit_log`, in its four looks.

python -m tests.support.pictures [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

from tests.support.audit_log import filled, now_of, page_of, site_of
from tests.support.browser import Tab, browser
from tests.support.http import beside
from tests.support.log import MemoryLogStore
from tests.support.tree import ROOT


def main(folder: Path) -> None:
    """Opens the page once for each look."""
    folder.mkdir(exist_ok=True)
    store = MemoryLogStore()
    page = page_of(filled(store), now=now_of())
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        browser(Path(profile)) as chromium,
        beside(site_of(store, page)) as address,
    ):
        for name, tab in (
            ("light", chromium.tab()),
            ("dark", chromium.tab()),
            ("narrow", chromium.tab()),
            ("print", chromium.tab()),
        ):
            _look(tab, name)
            tab.open(f"http://{address}/audit")
            (folder / f"{name}.png").write_bytes(tab.screenshot())


def _look(tab: Tab, name: str) -> None:
    if name == "narrow":
        tab.look(width=360, height=740)
    elif name == "print":
        tab.look(width=800, height=1130, media="print")
    else:
        tab.look(width=1100, height=1180, scheme=name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "audit-page")
