# SPDX-License-Identifier: Apache-2.0
"""Runs the real `sealbid` command with a small page cache in the gateway's journal, so that it is full at once.

    python -m tests.support.smallcache gateway serve --config gateway.toml

The journal's writer keeps up to 64 MiB of its database in memory, which takes some twenty thousand requests to fill. A
test that looks for growth beside that cache would have to fill it first.
"""

import sys
from typing import Any, Final

CACHE_PRAGMA: Final = "cache_size=-1024"


def main() -> None:
    """Shrinks the cache, starts journal writers in the same way, and runs what the arguments name."""
    from gateway.receipts import database, process

    module: Any = database
    kept = [pragma for pragma in module._WRITER_PRAGMAS if not pragma.startswith("cache_size=")]
    module._WRITER_PRAGMAS = (*kept, CACHE_PRAGMA)
    process.MODULE = "tests.support.smallcache"
    if sys.argv[1] == "--state-dir":
        sys.exit(process.main())
    from sealbid.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
