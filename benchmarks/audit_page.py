# SPDX-License-Identifier: Apache-2.0
"""What the audit page costs on a long log: each view over loopback, and the first view in a browser that verifies it.

    python -m benchmarks.audit_page [--entries N] [--rounds N]

The log is on SQLite with synced commits. The first answer after the log was filled and the median of the rounds are
printed; the browser, where Chromium is installed, is timed from asking for the page until it has verified all of it.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median

from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLLogs
from tests.support.audit_log import filled, judged, now_of, page_of, site_of, worker
from tests.support.browser import browser
from tests.support.http import beside, fetch
from tests.support.log import ORIGIN

GROUP = 2000
WORKERS = 50
VIEWS = (
    "/audit",
    "/audit/verdicts",
    "/audit/verdicts?verdict=fail",
    "/audit/verdicts?policy=nobody-has-this",
    f"/audit/node/{worker(3).hex()}",
    "/audit/policies",
    "/audit/entry/1",
    "/audit/entry/1.tlog-proof",
    "/evidence/tile/0/000",
    "/evidence/tile/entries/000",
)


def main(arguments: list[str] | None = None) -> None:
    """Fills a log, serves it, and prints a line for each view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        logs = SQLLogs.sqlite(folder / "log.sqlite")
        store = logs.store(ORIGIN)
        log = filled(store, FileHeadStore(folder / "signed-head"))
        _fill(log, options.entries)
        page = page_of(log, now=now_of() + timedelta(seconds=options.entries))
        with beside(site_of(store, page)) as address:
            for view in VIEWS:
                _line(view[:40], [_timed(lambda view=view: fetch(address, view)) for _ in range(options.rounds)])  # type: ignore[misc]
            if shutil.which("chromium"):
                with browser(folder) as chromium:
                    url = f"http://{address}/audit"
                    opened = [_timed(lambda: chromium.tab().open(url)) for _ in range(options.rounds)]
                    _line("first view, verified in the browser", opened)
        logs.close()


def _fill(log: EvidenceLog, entries: int) -> None:
    while (size := log.size()) < entries:
        numbers = range(size, min(size + GROUP, entries))
        log.append(
            [judged(n % WORKERS, now_of() + timedelta(seconds=n), version=2, generation=n) for n in numbers],
        )
    log.publish(now_of() + timedelta(seconds=entries))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _line(name: str, seconds: list[float]) -> None:
    print(f"{name:42} first {seconds[0] * 1000:8.1f} ms   median {median(seconds) * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
