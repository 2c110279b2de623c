# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit node`: the whole history of one node, and was it valid at one moment?

Yes when a passing verdict covers the moment and its keyset was not revoked by then; no otherwise; undecided for a node
that the log does not know.
"""

from datetime import datetime

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.verdicts import Judged, Revoked, judged, revoked
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time


def node(bundle: VerifiedBundle, worker_id: str, *, at: datetime | None) -> Reply:
    """The answer about the node of this id (64 hex digits) at `at`, or at the time of the log's last entry."""
    view = bundle.view
    moment = at or view.at(view.size - 1)
    events: list[Judged | Revoked] = [one for one in judged(view) if one.worker_id == worker_id]
    events += [one for one in revoked(view) if one.worker_id == worker_id]
    events.sort(key=lambda one: one.index)
    table = Table(("entry", "at", "event", "keyset", "until", "policy", "why"))
    for one in events:
        table.add(*_row(one))
    for logged in view.of(Kind.PLATFORM_MOVE):
        if logged.text("worker_id") == worker_id:
            table.add(logged.index, format_time(logged.entry.at), "moved", "", "", "", f"from {logged.text('from')}")
    answer, because = _answer(events, moment)
    return Reply(question="node", answer=answer, because=because, table=table)


def valid_at(verdict: Judged, revocation: Revoked | None, at: datetime) -> bool:
    """Whether a verdict is a pass that covers `at`, its keyset not revoked by then."""
    covers = verdict.passed and verdict.valid_until is not None and verdict.at <= at < verdict.valid_until
    return covers and (revocation is None or revocation.at > at)


def _answer(events: list[Judged | Revoked], moment: datetime) -> tuple[Answer, str]:
    said = format_time(moment)
    if not events:
        return Answer.UNDECIDED, "the log knows no such node"
    ended = {one.keyset_id: one for one in reversed(events) if isinstance(one, Revoked)}
    for one in reversed(events):
        if isinstance(one, Judged) and valid_at(one, ended.get(one.keyset_id), moment):
            return Answer.YES, f"entry {one.index} is a pass that covers {said}"
    return Answer.NO, f"no pass covers {said}, or its keyset was revoked by then"


def _row(one: Judged | Revoked) -> tuple[int | str, ...]:
    at = format_time(one.at)
    if isinstance(one, Revoked):
        return one.index, at, "revoked", one.keyset_id, "", "", f"{one.reason} (by {one.by})"
    until = "" if one.valid_until is None else format_time(one.valid_until)
    event = "pass" if one.passed else "refused"
    return one.index, at, event, one.keyset_id, until, one.policy, ", ".join(one.reasons)
