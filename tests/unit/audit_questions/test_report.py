# SPDX-License-Identifier: Apache-2.0
"""The control report: a control holds when all its questions say yes, and a framework when all its controls hold."""

import pytest

from attestation.audit.judgement import Answer
from attestation.audit.questions.report import CONTROLS, Framework, _questions, report
from attestation.tlog import entry as entries
from attestation.tlog.policy import parse_witness_policy
from tests.support.audit_bundles import bundled, log_with, opened
from tests.support.cosigning import AT, Dated, policy_text, witness
from tests.support.log import NOW, change


def test_yes() -> None:
    """A cosigned log with stated purposes bears out the controls on records of activity."""
    stated = entries.audit_access(by="aud-1", action="evidence.read", target="ab", purpose="review", at=NOW)
    policy = parse_witness_policy(policy_text("quorum W1"))
    found = opened(bundled([stated], cosigners=[Dated(witness(1), AT)]), policy, quorum=False)
    reply = report(found, Framework.HIPAA, now=NOW)
    assert (reply.answer, {row[2] for row in reply.table.rows}) == (Answer.YES, {"yes"})


def test_no() -> None:
    """Without witnesses records could be altered; which question says so stands in its row."""
    reply = report(log_with(), Framework.HIPAA, now=NOW)
    assert reply.answer is Answer.NO
    assert [(row[0], row[3]) for row in reply.table.rows if row[4] == "no"] == [
        ("164.312(c)(1)", "sealbid audit witnesses")
    ]


def test_undecided_is_not_yes() -> None:
    """What one question cannot tell, its control cannot either; no weighs more than undecided."""
    assert report(log_with(), Framework.AIACT, now=NOW).answer is Answer.UNDECIDED
    assert report(log_with(change(1)), Framework.SOC2, now=NOW).answer is Answer.NO


@pytest.mark.parametrize("framework", Framework)
def test_every_control_names_questions_there_are(framework: Framework) -> None:
    """No control stands without an answer."""
    assert all(control.questions for control in CONTROLS[framework])
    assert {name for control in CONTROLS[framework] for name in control.questions} <= set(_questions(NOW))
