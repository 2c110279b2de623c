# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit refusals`: all refusals, and why.

Yes when the archived findings of every refusal bear out the reasons its entry gives; no where they give others;
undecided where findings are not in the bundle.
"""

import json
from collections.abc import Iterator, Mapping

from attestation.audit.bundle.verified import VerifiedBundle, archived_by
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.audit.questions.verdicts import verdict_of
from attestation.errors import MalformedEvidence
from attestation.tlog import jcs
from attestation.tlog.entry import Entry, Kind
from attestation.tlog.schema import format_time

MAX_FINDINGS_BYTES = 2 << 20


def refusals(bundle: VerifiedBundle) -> Reply:
    """The answer."""
    table = Table(("entry", "at", "provider", "node", "reasons", "findings", "first finding"))
    others, absent = 0, 0
    for logged in bundle.view.of(Kind.ATTEST_VERDICT):
        verdict = verdict_of(logged)
        if verdict.passed:
            continue
        state, first = _findings(bundle, logged.entry, frozenset(verdict.reasons))
        others += state == "other reasons"
        absent += state == "not here"
        at, reasons = format_time(verdict.at), ", ".join(verdict.reasons)
        table.add(verdict.index, at, verdict.provider, verdict.worker_id, reasons, state, first)
    if others:
        answer, because = Answer.NO, f"{others} of {table.count} refusals have findings with other reasons than logged"
    elif absent:
        answer, because = Answer.UNDECIDED, f"findings of {absent} of {table.count} refusals are not in the bundle"
    else:
        answer, because = Answer.YES, f"{table.count} refusals, each with the findings behind its reasons"
    return Reply(question="refusals", answer=answer, because=because, table=table)


def _findings(bundle: VerifiedBundle, entry: Entry, reasons: frozenset[str]) -> tuple[str, str]:
    """How the archived findings stand to the logged reasons, and the first of them in words."""
    digests = [digest for type, digest in archived_by(entry) if type == "findings"]
    data = bundle.evidence(digests[0]) if digests else None
    if data is None:
        return "not here", ""
    try:
        found = list(_read(data))
    except (MalformedEvidence, KeyError, TypeError):
        return "other reasons", ""
    first = "{field} is {got}, want {want}".format_map(found[0]) if found else ""
    return "here" if {one["reason"] for one in found} == reasons else "other reasons", _printable(first)


def _read(data: bytes) -> Iterator[Mapping[str, str]]:
    findings = jcs.decode(data, MAX_FINDINGS_BYTES)["findings"]
    for one in findings if isinstance(findings, list) else ():
        if not isinstance(one, dict):
            raise TypeError("finding is no object")
        yield {key: str(one[key]) for key in ("field", "got", "want", "reason")}


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
