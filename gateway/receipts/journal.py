# SPDX-License-Identifier: Apache-2.0
"""The journal: takes outcomes and halves from the event loop, makes them durable in groups on a thread of its own.

    record(outcome) ─┐
    admit(worker)   ─┼─▶ queue ─▶ gather (20 ms) ─▶ verify halves ─▶ one transaction ─▶ kept: workers may forget halves
    halves(arrival) ─┘                                                      └─ fails: the same group again

Order of writes, and what a kill in between leaves (docs/spec.md, 11.4):
  1 the answer leaves               2 outcome queued           3 half arrives signed       4 the transaction commits
  5 the worker is told to forget    6 it forgets
A kill before 4 loses the queue; the worker still has half and memo, returns them after its next hello, and the
restarted gateway settles them as an outcome. A kill after 4 finds receipt and charge on disk; the half comes again,
changes nothing and is confirmed. A half is confirmed only once its request is recorded or its memo is on disk.

Nothing of a request stays in memory after its commit. A full queue is a signal the flow reads before it admits, not a
place where outcomes are lost; only halves are ever turned away, for their worker keeps them.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import count
from typing import Final, Protocol, TypeAlias

from attestation.attested import AttestedWorker
from attestation.errors import SealbidError
from gateway.receipts.arrival import HalfArrival, SignedHalves, verify_arrival
from gateway.receipts.memo import MemoKey
from gateway.receipts.store import Committed, JournalStore, Returned, StoreUnavailable, Work
from gateway.request import Outcome

_LOG = logging.getLogger("sealbid.gateway.journal")

GATHER_SECONDS: Final = 0.02
GRACE_SECONDS: Final = 10.0
"""How long all workers of a request an earlier process left have to return its halves before it is settled."""
CAPACITY: Final = 8192
GROUP: Final = 256
_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_POLL_SECONDS: Final = 1.0

Item: TypeAlias = "Outcome | HalfArrival | AttestedWorker"
Kept: TypeAlias = Callable[[Mapping[bytes, Sequence[bytes]]], None]


class JournalEvent(StrEnum):
    """What the journal counts."""

    RECEIPT = "receipt"
    RECOVERED = "recovered"
    DUPLICATE = "duplicate"
    HALF_REFUSED = "half_refused"
    HALF_TURNED_AWAY = "half_turned_away"
    MEMO_REFUSED = "memo_refused"
    ITEM_REFUSED = "item_refused"
    COMMIT_FAILED = "commit_failed"


class JournalMetrics(Protocol):
    """Where the journal counts. Called from the journal's thread and from the event loop."""

    def journal(self, event: str, count: int) -> None: ...


