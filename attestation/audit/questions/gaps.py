# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit gaps`: did a node serve without a valid verdict?

Yes (none did) when each receipt of the bundle verifies and its verdict in this log is a pass that covers its time, not
revoked by then; no when one is otherwise; undecided without receipts.
"""

from collections.abc import Mapping

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.node import valid_at
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.served import Served, served, verdict_behind
from attestation.audit.questions.verdicts import Revoked, first_revocations
from attestation.receipt import VerifiedReceipt
from attestation.tlog.schema import format_time

_UNPROVEN = ("what was served by receipts that are not in the bundle",)


def gaps(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    ended = first_revocations(bundle.view)
    table = Table(("receipt", "at", "node", "why"))
    count = 0
    for one in served(bundle):
        count += 1
        why = _gap(bundle, one, ended)
        if why:
            at, node = _who(one.receipt)
            table.add(one.name, at, node, why)
    if table.count:
        answer, because = Answer.NO, f"{table.count} of {count} receipts are of no valid verdict"
    elif not count:
        answer, because = Answer.UNDECIDED, "no receipt is in the bundle"
    else:
        answer, because = Answer.YES, f"each of {count} receipts has a verdict that was valid at its time"
    return Reply(question="gaps", answer=answer, because=because, table=table, unproven=_UNPROVEN)


def _gap(bundle: VerifiedBundle, one: Served, ended: Mapping[str, Revoked]) -> str:
    if one.receipt is None:
        return "" if one.refused is None else f"{one.refused.reason.value}: {one.refused.message}"
    if one.receipt.worker is None:
        return ""  # nobody served
    verdict = verdict_behind(bundle, one)
    if verdict is None:
        return f"this log has another entry than its verdict at {one.receipt.worker.verdict_index}"
    revocation = ended.get(verdict.keyset_id)
    if valid_at(verdict, revocation, one.receipt.time):
        return ""
    return (
        "revoked before" if revocation is not None and revocation.at <= one.receipt.time else "verdict did not cover it"
    )


def _who(receipt: VerifiedReceipt | None) -> tuple[str, str]:
    if receipt is None or receipt.worker is None:
        return "", ""
    return format_time(receipt.time), receipt.worker.worker_id.hex()
