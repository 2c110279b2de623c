# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit fsck` and `verify`: is every stored byte what was signed?

Yes when the whole log verifies and all evidence its entries name is there; undecided where evidence is missing, each
named with its entry; no at the first byte, hash or signature that does not hold, named by where it is.
"""

from typing import IO

from attestation.audit.bundle.faults import MalformedBundle
from attestation.audit.bundle.layout import EVIDENCE, RECEIPTS
from attestation.audit.bundle.reader import Progress, no_progress
from attestation.audit.bundle.verified import VerifiedBundle, open_bundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.errors import AttestationError
from attestation.trust import TrustRoot

QUESTION = "fsck"
_UNPROVEN = (
    "that the evidence behind a verdict passes: `sealbid audit reverify` derives it anew",
    "that nothing happened which was never logged",
)


def fsck(stream: IO[bytes], trust: TrustRoot, progress: Progress = no_progress) -> tuple[Reply, VerifiedBundle | None]:
    """The answer, and the opened bundle if it is whole. What does not hold is in the answer and no error."""
    try:
        bundle = open_bundle(stream, trust, progress=progress)
    except AttestationError as error:
        return _broken(error), None
    return whole(bundle), bundle


def whole(bundle: VerifiedBundle) -> Reply:
    """The answer about a bundle that verified: which evidence is missing, and what there is."""
    table = Table(("entry", "missing", "sha256"))
    for missing in bundle.missing():
        table.add(missing.index, missing.type, missing.sha256.hex())
    kept = sum(1 for _ in bundle.files.names(EVIDENCE))
    there = f"{bundle.view.size} entries, {kept} files of evidence, {_count(bundle, RECEIPTS)} receipts"
    if table.count:
        because = f"{there}: all are what was signed, and {table.count} files that entries name are not here"
        return Reply(question=QUESTION, answer=Answer.UNDECIDED, because=because, table=table, unproven=_UNPROVEN)
    because = f"{there}: every byte is what was signed"
    return Reply(question=QUESTION, answer=Answer.YES, because=because, table=table, unproven=_UNPROVEN)


def _broken(error: AttestationError) -> Reply:
    table = Table(("reason", "fault", "where"))
    if isinstance(error, MalformedBundle):
        table.add(error.reason.value, error.fault.value, error.where)
    else:
        table.add(error.reason.value, "", "")
    return Reply(question=QUESTION, answer=Answer.NO, because=error.message, table=table)


def _count(bundle: VerifiedBundle, folder: str) -> int:
    return sum(1 for _ in bundle.files.names(folder))
