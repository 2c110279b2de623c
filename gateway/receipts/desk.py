# SPDX-License-Identifier: Apache-2.0
"""What the flow knows of receipts: whether to admit, that an attempt begins, and where an outcome goes."""

from gateway.receipts.journal import Journal
from gateway.receipts.memo import Memo, MemoKey
from gateway.receipts.work import Begun
from gateway.request import Outcome


class Desk:
    """The flow's side of the journal."""

    def __init__(self, *, journal: Journal, memo_key: MemoKey, instance: bytes) -> None:
        """`instance` is 16 random bytes of this process, the same the store was given."""
        self._journal = journal
        self._memos = memo_key
        self._instance = instance

    @property
    def overloaded(self) -> bool:
        """True while no request should be admitted: its receipt might not become durable in bounded memory."""
        return self._journal.overloaded

    def begin(self, so_far: Outcome) -> bytes:
        """Journals that the newest attempt begins, ahead of its call, and gives the memo to travel with that call.

        Once begun, a request has a receipt whatever ends this process: its outcome, or what a successor makes of it.
        Never blocks. Raises as `memo`; then nothing was journaled.
        """
        sealed, attempt = self.memo(so_far), so_far.attempts[-1]
        self._journal.begin(
            Begun(
                request_id=so_far.request_id,
                worker_id=attempt.worker_id,
                dispatch_sha256=attempt.dispatch_sha256,
                memo=sealed,
            )
        )
        return sealed

    def memo(self, so_far: Outcome) -> bytes:
        """The memo of the newest attempt of a request under way, to travel with that attempt's call.

        Raises:
            Malformed: too many attempts for one memo.
        """
        memo = Memo(
            instance=self._instance,
            request_id=so_far.request_id,
            tenant=so_far.tenant,
            model=so_far.model,
            method=so_far.method,
            attempts=so_far.attempts,
            wu_cap=so_far.wu_cap,
            max_total_nanos=so_far.max_total_nanos,
            started=so_far.started,
            profile=so_far.profile,
        )
        return self._memos.seal(memo, so_far.attempts[-1].dispatch_sha256)

    def record(self, outcome: Outcome) -> None:
        """Hands an ended request over. Never blocks and never fails; every admitted request ends here once."""
        self._journal.record(outcome)
