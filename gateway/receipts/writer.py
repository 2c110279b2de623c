# SPDX-License-Identifier: Apache-2.0
"""The journal's writer: makes what a gateway hands over durable, in groups, on one thread and without an event loop.

    pipe ─▶ gather ─▶ verify halves, open memos ─▶ store.commit ─▶ report        again while the store is away

It ends when the gateway's end of the pipe is closed, be it by a clean close or by a kill: first it commits all that
is in the pipe. Only a store that keeps failing then makes it give up; workers still have what was not confirmed.
Gathering makes nobody wait but who asks for a receipt at once: answers have left, workers keep unconfirmed halves.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from typing import Final

from attestation.errors import SealbidError
from gateway.receipts.arrival import HalfArrival, NamedHalf, SignedHalves, verify_arrival
from gateway.receipts.inbox import Inbox
from gateway.receipts.memo import MemoKey
from gateway.receipts.messages import Answer, Item, JournalEvent, Ready, Report
from gateway.receipts.recovery import Waits, is_due
from gateway.receipts.work import Begun, Committed, Greeted, JournalStore, Returned, StoreUnavailable, Work, WorkerKeys
from gateway.request import Outcome

_LOG = logging.getLogger("sealbid.gateway.journal")

GATHER_SECONDS: Final = (0.02, 0.1)
"""How long to let items arrive after the first: while few do, and under load, when a group has its cost to share."""
GROUP: Final = 1024
_FEW: Final = 4
_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_POLL_SECONDS: Final = 1.0


class GaveUp(Exception):
    """The store kept failing after the gateway had gone."""


def serve(
    inbox: Inbox, send: Callable[[Answer], None], writer: "Writer", *, gather_seconds: tuple[float, float]
) -> None:
    """Writes until the gateway closes. Raises `GaveUp`."""
    send(Ready())
    written, looked = 0, 0.0
    while not inbox.ended:
        inbox.wait(_POLL_SECONDS if writer.waiting else None)
        inbox.gather(gather_seconds[written > _FEW])
        written = _round(inbox, writer)
        # Under load something always waits for its signature: looking once in a while is enough then.
        if writer.waiting and (written <= _FEW or time.monotonic() - looked >= _POLL_SECONDS):
            writer.recover()
            looked = time.monotonic()


def _round(inbox: Inbox, writer: "Writer") -> int:
    """Writes what has arrived, and says how much. Its items live no longer than this call: a resting writer holds
    nothing of any request.
    """
    items = inbox.take()
    for start in range(0, len(items), GROUP):
        writer.write(items[start : start + GROUP])
    return len(items)


class Writer:
    """Applies groups of items to the store, and reports."""

    def __init__(
        self,
        *,
        store: JournalStore,
        memo_key: MemoKey,
        clock: Callable[[], datetime],
        send: Callable[[Answer], None],
        pause: Callable[[float], bool],
        waits: Waits,
    ) -> None:
        """`pause` waits and says whether the gateway has gone."""
        self._store = store
        self._memos = memo_key
        self._clock = clock
        self._send = send
        self._pause = pause
        self._waits = waits
        self._began = clock().timestamp()
        self._greeted: dict[bytes, float] = {}
        self._counts: Counter[str] = Counter()
        self._kept: dict[bytes, list[bytes]] = {}
        self._stuck: set[bytes] = set()
        self.waiting = True
        """True while requests of an earlier process may have to be settled, or receipts wait for a signature."""

    def write(self, items: Sequence[Item]) -> None:
        """Commits one group and reports it settled. Raises `GaveUp`."""
        self._commit(items)
        self._report(settled=len(items))

    def recover(self) -> None:
        """Settles what an earlier process left, each request on its own, and gives up signatures. Raises `GaveUp`."""
        now = self._clock()
        try:
            left = [one for one in self._store.left() if one.request_id not in self._stuck]
            closed = self._store.close_unsigned(
                before=int(now.timestamp() - self._waits.signature), now=int(now.timestamp())
            )
        except StoreUnavailable as error:
            self._failed(error)
            return
        moment = now.timestamp()
        due = [
            one.request_id
            for one in left
            if is_due(one, now=moment, began=self._began, greeted=self._greeted, waits=self._waits)
        ]
        for request_id in due:
            self._recover(request_id, now)
        if closed.receipts:
            self._counts[JournalEvent.SIGNATURE_MISSING] += closed.receipts
            _LOG.warning("workers never signed halves, their receipts say so", extra={"receipts": closed.receipts})
        if due or closed.receipts:
            self._report(settled=0)
        if not left:
            self._greeted.clear()
        self.waiting = len(left) > len(due) or closed.waiting > 0

    def _recover(self, request_id: bytes, now: datetime) -> None:
        try:
            self._count(self._persist(partial(self._store.recover, request_id, now)), JournalEvent.RECOVERED)
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001  as in _commit
            self._stuck.add(request_id)
            _log_refused(request_id, error)

    def _commit(self, items: Sequence[Item]) -> None:
        """Commits one group; a group the store refuses is taken apart, so that one item cannot hold up the others."""
        try:
            work = self._work(items)
            done = self._persist(lambda: self._store.commit(work))
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001  a group must not end the process that all receipts depend on
            if len(items) == 1:
                self._refused(items[0], error)
            for item in items if len(items) > 1 else ():
                self._commit([item])
            return
        self.waiting = self.waiting or bool(work.returned) or done.unsigned > 0
        self._count(done, JournalEvent.RECEIPT)

    def _persist(self, write: Callable[[], Committed]) -> Committed:
        """The result of a write, repeated while the store is away. Raises `GaveUp` once the gateway has gone too."""
        for attempt in count():
            try:
                return write()
            except StoreUnavailable as error:
                self._failed(error)
            gone = self._pause(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            if gone and attempt >= len(_RETRY_SECONDS):
                break
        raise GaveUp

    def _refused(self, item: Item, error: Exception) -> None:
        """Counts an item that cannot be applied. Its half stays unconfirmed with its worker, so nothing is lost."""
        self._counts[JournalEvent.ITEM_REFUSED] += 1
        _log_refused(item.request_id if isinstance(item, Outcome) else b"", error)

    def _work(self, items: Sequence[Item]) -> Work:
        batches = [batch for item in items if isinstance(item, HalfArrival) if (batch := self._verify(item))]
        returned, orphans = self._open_memos(half for batch in batches for half in batch.halves if half.memo)
        for item in items:
            if isinstance(item, Greeted) and self.waiting:
                self._greeted.setdefault(item.worker_id, self._clock().timestamp())
        return Work(
            workers=[item for item in items if isinstance(item, WorkerKeys)],
            begun=[item for item in items if isinstance(item, Begun)],
            batches=batches,
            returned=returned,
            orphans=orphans,
            outcomes=[item for item in items if isinstance(item, Outcome)],
            now=int(self._clock().timestamp()),
        )

    def _verify(self, arrival: HalfArrival) -> SignedHalves | None:
        try:
            return verify_arrival(arrival)
        except SealbidError as error:
            self._counts[JournalEvent.HALF_REFUSED] += len(arrival.halves)
            extra = {"worker_id": arrival.worker_id.hex(), "reason": str(error.reason), "detail": error.message}
            _LOG.warning("half batch refused", extra=extra)
            return None

    def _open_memos(self, halves: Iterable[NamedHalf]) -> tuple[list[Returned], frozenset[bytes]]:
        returned: list[Returned] = []
        orphans: set[bytes] = set()
        for half in halves:
            try:
                memo = self._memos.open(half.memo, half.dispatch_sha256)
            except SealbidError:
                self._counts[JournalEvent.MEMO_REFUSED] += 1
                orphans.add(half.half_sha256)
            else:
                returned.append(Returned(half_sha256=half.half_sha256, memo=memo, sealed=half.memo))
        return returned, frozenset(orphans)

    def _failed(self, error: StoreUnavailable) -> None:
        """Says so at once: the gateway admits nothing meanwhile."""
        _LOG.error("journal store unavailable", extra={"reason": str(error.reason), "detail": error.message})
        self._counts[JournalEvent.COMMIT_FAILED] += 1
        self._report(settled=0, failing=True)

    def _count(self, done: Committed, event: JournalEvent) -> None:
        self._counts[event] += done.receipts
        self._counts[JournalEvent.DUPLICATE] += done.duplicates
        for worker_id, digest in done.kept:
            self._kept.setdefault(worker_id, []).append(digest)

    def _report(self, *, settled: int, failing: bool = False) -> None:
        counts = {str(event): count for event, count in self._counts.items() if count}
        self._send(Report(settled=settled, failing=failing, counts=counts, kept=self._kept))
        self._counts.clear()
        self._kept = {}


def _log_refused(request_id: bytes, error: Exception) -> None:
    reason = str(error.reason) if isinstance(error, SealbidError) else type(error).__name__
    _LOG.error("journal refused an item", extra={"request_id": request_id.hex(), "reason": reason})
