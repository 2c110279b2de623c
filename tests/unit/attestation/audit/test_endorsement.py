# SPDX-License-Identifier: Apache-2.0
"""An endorsement by itself is judged as far as it goes: genuine or not, in force or not, never accepted."""

from datetime import timedelta

import pytest

from attestation.audit.endorsement import judge_endorsement
from attestation.audit.judgement import Answer
from attestation.bundle import Collateral
from attestation.errors import Reason
from tests.support.fake_nvidia import NOW, FakeNVIDIA, Status, answer

HOUSE, OTHER = FakeNVIDIA(), FakeNVIDIA()
DEVICE = HOUSE.gpu()
BROM, ICA = DEVICE.levels[1:3]


def judged(item: Collateral, *beside: Collateral, later: timedelta = timedelta()) -> tuple[Answer, list[Reason]]:
    part = judge_endorsement("e", item, beside, NOW + later)
    assert part.acceptable is Answer.NOT_ASKED
    return part.genuine, [remark.reason for remark in part.remarks]


def test_an_answer_in_force_is_genuine() -> None:
    """With the chain it is about beside it, a response is genuine; a day later it has ended."""
    good = answer(BROM, ICA)
    assert judged(good, DEVICE.chain) == (Answer.YES, [])
    assert judged(good, DEVICE.chain, later=timedelta(days=2)) == (Answer.YES, [Reason.COLLATERAL_EXPIRED])


@pytest.mark.parametrize("status", ["revoked", "hold", "unknown"])
def test_an_answer_that_says_no_good_is_shown_as_such(status: Status) -> None:
    """A genuine response about a certificate that is not good is no good endorsement."""
    assert judged(answer(BROM, ICA, status=status), DEVICE.chain) == (Answer.YES, [Reason.CERTIFICATE_REVOKED])


def test_an_answer_needs_the_certificate_it_is_about() -> None:
    """Without that chain, or beside another, nothing is decided."""
    good = answer(BROM, ICA)
    assert judged(good) == (Answer.UNDECIDED, [Reason.ENDORSEMENT_MISSING])
    assert judged(good, OTHER.gpu().chain) == (Answer.UNDECIDED, [Reason.ENDORSEMENT_MISSING])


def test_an_answer_by_another_is_not_genuine() -> None:
    """One whose signature is altered, or whose responder the issuer never named, is refused."""
    data = bytearray(answer(BROM, ICA).data)
    data[data.index(b"\x0a\x01\x00") + 120] ^= 1
    assert judged(Collateral(kind="nvidia-ocsp", data=bytes(data)), DEVICE.chain)[0] is not Answer.YES
    stranger = answer(BROM, ICA, responder=OTHER.gpu().levels[2])
    assert judged(stranger, DEVICE.chain) == (Answer.NO, [Reason.CHAIN_INVALID])


def test_other_endorsements_are_only_named() -> None:
    """What has no judge here says nothing by itself."""
    assert judged(Collateral(kind="intel-dcap-json", data=b"{}")) == (Answer.UNDECIDED, [Reason.UNSUPPORTED])