class Journal:
    """One per gateway process. `record`, `admit` and `halves` are called on the event loop and never block it."""

    def __init__(
        self,
        *,
        store: JournalStore,
        memo_key: MemoKey,
        clock: Callable[[], datetime],
        kept: Kept,
        metrics: JournalMetrics,
        capacity: int = CAPACITY,
        gather_seconds: float = GATHER_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """`kept` is told, on the event loop, which halves each worker may forget: worker_id → half digests."""
        self._store = store
        self._memos = memo_key
        self._clock = clock
        self._kept = kept
        self._metrics = metrics
        self._capacity = capacity
        self._gather_seconds = gather_seconds
        self._grace_seconds = grace_seconds
        self._queue: deque[Item] = deque()
        self._taken = 0
        self._failing = False
        self._waiting = True
        self._stuck: set[bytes] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committed: asyncio.Future[None] | None = None

    @property
    def overloaded(self) -> bool:
        """True while nothing new should be admitted: the queue is at its bound, or the store does not commit."""
        return self._failing or len(self._queue) + self._taken >= self._capacity

    def start(self) -> None:
        """Starts the thread; it reports to the running event loop. What an earlier process left is settled first."""
        self._loop = asyncio.get_running_loop()
        self._committed = self._loop.create_future()
        self._wake.set()
        self._thread.start()

    async def close(self) -> None:
        """Commits what is queued, then stops. It gives up on a store that keeps failing: workers keep their halves."""
        self._closing.set()
        self._wake.set()
        if self._loop is not None:
            await asyncio.to_thread(self._thread.join)

    def record(self, outcome: Outcome) -> None:
        """Takes an outcome. It is never turned away: the flow asks `overloaded` before it admits a request."""
        self._put(outcome)

    def admit(self, worker: AttestedWorker) -> None:
        """Keeps what proves this worker's keys, ahead of the receipts that will cite it."""
        self._put(worker)

    def halves(self, arrival: HalfArrival) -> None:
        """Takes a batch of halves; turned away only when the queue is far beyond its bound."""
        if len(self._queue) >= 2 * self._capacity:
            self._metrics.journal(JournalEvent.HALF_TURNED_AWAY, len(arrival.halves))
            return
        self._put(arrival)

    def next_commit(self) -> asyncio.Future[None]:
        """Done when the next group is durable. Shared by all who wait, so it is waited for and never cancelled."""
        assert self._committed is not None, "start comes first"
        return self._committed

    def _put(self, item: Item) -> None:
        self._queue.append(item)
        if not self._wake.is_set():
            self._wake.set()

    # On the journal's thread

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._queue and not self._wake.is_set()):
            self._wake.wait(_POLL_SECONDS if self._waiting else None)
            if not self._closing.is_set():
                self._closing.wait(self._gather_seconds)
            self._wake.clear()
            self._step()
            if self._queue:
                self._wake.set()

    def _step(self) -> None:
        """One group. Its items live no longer than this call: a resting journal holds nothing of any request."""
        items = self._take()
        if items:
            self._commit(items)
        self._taken = 0
        if self._waiting:
            self._recover()

    def _take(self) -> list[Item]:
        items = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
        self._taken = len(items)
        return items

    def _commit(self, items: Sequence[Item]) -> None:
        """Commits one group; a group the store refuses is taken apart, so that one item cannot hold up the others."""
        try:
            work = self._work(items)
            done = self._persist(lambda: self._store.commit(work))
        except Exception as error:  # noqa: BLE001  a group must not end the thread that all receipts depend on
            if len(items) == 1:
                self._refused(items[0], error)
            else:
                for item in items:
                    self._commit([item])
            return
        if done is None:
            self._queue.clear()
            return
        self._waiting = self._waiting or bool(work.returned)
        self._succeeded(done, JournalEvent.RECEIPT)

    def _recover(self) -> None:
        """Settles what an earlier process left, each request on its own."""
        now = int(self._clock().timestamp())
        try:
            due = self._store.due(now - int(self._grace_seconds))
        except StoreUnavailable as error:
            self._failed(error)
            return
        for request_id in due.request_ids:
            try:
                done = self._persist(partial(self._store.recover, request_id))
            except Exception as error:  # noqa: BLE001  as in _commit
                self._stuck.add(request_id)
                self._log_refused(request_id, error)
                continue
            if done is not None:
                self._succeeded(done, JournalEvent.RECOVERED)
        self._waiting = due.waiting > len(self._stuck)

    def _persist(self, write: Callable[[], Committed]) -> Committed | None:
        """The result of a write, repeated while the store is away; None when the journal is closed meanwhile."""
        for attempt in count():
            try:
                return write()
            except StoreUnavailable as error:
                self._failed(error)
            if self._closing.is_set() and attempt >= len(_RETRY_SECONDS):
                break
            time.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        return None

    def _refused(self, item: Item, error: Exception) -> None:
        """Counts an item that cannot be applied. Its half stays unconfirmed with its worker, so nothing is lost."""
        self._metrics.journal(JournalEvent.ITEM_REFUSED, 1)
        self._log_refused(item.request_id if isinstance(item, Outcome) else b"", error)

    def _log_refused(self, request_id: bytes, error: Exception) -> None:
        reason = str(error.reason) if isinstance(error, SealbidError) else type(error).__name__
        _LOG.error("journal refused an item", extra={"request_id": request_id.hex(), "reason": reason})

    def _work(self, items: Sequence[Item]) -> Work:
        batches = [batch for item in items if isinstance(item, HalfArrival) if (batch := self._verify(item))]
        returned, orphans = self._open_memos(batches)
        return Work(
            workers=[item for item in items if isinstance(item, AttestedWorker)],
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
            self._metrics.journal(JournalEvent.HALF_REFUSED, len(arrival.halves))
            extra = {"worker_id": arrival.worker_id.hex(), "reason": str(error.reason), "detail": error.message}
            _LOG.warning("half batch refused", extra=extra)
            return None

    def _open_memos(self, batches: Sequence[SignedHalves]) -> tuple[list[Returned], frozenset[bytes]]:
        returned: list[Returned] = []
        orphans: set[bytes] = set()
        for half in (half for batch in batches for half in batch.halves if half.memo):
            try:
                memo = self._memos.open(half.memo, half.dispatch_sha256)
            except SealbidError:
                self._metrics.journal(JournalEvent.MEMO_REFUSED, 1)
                orphans.add(half.half_sha256)
            else:
                returned.append(Returned(half_sha256=half.half_sha256, memo=memo, sealed=half.memo))
        return returned, frozenset(orphans)

    def _failed(self, error: StoreUnavailable) -> None:
        if not self._failing:
            _LOG.error("journal store unavailable", extra={"reason": str(error.reason), "detail": error.message})
        self._failing = True
        self._metrics.journal(JournalEvent.COMMIT_FAILED, 1)

    def _succeeded(self, done: Committed, event: JournalEvent) -> None:
        self._failing = False
        if done.receipts:
            self._metrics.journal(event, done.receipts)
        if done.duplicates:
            self._metrics.journal(JournalEvent.DUPLICATE, done.duplicates)
        kept: dict[bytes, list[bytes]] = {}
        for worker_id, digest in done.kept:
            kept.setdefault(worker_id, []).append(digest)
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._announce, kept)
        except RuntimeError:
            # The loop is closed: the halves stay with their workers and are confirmed after the next start.
            return

    # On the event loop

    def _announce(self, kept: Mapping[bytes, Sequence[bytes]]) -> None:
        if kept:
            self._kept(kept)
        done, self._committed = self._committed, asyncio.get_running_loop().create_future()
        if done is not None and not done.done():
            done.set_result(None)
