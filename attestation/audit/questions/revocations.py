# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit revocations`: all revocations, and with `--exposure` what was served under a revoked keyset.

Yes when no receipt of the bundle is dated at or after the revocation of its keyset; no when one is. Asked for exposure
without any receipt it is undecided. The log holds when a revocation took effect; when its cause arose, people know.
"""

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.served import served
from attestation.audit.questions.verdicts import Judged, judged, revoked
from attestation.tlog.schema import format_time

_UNPROVEN = (
    "when the cause of a revocation arose: the log says when it took effect",
    "what was served by receipts that are not in the bundle",
)


def revocations(bundle: VerifiedBundle, *, exposure: bool) -> Reply:
    """The answer. The exposure of a keyset is from its last pass to the end that the verdict would have had."""
    passes: dict[str, Judged] = {one.keyset_id: one for one in judged(bundle.view) if one.passed}
    receipts = [one.receipt for one in served(bundle) if one.receipt is not None]
    by_keyset: dict[str, list[int]] = {}
    for receipt in receipts:
        if receipt.worker is not None:
            by_keyset.setdefault(receipt.worker.keyset_id.hex(), []).append(int(receipt.time.timestamp()))
    table = Table(("entry", "at", "keyset", "why", "by", "valid seconds left", "receipts after"))
    late, unknown = 0, 0
    for one in revoked(bundle.view):
        verdict = passes.get(one.keyset_id)
        unknown += verdict is None
        left = 0
        if verdict is not None and verdict.valid_until is not None:
            left = max(0, int((verdict.valid_until - one.at).total_seconds()))
        after = sum(time >= int(one.at.timestamp()) for time in by_keyset.get(one.keyset_id, ()))
        late += after
        table.add(one.index, format_time(one.at), one.keyset_id, one.reason, one.by, left, after)
    answer, because = _answer(table.count, late, unknown, len(receipts), exposure)
    return Reply(question="revocations", answer=answer, because=because, table=table, unproven=_UNPROVEN)


def _answer(count: int, late: int, unknown: int, receipts: int, exposure: bool) -> tuple[Answer, str]:
    if late:
        return Answer.NO, f"{late} receipts are dated after the revocation of their keyset"
    if unknown:
        return Answer.NO, f"{unknown} of {count} revocations are of keysets that the log never admitted"
    if exposure and count and not receipts:
        return Answer.UNDECIDED, f"{count} revocations, and no receipt is in the bundle to hold against them"
    return Answer.YES, f"{count} revocations, and none of {receipts} receipts is dated after one of its keyset"
