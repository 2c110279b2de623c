# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit check`: is this log append-only since my last visit?

Yes when the checkpoint kept from then is a prefix of the log; no when the log shrank or forked, or its witnesses' time
is older than asked; undecided without a checkpoint of then, or where an age is asked and nobody states a time.
"""

from datetime import datetime

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.errors import Stale
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.quorum import NONE

_UNPROVEN = ("that others are shown the same log: compare checkpoints with them, or ask for witnesses",)


def check(bundle: VerifiedBundle, *, since: bytes | None, max_age_seconds: int | None, now: datetime) -> Reply:
    """The answer. Raises `AttestationError` if `since` is no checkpoint of this log."""
    table = Table(("checkpoint", "size", "root"))
    before = None if since is None else _opened(since, bundle)
    for name, head in (("then", before), ("now", bundle.head)):
        if head is not None:
            table.add(name, head.size, head.root.hex())
    answer, because = _prefix(bundle, before)
    if answer is not Answer.NO and max_age_seconds is not None:
        answer, because = _age(bundle, max_age_seconds, now, (answer, because))
    policy = bundle.trust.witness_policy
    unproven = _UNPROVEN if policy.name == NONE else ()
    return Reply(question="check", answer=answer, because=because, table=table, unproven=unproven)


def _opened(note: bytes, bundle: VerifiedBundle) -> Checkpoint:
    trust = bundle.trust
    return open_checkpoint(note, origin=trust.origin, log_key=trust.log_key, policy=NO_WITNESSES)


def _prefix(bundle: VerifiedBundle, before: Checkpoint | None) -> tuple[Answer, str]:
    head = bundle.head
    if before is None:
        return Answer.UNDECIDED, "no checkpoint of an earlier visit is given: keep this one for the next"
    if before.size > head.size:
        return Answer.NO, f"the log shrank: it had {before.size} entries and has {head.size}"
    if before.size and bundle.root_at(before.size) != before.root:
        return Answer.NO, f"the log forked: its first {before.size} entries are others than they were"
    return Answer.YES, f"its first {before.size} entries are as they were, and {head.size - before.size} came after"


def _age(bundle: VerifiedBundle, max_age_seconds: int, now: datetime, found: tuple[Answer, str]) -> tuple[Answer, str]:
    policy = bundle.trust.witness_policy
    if policy.name == NONE:
        return Answer.UNDECIDED, f"{found[1]}; its age is the {policy.display}"
    try:
        policy.check_age(bundle.checkpoint.note, now=now, max_age_seconds=max_age_seconds)
    except Stale as stale:
        return Answer.NO, f"{found[1]}; {stale.message}"
    return found[0], f"{found[1]}; its quorum is younger than {max_age_seconds} seconds"
