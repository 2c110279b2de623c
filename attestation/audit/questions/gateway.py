# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit gateway`: does each gateway itself hold a verdict?

Yes when every gateway that the log enrolled is the subject of a passing verdict; no when one is not, and is therefore
trusted by its key alone; undecided when no gateway is enrolled.
"""

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.verdicts import judged
from attestation.tlog.entry import Kind

USE = "gateway-sign"


def gateway(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    passes = {one.worker_id: one.index for one in judged(bundle.view) if one.passed}
    subjects = {logged.text("subject"): logged for logged in bundle.view.of(Kind.KEY_ADD) if logged.text("use") == USE}
    table = Table(("gateway", "key entry", "verdict entry"))
    for subject, logged in subjects.items():
        table.add(subject, logged.index, passes.get(subject, "none"))
    bare = sum(subject not in passes for subject in subjects)
    if not subjects:
        answer, because = Answer.UNDECIDED, "no gateway is enrolled"
    elif bare:
        answer, because = Answer.NO, f"{bare} of {len(subjects)} gateways hold no verdict and are trusted by key alone"
    else:
        answer, because = Answer.YES, f"each of {len(subjects)} gateways holds a passing verdict"
    return Reply(question="gateway", answer=answer, because=because, table=table)
