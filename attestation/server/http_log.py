# SPDX-License-Identifier: Apache-2.0
"""One log over HTTP as C2SP tlog-tiles has it (docs/spec.md, 10.7): checkpoint, tiles of hashes, bundles of entries.

    /checkpoint             the newest published note; may be kept for a second
    /tile/<L>/<N>[.p/<W>]   hashes below the published size; a tile never changes, so it may be kept for ever
    /tile/entries/...       entries, each after its length in two bytes; gzip for whoever takes it

Nothing beyond the published checkpoint is shown, and of a deleted log only its last one. Everything is read from the
store as it is: a damaged store serves damaged tiles, which every reader of the log notices.
"""

import gzip
from collections.abc import Sequence
from typing import Final, Protocol

from attestation.http.message import Request, Response, refusal
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.entry_tile import encode_entries
from attestation.tlog.faults import MalformedLog
from attestation.tlog.merkle import HASH_BYTES
from attestation.tlog.note import parse_note
from attestation.tlog.store import LogState, StoredEntry
from attestation.tlog.tile import WIDTH, EntryTile, Tile, parse_path

FOR_EVER: Final = "public, max-age=31536000, immutable"
A_MOMENT: Final = "public, max-age=1"
BYTES: Final = {"content-type": "application/octet-stream"}
TEXT: Final = {"content-type": "text/plain; charset=utf-8"}
_GZIP_LEVEL: Final = 5


class TileStore(Protocol):
    """What is read of a log's store (`attestation.tlog.store.LogStore`)."""

    def state(self) -> LogState:
        """Size and circumstances, the published checkpoint among them."""
        ...

    def tile(self, level: int, index: int) -> bytes:
        """What there is of a tile, empty for none."""
        ...

    def entries(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """Up to `limit` entries from index `start`, in order."""
        ...


class PublicLog:
    """What anybody may read of the log in `store`. Raises `LogError` when the store fails."""

    def __init__(self, store: TileStore) -> None:
        self._store = store

    def answer(self, path: str, request: Request) -> Response | None:
        """The resource at `path` below the log's address, or None if there is none."""
        if path == "checkpoint":
            return self._checkpoint()
        try:
            tile = parse_path(path)
        except MalformedLog:
            return None
        if not tile.in_tree(self._size()):
            return None
        if isinstance(tile, EntryTile):
            return self._bundle(tile, zipped=_takes_gzip(request))
        return self._tile(tile)

    def _checkpoint(self) -> Response | None:
        note = self._store.state().published
        if note is None:
            return None
        return Response(status=200, body=note, headers={**TEXT, "cache-control": A_MOMENT})

    def _size(self) -> int:
        note = self._store.state().published
        return 0 if note is None else Checkpoint.parse(parse_note(note)[0]).size

    def _tile(self, tile: Tile) -> Response | None:
        data = self._store.tile(tile.level, tile.index)[: HASH_BYTES * tile.width]
        if len(data) < HASH_BYTES * tile.width:
            return None
        return Response(status=200, body=data, headers={**BYTES, "cache-control": FOR_EVER})

    def _bundle(self, tile: EntryTile, *, zipped: bool) -> Response | None:
        start = tile.index * WIDTH
        found = self._store.entries(start, tile.width)
        if not found:
            return None
        if [entry.index for entry in found] != list(range(start, start + tile.width)):
            return refusal(500, f"the log has no whole bundle at entry {start}")
        body = encode_entries([entry.data for entry in found])
        headers = {**BYTES, "cache-control": FOR_EVER, "vary": "accept-encoding"}
        if not zipped:
            return Response(status=200, body=body, headers=headers)
        packed = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        return Response(status=200, body=packed, headers={**headers, "content-encoding": "gzip"})


def _takes_gzip(request: Request) -> bool:
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = coding.replace(" ", "").partition(";")
        if name in ("gzip", "*"):
            return quality not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
