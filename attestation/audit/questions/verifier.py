# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit verifier`: which builds judged, and are they the ones I know?

With digests given: yes when every verdict is by one of them. Without: yes when builds succeeded one another; no when a
build that had been replaced judged again, which is how a forgotten or a swapped process looks.
"""

from collections.abc import Collection

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.verdicts import judged


def verifier(bundle: VerifiedBundle, *, known: Collection[str]) -> Reply:
    """The answer; `known` are SHA-256 of builds in hex."""
    spans: dict[str, list[int]] = {}
    versions: dict[str, str] = {}
    current, returns, total, strange = "", 0, 0, 0
    for one in judged(bundle.view):
        sha256 = one.verifier_sha256
        total += 1
        strange += bool(known) and sha256 not in known
        returns += sha256 != current and sha256 in spans
        current = sha256
        versions[sha256] = one.verifier
        spans.setdefault(sha256, []).append(one.index)
    table = Table(("version", "sha256", "first entry", "last entry", "verdicts"))
    for sha256, indices in spans.items():
        table.add(versions[sha256], sha256, indices[0], indices[-1], len(indices))
    if known:
        answer = Answer.NO if strange else Answer.YES
        because = f"{strange} of {total} verdicts are by builds that you did not name"
    else:
        answer = Answer.NO if returns else Answer.YES
        because = f"{total} verdicts by {len(spans)} builds, of which one judged again after another {returns} times"
    return Reply(question="verifier", answer=answer, because=because, table=table)
