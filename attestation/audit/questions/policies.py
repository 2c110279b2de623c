# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit policies`: which policy was in force when, its text, who published it, and what changed from before.

Yes when every verdict names a policy that an entry before it published; no when one does not.
"""

from dataclasses import dataclass

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.audit.bundle.log_view import Logged
from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.policy_diff import Change, diff
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.audit.questions.verdicts import judged
from attestation.errors import SealbidError
from attestation.tlog.entry import Kind
from attestation.tlog.schema import format_time


@dataclass(slots=True)
class _Use:
    verdicts: int = 0


def policies(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    published: dict[str, int] = {}
    uses: dict[str, _Use] = {}
    for logged in bundle.view.of(Kind.POLICY_PUBLISH):
        published.setdefault(logged.text("sha256"), logged.index)
    unpublished = 0
    for one in judged(bundle.view):
        unpublished += not published.get(one.policy_sha256, one.index) < one.index
        uses.setdefault(one.policy_sha256, _Use()).verdicts += 1
    table = Table(("entry", "at", "id", "version", "sha256", "by", "text", "change", "verdicts"))
    before: dict[str, Logged] = {}
    for logged in bundle.view.of(Kind.POLICY_PUBLISH):
        id, sha256 = logged.text("id"), logged.text("sha256")
        version = logged.entry.body["version"]
        table.add(
            logged.index,
            format_time(logged.entry.at),
            id,
            version if isinstance(version, int) else 0,
            sha256,
            logged.text("by"),
            bool(logged.text("text")),
            _change(before.get(id), logged),
            uses.get(sha256, _Use()).verdicts,
        )
        before[id] = logged
    answer, because = of_bad(
        unpublished,
        none=f"{table.count} policies published, and every verdict under one that was published before it",
        some="verdicts are under a policy that was not published before them",
    )
    return Reply(question="policies", answer=answer, because=because, table=table)


def policy_text(bundle: VerifiedBundle, sha256: str) -> bytes | None:
    """The file of a policy as the log has it; None where no entry holds it."""
    for logged in bundle.view.of(Kind.POLICY_PUBLISH):
        if logged.text("sha256") == sha256 and logged.text("text"):
            return logged.text("text").encode()
    return None


def _change(old: Logged | None, new: Logged) -> str:
    if old is None:
        return "first"
    was, now = _read(old), _read(new)
    if was is None or now is None:
        return "text is not in the log"
    found = diff(was, now).changes
    wider = sum(one.change is Change.WIDER for one in found)
    return f"{len(found)} rules, {wider} wider"


def _read(logged: Logged) -> AppraisalPolicy | None:
    try:
        return read_policy(logged.text("text").encode())
    except SealbidError:
        return None
