# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit compare`: do two auditors see the same log?

Yes when both checkpoints are of one history; no when they are not: the operator then signed two, and both notes
together prove it to anybody. Undecided for two sizes without a bundle that covers both.
"""

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.policy import NO_WITNESSES
from attestation.trust import TrustRoot


def compare(first: bytes, second: bytes, trust: TrustRoot, bundle: VerifiedBundle | None) -> Reply:
    """The answer about two notes. Raises `AttestationError` if one is no checkpoint of the trusted log."""
    heads = [
        open_checkpoint(note, origin=trust.origin, log_key=trust.log_key, policy=NO_WITNESSES)
        for note in (first, second)
    ]
    table = Table(("checkpoint", "size", "root"))
    for name, head in zip(("first", "second"), heads, strict=True):
        table.add(name, head.size, head.root.hex())
    answer, because = _compared(heads[0], heads[1], bundle)
    return Reply(question="compare", answer=answer, because=because, table=table)


def _compared(one: Checkpoint, other: Checkpoint, bundle: VerifiedBundle | None) -> tuple[Answer, str]:
    if one.size == other.size:
        if one.root == other.root:
            return Answer.YES, f"both have the same {one.size} entries"
        return Answer.NO, f"split view: two roots of size {one.size} are signed with one key"
    larger = max(one.size, other.size)
    if bundle is None or bundle.head.size < larger:
        return Answer.UNDECIDED, f"sizes are {one.size} and {other.size}: give a bundle of at least {larger} entries"
    wrong = [head for head in (one, other) if head.size and bundle.root_at(head.size) != head.root]
    if wrong:
        return Answer.NO, f"split view: the checkpoint of size {wrong[0].size} is of another history than the bundle"
    return Answer.YES, f"both are of one history of {bundle.head.size} entries"
