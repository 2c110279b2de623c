# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit witnesses`: who vouches besides the operator, and when last?

Yes when the auditor's own quorum has cosigned the head (not longer ago than asked); no when it has not, when one has a
line that does not verify, or when the policy asks nobody.
"""

from datetime import UTC, datetime

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.tlog.policy import Witnessed, WitnessPolicy, witnessed
from attestation.tlog.quorum import NONE, OPERATORS_WORD, Witness, shown
from attestation.tlog.schema import format_time


def witnesses(bundle: VerifiedBundle, *, max_age_seconds: int | None, now: datetime) -> Reply:
    """The answer; the bundle is opened without its quorum, for this question is about it."""
    policy = bundle.trust.witness_policy
    found = witnessed(bundle.note, policy)
    table = Table(("witness", "state", "at", "key", "url"))
    states = [(one.witness, "cosigned", _time(one.at)) for one in found.cosigned]
    states += [(witness, "does not verify", "") for witness in found.lying]
    states += [(witness, "missing", "") for witness in found.missing]
    for witness, state, at in sorted(states, key=lambda row: row[0].name):
        table.add(_name(witness), state, at, witness.key.vkey, shown(witness.url))
    answer, because = _answer(policy, found, max_age_seconds, now)
    return Reply(question="witnesses", answer=answer, because=because, table=table)


def _answer(policy: WitnessPolicy, found: Witnessed, max_age_seconds: int | None, now: datetime) -> tuple[Answer, str]:
    if found.lying:
        return Answer.NO, f"the line of {', '.join(map(_name, found.lying))} does not verify"
    if policy.name == NONE:
        return Answer.NO, f"your policy asks no witness: {OPERATORS_WORD}"
    if not found.met or found.at is None:
        return Answer.NO, f"{len(found.cosigned)} cosigned, want {policy.display}"
    age = int(now.timestamp()) - found.at
    if max_age_seconds is not None and age > max_age_seconds:
        return Answer.NO, f"{policy.display}, {age} seconds ago, want at most {max_age_seconds}"
    return Answer.YES, f"{policy.display}, last at {_time(found.at)}"


def _name(witness: Witness) -> str:
    return shown(witness.name)


def _time(at: int) -> str:
    try:
        return format_time(datetime.fromtimestamp(at, UTC))
    except (ValueError, OverflowError, OSError):
        return str(at)  # a witness may state any number
